//! What the article promises for its second step: clients stay, each under a token of its own.

use shared_testkit::{Server, program, promises};

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
}

/// An event names the client that has sent something.
#[test]
fn three_clients_that_type_are_told_apart() {
    let server = Server::start(program!());
    let mut clients = ["alice", "bob", "carol"].map(|name| server.client(name));
    for client in &mut clients {
        client.send_line("Hello");
        server.expect_line(&format!("Client event for {}", client.token()));
    }
    server.expect_no_more_lines();
}

/// This step does not read: the bytes stay in the socket.
#[test]
fn the_bytes_stay_unread() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    alice.send_line("Hello");
    server.expect_line("Client event for Token(1)");

    assert_eq!(server.unread_bytes(&alice), "Hello\n".len());
}

/// Unread bytes are reported once, and again only when more arrive.
#[test]
fn a_second_event_comes_with_new_bytes_only() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    for _ in 0..3 {
        alice.send_line("Hello");
        // Bytes are unread from the first time on, and still the loop sleeps until more arrive.
        server.expect_line("Client event for Token(1)");
    }
    server.expect_idle();
    server.expect_no_more_lines();
}
