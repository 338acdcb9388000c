//! Writing, from milestone 4 on.

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
