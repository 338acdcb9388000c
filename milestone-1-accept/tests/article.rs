//! What the article promises for its first step: every client is accepted, announced and dropped.

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
}

/// An accepted connection is dropped: the client sees end of file.
#[test]
fn a_client_sees_end_of_file() {
    let server = Server::start(program!());
    let mut alice = server.connect("alice");
    server.expect_line(&format!("Accepted connection from {}", alice.address()));
    alice.expect_closed();
    server.expect_no_more_lines();
}

/// Three clients that connect at once are announced once each.
#[test]
fn three_clients_at_once_are_each_announced_once() {
    let server = Server::start(program!());
    let mut clients = ["alice", "bob", "carol"].map(|name| server.connect(name));
    for client in &mut clients {
        server.expect_line(&format!("Accepted connection from {}", client.address()));
        client.expect_closed();
    }
    server.expect_no_more_lines();
}
