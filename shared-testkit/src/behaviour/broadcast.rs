//! Reading, splitting into lines and closing, from milestone 3 on.

use std::thread;

use predicates::str::starts_with;

use crate::{Client, Interest, Program, Server, skip};

/// Bytes without a newline wait for it; the bytes after it wait for the next one.
pub fn keeps_half_lines(program: Program) {
    let server = Server::start(program);
    let mut alice = server.client("alice");

    // A carriage return alone ends no line.
    alice.send("hel\r");
    server.expect_line("Buffering partial message from Token(1)");
    alice.send("lo\nwor");
    server.expect_line("Broadcast 7 bytes from Token(1)");
    // Until it sleeps it may still read, and would count the next bytes with these.
    server.wait_until_asleep();
    alice.send("ld\n");
    server.expect_line("Broadcast 6 bytes from Token(1)");
    server.expect_no_more_lines();
}

/// Row 10: `Hello from A` and its newline are 13 bytes.
pub fn row_10_counts_the_bytes_of_a_line(program: Program) {
    let (server, _alice) = broadcasts(program, "Hello from A\n", 13);
    server.expect_no_more_lines();
}

/// White space is part of a line, its carriage return too: only the newline has a meaning.
pub fn counts_white_space(program: Program) {
    broadcasts(program, "  padded \t\r\n", 12);
}

/// Lines that arrive together are broadcast together. Bytes are counted, and `ñ` has two (UTF-8).
pub fn takes_several_lines_at_once(program: Program) {
    broadcasts(program, "pizza\njalapeños\npiñatas\n", 26);
}

/// More than one `read` takes, behind one event: the read loop must go on by itself.
pub fn reads_everything_behind_one_event(program: Program) {
    broadcasts(program, &("x".repeat(10_000) + "\n"), 10_001);
}

/// Alice sends these lines, and the server broadcasts that many bytes.
fn broadcasts(program: Program, lines: &str, bytes: usize) -> (Server, Client) {
    let server = Server::start(program);
    let mut alice = server.client("alice");
    alice.send(lines);
    server.expect_line(&format!("Broadcast {bytes} bytes from Token(1)"));
    (server, alice)
}

/// A signal that interrupts `read` is no error, and loses no bytes.
///
/// On Linux a non-blocking call does not wait and so is not interrupted, but POSIX allows it. `strace`
/// makes the first call fail.
pub fn retries_an_interrupted_read(program: Program) {
    let inject = "--inject=recvfrom:error=EINTR:when=1";
    let Some(server) = Server::start_under_strace(program, &["--trace=recvfrom", inject]) else {
        return;
    };
    let mut alice = server.client("alice");
    alice.send_line("Hello from A");
    server.expect_line("Broadcast 13 bytes from Token(1)");
    // And alice stays connected.
    if server.was_injected() {
        assert_eq!(server.interest(&alice), Some(Interest::READABLE));
    }
}

/// A client that disconnects is removed from epoll and closed; the others stay as they are.
pub fn removes_a_client_that_disconnects(program: Program) {
    let (server, bob) = removes_alice(program, Client::leave);
    let interest = server.interest(&bob);
    let expected = Some(Interest::READABLE);
    assert_eq!(interest, expected, "the interest registered for bob");
    server.expect_no_more_lines();
}

/// Alice goes, bob stays, and the server has one socket less.
fn removes_alice(program: Program, goes: fn(Client)) -> (Server, Client) {
    let (server, [alice, bob]) = Server::start_with(program, ["alice", "bob"]);
    let before = server.tcp_sockets();
    goes(alice);
    server.expect_line("Client Token(1) disconnected");
    server.wait_until_asleep();
    let expected = before.checked_sub(1).expect("the server has TCP sockets");
    assert_eq!(server.tcp_sockets(), expected, "open TCP sockets");
    (server, bob)
}

/// A token is never reused: an event for the old client must not reach the new one.
pub fn never_reuses_a_token(program: Program) {
    let server = Server::start(program);
    for expected in ["Token(1)", "Token(2)", "Token(3)"] {
        let client = server.client("client");
        assert_eq!(client.token(), expected);
        client.leave();
        server.expect_line(&format!("Client {expected} disconnected"));
    }
}

/// Lines before end of file are broadcast; half a line is not.
pub fn takes_the_last_lines_before_end_of_file(program: Program) {
    sends_last_words(program, |_| {}, |_| {});
}

