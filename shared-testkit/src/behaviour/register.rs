//! Registering, from milestone 2 on.

use predicates::str::contains;

use crate::{Interest, Program, Server};

/// `Token(0)` is the listener's, so clients count from 1.
pub fn tokens_count_up_from_1(program: Program) {
    let server = Server::start(program);
    for expected in ["Token(1)", "Token(2)", "Token(3)", "Token(4)", "Token(5)"] {
        let client = server.client("client");
        assert_eq!(client.token(), expected, "the token, and the expected one");
    }
}

/// A client that connects is not closed, and receives nothing while nobody sends.
pub fn keeps_clients_open(program: Program) {
    let (server, clients) = Server::start_with(program, ["alice", "bob"]);
    server.wait_until_asleep();
    for client in &clients {
        let interest = server.interest(client);
        let what = format!("the interest registered for {}", client.name());
        assert_eq!(interest, Some(Interest::READABLE), "{what}");
    }
    server.expect_no_more_lines();
}

/// Row 3: small lines are sent at once (`TCP_NODELAY`), instead of waiting until the client has
/// acknowledged the line before.
///
/// Checks the system call: from outside it shows only as 40 ms of waiting, and no test measures time.
pub fn row_3_small_lines_are_not_delayed(program: Program) {
    let Some(server) = Server::start_under_strace(program, &["--trace=setsockopt"]) else {
        return;
    };
    let _alice = server.client("alice");
    server.expect_stderr(contains("TCP_NODELAY, [1]"));
}
