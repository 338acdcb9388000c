//! Writing, from milestone 4 on.

use predicates::str::starts_with;

use crate::{Client, Interest, Program, Server};

/// A signal that interrupts `write` is no error, and loses no bytes. On Linux a non-blocking call is
/// not interrupted, but POSIX allows it.
pub fn retries_an_interrupted_write(program: Program) {
    let Some((server, _alice, mut bob)) = chat_whose_first_write_fails(program, "EINTR") else {
        return;
    };
    bob.expect_line("Hello from A");
    // And bob stays connected.
    if server.was_injected() {
        assert_eq!(server.interest(&bob), Some(Interest::READABLE));
    }
}

/// Row 8: an error of `write` closes the client at once, and the others chat on. A reset would make
/// `read` fail first.
pub fn row_8_a_write_error_closes_the_client_at_once(program: Program) {
    let Some((server, mut alice, mut bob)) = chat_whose_first_write_fails(program, "ECONNRESET")
    else {
        return;
    };
    server.expect_line("Broadcast 13 bytes from Token(1)");
    if server.was_injected() {
        server.expect_stderr(starts_with("Write error for Token(2): "));
        server.expect_line("Client Token(2) disconnected");
        bob.expect_closed();
        let mut carol = server.client("carol");
        alice.send_line("still here");
        carol.expect_line("still here");
    }
}

/// Alice says a line, and `strace` makes the first call fail that writes it to bob.
fn chat_whose_first_write_fails(program: Program, error: &str) -> Option<(Server, Client, Client)> {
    let inject = format!("--inject=sendto:error={error}:when=1");
    let server = Server::start_under_strace(program, &["--trace=sendto", &inject])?;
    let mut alice = server.client("alice");
    let bob = server.client("bob");
    alice.send_line("Hello from A");
    Some((server, alice, bob))
}
