//! What the article promises of its third step: whole lines are taken and queued for all others.

use shared_testkit::kernel::Interest;
use shared_testkit::{Server, behaviours, program};

behaviours! {
    start: tells_the_port_that_the_kernel_chose, listens_on_ipv6, listens_on_port_8080_by_default;
    accept: accepts_a_thousand_clients_in_a_row, sleeps_when_nothing_happens;
    register: tokens_count_up_from_1, keeps_clients_open;
    broadcast: keeps_half_lines, takes_several_lines_at_once, reads_all_that_has_come,
        says_goodbye_to_who_leaves, never_uses_a_token_again, takes_the_last_lines_of_who_leaves,
        outlives_every_kind_of_leaving;
}

#[test]
fn writable_is_asked_for_where_bytes_wait() {
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
fn waiting_to_be_written_to_does_not_spin() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let _bob = server.client("bob");
    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    server.expect_idle();
}
