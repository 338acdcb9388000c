//! What the article promises for its first step: every client is accepted, announced and dropped.

use shared_testkit::behaviour::{accept, start};
use shared_testkit::{Server, program};

/// Port 0 lets the kernel choose, and the first line reports what it chose.
#[test]
fn reports_the_port_that_the_kernel_chose() {
    start::reports_the_port_that_the_kernel_chose(program!());
}

/// An IPv6 address is given in brackets, as in a URL.
#[test]
fn listens_on_ipv6() {
    start::listens_on_ipv6(program!());
}

/// A server that was ended can be started again on its port at once.
#[test]
fn starts_again_on_its_port() {
    start::starts_again_on_its_port(program!());
}

/// Without an argument the server listens on 127.0.0.1:8080.
#[test]
fn listens_on_port_8080_by_default() {
    start::listens_on_port_8080_by_default(program!());
}

/// No client is lost and none is accepted twice, a thousand times in a row.
#[test]
fn accepts_a_thousand_clients_in_a_row() {
    accept::accepts_a_thousand_clients_in_a_row(program!());
}

/// Between events the server sleeps in `poll`.
#[test]
fn sleeps_when_nothing_happens() {
    accept::sleeps_when_nothing_happens(program!());
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