/// The same when lines and end of file come in one event, staged by stopping the server.
pub fn takes_lines_and_end_of_file_from_one_event(program: Program) {
    sends_last_words(program, Server::stop, Server::resume);
}

fn sends_last_words(program: Program, before: fn(&Server), after: fn(&Server)) {
    let server = Server::start(program);
    let mut alice = server.client("alice");
    before(&server);
    alice.send("last words\nand half a li");
    alice.half_close();
    after(&server);
    server.expect_line("Broadcast 11 bytes from Token(1)");
    server.expect_line("Client Token(1) disconnected");
    alice.expect_closed();
}

/// From milestone 4 on: bytes queued for a client are sent after its end of file and before it is
/// closed, as far as its socket takes them.
pub fn sends_queued_bytes_after_end_of_file(program: Program) {
    let (server, [mut alice, mut bob]) = Server::start_with(program, ["alice", "bob"]);
    // One batch of events: alice's line, and then bob's end of file.
    server.stop();
    alice.send_line("for bob");
    bob.half_close();
    server.resume();
    server.expect_line("Client Token(2) disconnected");
    let lines = server.stdout_lines();
    let place = |beginning| lines.iter().position(|line| line.starts_with(beginning));
    if place("Client Token(2)") < place("Broadcast ") {
        // In which order the events of a batch come is nothing to count on.
        return skip("the server took bob's end of file before alice's line");
    }
    bob.expect_line("for bob");
    bob.expect_closed();
}

/// Nothing that one client does may end the server for the others.
pub fn survives_every_kind_of_disconnect(program: Program) {
    let mut server = Server::start(program);
    for round in 0..20 {
        let mut client = server.client("client");
        let goodbye = format!("Client {} disconnected", client.token());
        if round % 2 == 0 {
            client.send("half a li");
        }
        match round % 3 {
            0 => client.leave(),
            1 => client.half_close(),
            _ => {
                client.reset();
                continue;
            }
        }
        server.expect_line(&goodbye);
    }
    let _last = server.client("last");
    server.expect_running();
}

/// Row 8: a reset closes the client at once, not at some later event, and the others chat on.
pub fn row_8_an_error_closes_the_client_at_once(program: Program) {
    let (server, mut bob) = removes_alice(program, Client::reset);
    server.expect_stderr(starts_with("Read error from Token(1): "));
    bob.send_line("still here");
    server.expect_line("Broadcast 11 bytes from Token(2)");
}

/// Row 4: connections left pending at the descriptor limit are accepted as soon as other clients
/// disconnect, though no new client comes.
pub fn row_4_accepts_pending_connections_at_the_descriptor_limit(program: Program) {
    let server = Server::builder(program).descriptor_limit(24).start();
    let clients: Vec<_> = (0..40).map(|_| server.connect("client")).collect();
    server.expect_stderr(starts_with("Failed to accept: "));
    server.expect_idle();

    // First in, first out: the first to connect is the first to be accepted, and to leave here.
    for client in clients {
        server.expect_line(&format!("Accepted connection from {}", client.address()));
        client.leave();
    }
}

/// Row 5: only new bytes are searched for a newline, so the cost of a line grows with its length,
/// not with the square of it.
///
/// A race, because a clock would measure the machine: one server takes a long line while another one
/// takes as many bytes in short lines, again and again.
pub fn row_5_a_long_line_costs_linear_time(program: Program) {
    const LENGTH: usize = 16 << 20;
    // The article's listing needs as long as more than a hundred of them.
    const MOST_ROUNDS: usize = 16;
    // Two servers at once need two addresses.
    if !program.takes_an_address() {
        return;
    }
    let (long, short) = (Server::start(program.clone()), Server::start(program));
    let mut alice = long.client("alice");
    let long_line = "x".repeat(LENGTH - 1) + "\n";
    let short_lines = ("x".repeat(4095) + "\n").repeat(LENGTH / 4096);
    let arrived = format!("Broadcast {LENGTH} bytes from Token(1)");

    thread::scope(|scope| {
        scope.spawn(|| alice.send(long_line));
        for _ in 0..MOST_ROUNDS {
            let mut bob = short.client("bob");
            bob.send(short_lines.as_str());
            let disconnected = format!("Client {} disconnected", bob.token());
            bob.leave();
            short.expect_line(&disconnected);
            if long.stdout_lines().contains(&arrived) {
                return;
            }
        }
        panic!(
            "the server has not taken a line of 16 MiB in the time in which another one took \
             {MOST_ROUNDS} times as many bytes in short lines"
        );
    });
}
