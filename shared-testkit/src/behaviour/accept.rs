//! Accepting, from milestone 1 on.

use predicates::str::contains;

use crate::{Program, Server};

/// No client is lost and none is accepted twice, a thousand times in a row.
pub fn accepts_a_thousand_clients_in_a_row(program: Program) {
    let server = Server::start(program);
    for _ in 0..1000 {
        let client = server.connect("client");
        server.expect_line(&format!("Accepted connection from {}", client.address()));
        client.leave();
    }
    server.wait_until_asleep();
    let lines = server.stdout_lines().into_iter();
    let accepted = lines.filter(|line| line.starts_with("Accepted connection from "));
    assert_eq!(accepted.count(), 1000, "connections reported as accepted");
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

/// A signal that interrupts `accept` is no error, and loses no connection.
///
/// On Linux a non-blocking call does not wait and so is not interrupted, but POSIX allows it. `strace`
/// makes the first call fail.
pub fn retries_an_interrupted_accept(program: Program) {
    accepts_although_the_first_call_fails(program, "EINTR");
}

/// A client that gives up while its connection is pending is skipped, and the next one accepted.
///
/// Linux reports it as an accepted connection that is closed; other systems, and errors pending on the
/// connection (accept(2)), as `ECONNABORTED`. `strace` makes the first call fail.
pub fn skips_an_aborted_connection(program: Program) {
    accepts_although_the_first_call_fails(program, "ECONNABORTED");
}

fn accepts_although_the_first_call_fails(program: Program, error: &str) {
    let inject = format!("--inject=accept,accept4:error={error}:when=1");
    let Some(server) = Server::start_under_strace(program, &["--trace=accept,accept4", &inject])
    else {
        return;
    };
    let alice = server.connect("alice");
    server.expect_line(&format!("Accepted connection from {}", alice.address()));
    server.expect_stderr(contains("(INJECTED)"));
    let mut errors = server.stderr_lines().into_iter();
    let error = errors.find(|line| line.starts_with("Failed to accept"));
    assert_eq!(error, None, "the error reported");
}
