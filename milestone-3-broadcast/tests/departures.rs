//! Where this step does better than the article's listing. The rows are those of the table in
//! `docs/src/departures.md`. Tests that stop and continue the server would end the article's
//! listing before they get to their point (row 1).

use shared_testkit::behaviour::{accept, broadcast, register, start};
use shared_testkit::program;

/// A signal that interrupts `poll` is no error: Ctrl-Z, then `fg`.
#[test]
fn row_1_survives_stop_and_continue() {
    start::row_1_survives_stop_and_continue(program!());
}

/// Any other error of `poll` ends the server, which could only spin otherwise.
#[test]
fn ends_when_polling_fails() {
    start::ends_when_polling_fails(program!());
}

/// A port in use is one clear error that names the address and the cause, with exit status 1.
#[test]
fn row_2_a_port_in_use_is_a_clear_error() {
    start::row_2_a_port_in_use_is_a_clear_error(program!());
}

/// A malformed address is one clear error that names it, with exit status 1.
#[test]
fn refuses_a_malformed_address() {
    start::refuses_a_malformed_address(program!());
}

/// A second argument is one clear error that names it, with exit status 1.
#[test]
fn refuses_a_second_argument() {
    start::refuses_a_second_argument(program!());
}

/// One event is enough to accept five pending connections.
#[test]
fn accepts_a_burst_behind_one_event() {
    accept::accepts_a_burst_behind_one_event(program!());
}

/// A signal that interrupts `accept` is no error, and loses no connection.
#[test]
fn retries_an_interrupted_accept() {
    accept::retries_an_interrupted_accept(program!());
}

/// A client that gives up while its connection is pending is skipped, and the next one accepted.
#[test]
fn skips_an_aborted_connection() {
    accept::skips_an_aborted_connection(program!());
}

/// Small lines are sent at once: `TCP_NODELAY` is on.
#[test]
fn row_3_small_lines_are_not_delayed() {
    register::row_3_small_lines_are_not_delayed(program!());
}

/// Connections left pending at the descriptor limit are accepted as soon as other clients disconnect.
#[test]
fn row_4_accepts_pending_connections_at_the_descriptor_limit() {
    broadcast::row_4_accepts_pending_connections_at_the_descriptor_limit(program!());
}

/// The cost of a line grows with its length, not with the square of it.
#[test]
fn row_5_a_long_line_costs_linear_time() {
    broadcast::row_5_a_long_line_costs_linear_time(program!());
}

/// A signal that interrupts `read` is no error, and loses no bytes.
#[test]
fn retries_an_interrupted_read() {
    broadcast::retries_an_interrupted_read(program!());
}

/// A reset closes the client at once, not at some later event.
#[test]
fn row_8_an_error_closes_the_client_at_once() {
    broadcast::row_8_an_error_closes_the_client_at_once(program!());
}

/// `Hello from A` and its newline are 13 bytes.
#[test]
fn row_10_counts_the_bytes_of_a_line() {
    broadcast::row_10_counts_the_bytes_of_a_line(program!());
}

/// Lines and end of file are both taken from one event.
#[test]
fn takes_lines_and_end_of_file_from_one_event() {
    broadcast::takes_lines_and_end_of_file_from_one_event(program!());
}
