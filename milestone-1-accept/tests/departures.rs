//! Where this step does better than the article's listing; the rows are those of the table of
//! departures in `docs/src/departures.md`. What is staged here by stopping and continuing the server, the
//! article's listing does not live to see (row 1).

use shared_testkit::{Server, behaviours, program};

behaviours! {
    start: row_1_survives_stop_and_continue, row_2_a_port_in_use_is_a_clear_error,
        refuses_a_malformed_address, refuses_a_second_argument;
    accept: accepts_a_burst_behind_one_event;
}

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
    // By now it has come across bob as well.
    let carol = server.connect("carol");
    server.expect_line(&format!("Accepted connection from {}", carol.address()));
    server.expect_running();
}
