//! What the article promises of its third step: whole lines are taken and queued for all others.

use shared_testkit::kernel::Interest;
use shared_testkit::{Server, behaviours, program};

behaviours! {
    start: reports_the_port_that_the_kernel_chose, listens_on_ipv6, listens_on_port_8080_by_default;
    accept: accepts_a_thousand_clients_in_a_row, sleeps_when_nothing_happens;
    register: tokens_count_up_from_1, keeps_clients_open;
    broadcast: keeps_half_lines, takes_several_lines_at_once, reads_everything_behind_one_event,
        removes_a_client_that_disconnects, never_reuses_a_token, takes_the_last_lines_before_end_of_file,
        survives_every_kind_of_disconnect;
}

#[test]
fn writable_is_on_where_bytes_are_queued() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let bob = server.client("bob");
    let carol = server.client("carol");

    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    server.wait_until_asleep();
    for (client, expected) in [
        (&alice, Interest::READABLE),
        (&bob, Interest::READABLE_AND_WRITABLE),
        (&carol, Interest::READABLE_AND_WRITABLE),
    ] {
        let interest = server.interest(client.token());
        assert_eq!(
            interest,
            Some(expected),
            "what {} is watched for",
            client.name()
        );
    }
}

#[test]
fn nothing_is_sent_yet() {
    let mut server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut bob = server.client("bob");

    // The second line is taken in a later turn: by then bob's socket was told to be writable.
    for line in ["Hello from A", "Hello again"] {
        alice.send_line(line);
        server.expect_line(&format!("Broadcast {} bytes from Token(1)", line.len() + 1));
        server.wait_until_asleep();
    }
    // Whatever was sent arrives before the end of file.
    server.kill();
    bob.expect_closed();
    server.expect_no_more_lines();
}

#[test]
fn interest_in_writable_does_not_spin() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let _bob = server.client("bob");
    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    server.expect_idle();
}
