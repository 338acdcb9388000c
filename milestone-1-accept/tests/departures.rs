//! Where this step does better than the article's listing. The rows are those of the table in
//! `docs/src/departures.md`. Tests that stop and continue the server would end the article's
//! listing before they get to their point (row 1).

use shared_testkit::{Server, program, promises};

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
}

/// Bytes and a reset that arrive before `accept` do no harm.
#[test]
fn a_client_that_sends_before_it_is_accepted_does_no_harm() {
    let mut server = Server::start(program!());
    server.stop();
    let mut alice = server.connect("alice");
    alice.send_line("Hello from A");
    let bob = server.connect("bob");
    bob.reset();
    server.resume();

    server.expect_line(&format!("Accepted connection from {}", alice.address()));
    alice.expect_closed();
    // Bob's connection comes before carol's, so it has been dealt with as well.
    let carol = server.connect("carol");
    server.expect_line(&format!("Accepted connection from {}", carol.address()));
    server.expect_running();
}
