//! What the article promises for its third step: complete lines are queued for all other clients.

use shared_testkit::{Interest, Server, program, promises};

promises! {
    /// Port 0 lets the kernel choose, and the first line reports what it chose.
    start::reports_the_port_that_the_kernel_chose
    /// An IPv6 address is given in brackets, as in a URL.
    start::listens_on_ipv6
    /// A server that was ended can be started again on its port at once.
    start::starts_again_on_its_port
    /// Without an argument the server listens on 127.0.0.1:8080.
    start::listens_on_port_8080_by_default
    /// No client is lost and none is accepted twice, a thousand times in a row.
    accept::accepts_a_thousand_clients_in_a_row
    /// Between events the server sleeps in `poll`.
    accept::sleeps_when_nothing_happens
    /// `Token(0)` is the listener's, so clients count from `Token(1)`.
    register::tokens_count_up_from_1
    /// A client stays connected, registered for READABLE alone.
    register::keeps_clients_open
    /// Bytes without a newline wait for it; the bytes after it wait for the next one.
    broadcast::keeps_half_lines
    /// White space is part of a line, its carriage return too.
    broadcast::counts_white_space
    /// Lines that arrive together are broadcast together.
    broadcast::takes_several_lines_at_once
    /// More bytes than one `read` takes are all read behind one event.
    broadcast::reads_everything_behind_one_event
    /// A client that disconnects is removed from epoll and closed; the others stay as they are.
    broadcast::removes_a_client_that_disconnects
    /// The next client gets a new token, whoever has disconnected.
    broadcast::never_reuses_a_token
    /// Lines before end of file are broadcast; half a line is not.
    broadcast::takes_the_last_lines_before_end_of_file
    /// Closing, half-closing and resetting end the client, never the server.
    broadcast::survives_every_kind_of_disconnect
}

/// While a client's line is unfinished, the server serves the others.
#[test]
fn half_a_line_does_not_hold_up_the_others() {
    let (server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);
    alice.send("hel");
    server.expect_line("Buffering partial message from Token(1)");
    bob.send_line("Hello from B");
    server.expect_line("Broadcast 13 bytes from Token(2)");
}

/// WRITABLE is turned on for every client except the sender.
#[test]
fn writable_is_on_where_bytes_are_queued() {
    let (server, [mut alice, bob, carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);

    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    server.wait_until_asleep();
    for (client, expected) in [
        (&alice, Interest::READABLE),
        (&bob, Interest::READABLE_AND_WRITABLE),
        (&carol, Interest::READABLE_AND_WRITABLE),
    ] {
        let interest = server.interest(client);
        let what = format!("the interest registered for {}", client.name());
        assert_eq!(interest, Some(expected), "{what}");
    }
}

/// This step queues lines and sends nothing.
#[test]
fn nothing_is_sent_yet() {
    let (server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    // The second line is read in a later turn: by then bob's socket has been reported writable.
    for line in ["Hello from A", "Hello again"] {
        alice.send_line(line);
        server.expect_line(&format!("Broadcast {} bytes from Token(1)", line.len() + 1));
        server.wait_until_asleep();
    }
    server.expect_no_more_lines();
    // The server is killed. Whatever was sent arrives before the end of file.
    drop(server);
    bob.expect_closed();
}

/// Room to write is reported once, so interest in it does not keep the server busy.
#[test]
fn interest_in_writable_does_not_spin() {
    let (server, [mut alice, _bob]) = Server::start_with(program!(), ["alice", "bob"]);
    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    server.expect_idle();
}
