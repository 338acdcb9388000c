//! Accepting, from milestone 1 on.

use crate::{Program, Server};

/// No client is lost and none is accepted twice, a thousand times in a row.
pub fn accepts_a_thousand_clients_in_a_row(program: Program) {
    let server = Server::start(program);
    for _ in 0..1000 {
        let client = server.connect("client");
        server.expect_line(&format!("Accepted connection from {}", client.address()));
        client.leave();
    }
}

/// Readiness is reported once, when it begins. So one event must be enough for all pending
/// connections.
pub fn accepts_a_burst_behind_one_event(program: Program) {
    let server = Server::start(program);
    server.stop();
    let burst = ["alice", "bob", "carol", "dave", "erin"].map(|name| server.connect(name));
    server.resume();

    for client in &burst {
        server.expect_line(&format!("Accepted connection from {}", client.address()));
    }
}

/// Between events the server sleeps in `poll`.
pub fn sleeps_when_nothing_happens(program: Program) {
    let server = Server::start(program);
    server.connect("alice").leave();
    server.expect_idle();
}
