//! Where this step does better than the article's listing. The rows are those of the table in
//! `docs/src/departures.md`. Tests that stop and continue the server would end the article's
//! listing before they get to their point (row 1).

use shared_testkit::behaviour::{accept, register, start};
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
