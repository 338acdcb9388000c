//! Where this step does better than the article's listing. The rows are those of the table in
//! `docs/src/departures.md`. Tests that stop and continue the server would end the article's
//! listing before they get to their point (row 1).

use shared_testkit::promises;

promises! {
    /// A signal that interrupts `poll` is no error: Ctrl-Z, then `fg`.
    start::row_1_survives_stop_and_continue
    /// Any other error of `poll` ends the server, which could only spin otherwise.
    start::ends_when_polling_fails
    /// A port in use is one clear error that names the address and the cause, with exit status 1.
    start::row_2_a_port_in_use_is_a_clear_error
    /// A malformed address is one clear error that names it, with exit status 1.
    start::refuses_a_malformed_address
    /// A second argument is one clear error that names it, with exit status 1.
    start::refuses_a_second_argument
    /// One event is enough to accept five pending connections.
    accept::accepts_a_burst_behind_one_event
    /// A signal that interrupts `accept` is no error, and loses no connection.
    accept::retries_an_interrupted_accept
    /// A client that gives up while its connection is pending is skipped, and the next one accepted.
    accept::skips_an_aborted_connection
    /// Small lines are sent at once: `TCP_NODELAY` is on.
    register::row_3_small_lines_are_not_delayed
    /// Connections left pending at the descriptor limit are accepted as soon as other clients disconnect.
    broadcast::row_4_accepts_pending_connections_at_the_descriptor_limit
    /// The cost of a line grows with its length, not with the square of it.
    broadcast::row_5_a_long_line_costs_linear_time
    /// A signal that interrupts `read` is no error, and loses no bytes.
    broadcast::retries_an_interrupted_read
    /// A reset closes the client at once, not at some later event.
    broadcast::row_8_an_error_closes_the_client_at_once
    /// `Hello from A` and its newline are 13 bytes.
    broadcast::row_10_counts_the_bytes_of_a_line
    /// Lines and end of file are both taken from one event.
    broadcast::takes_lines_and_end_of_file_from_one_event
}
