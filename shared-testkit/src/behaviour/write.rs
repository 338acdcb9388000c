//! Writing, from milestone 4 on.

use predicates::str::starts_with;

use crate::{Builder, Interest, Program, Server};

/// A signal that interrupts `write` is no error, and loses no bytes. `strace` makes the first call
/// fail: on Linux a non-blocking call is not interrupted, but POSIX allows it.
pub fn retries_an_interrupted_write(program: Program) {
    let inject = "--inject=sendto:error=EINTR:when=1";
    let traced = Server::builder(program).under_strace(&["--trace=sendto", inject]);
    let Some(server) = traced.map(Builder::start) else {
        return;
    };
    let mut alice = server.client("alice");
    let mut bob = server.client("bob");
    alice.send_line("Hello from A");
    bob.expect_line("Hello from A");
    // And bob stays connected.
    if server.was_injected() {
        assert_eq!(server.interest(&bob), Some(Interest::READABLE));
    }
}

/// Row 8: an error of `write` closes the client at once. `strace` makes the first call fail: a reset
/// would make `read` fail first.
pub fn row_8_a_write_error_closes_the_client_at_once(program: Program) {
    let inject = "--inject=sendto:error=ECONNRESET:when=1";
    let traced = Server::builder(program).under_strace(&["--trace=sendto", inject]);
    let Some(server) = traced.map(Builder::start) else {
        return;
    };
    let mut alice = server.client("alice");
    let mut bob = server.client("bob");
    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    if server.was_injected() {
        server.expect_stderr(starts_with("Write error for Token(2): "));
        server.expect_line("Client Token(2) disconnected");
        bob.expect_closed();
    }
}
