//! Where this step does better than the article's listing. The rows are those of the table in
//! `docs/src/departures.md`. Tests that stop and continue the server would end the article's
//! listing before they get to their point (row 1).

use shared_testkit::{Client, Interest, Server, program, promises, skip};

promises! {
    /// A signal that interrupts `poll` is no error: Ctrl-Z, then `fg`.
    start::row_1_survives_stop_and_continue
    /// Any other error of `poll` ends the server, which could only spin otherwise.
    start::ends_when_polling_fails
    /// A port in use is one clear error that names the address and the cause, with exit status 1.
    start::row_2_a_port_in_use_is_a_clear_error
    /// A malformed address is one clear error that names it, with exit status 1.
    start::refuses_a_malformed_address
    /// A second argument is one clear error that names it, with exit status 1.
    start::refuses_a_second_argument
    /// One event is enough to accept five pending connections.
    accept::accepts_a_burst_behind_one_event
    /// A signal that interrupts `accept` is no error, and loses no connection.
    accept::retries_an_interrupted_accept
    /// A client that gives up while its connection is pending is skipped, and the next one accepted.
    accept::skips_an_aborted_connection
    /// Small lines are sent at once: `TCP_NODELAY` is on.
    register::row_3_small_lines_are_not_delayed
    /// Connections left pending at the descriptor limit are accepted as soon as other clients disconnect.
    broadcast::row_4_accepts_pending_connections_at_the_descriptor_limit
    /// The cost of a line grows with its length, not with the square of it.
    broadcast::row_5_a_long_line_costs_linear_time
    /// A signal that interrupts `read` is no error, and loses no bytes.
    broadcast::retries_an_interrupted_read
    /// A reset closes the client at once, not at some later event.
    broadcast::row_8_an_error_closes_the_client_at_once
    /// `Hello from A` and its newline are 13 bytes.
    broadcast::row_10_counts_the_bytes_of_a_line
    /// Lines and end of file are both taken from one event.
    broadcast::takes_lines_and_end_of_file_from_one_event
    /// Bytes queued for a client are sent after its end of file, before it is closed.
    broadcast::sends_queued_bytes_after_end_of_file
    /// A signal that interrupts `write` is no error, and loses no bytes.
    write::retries_an_interrupted_write
    /// Row 8: an error of `write` closes the client at once.
    write::row_8_a_write_error_closes_the_client_at_once
}

/// More than a socket takes for a client that does not read.
const QUEUE: usize = 8 << 20;

/// Rows 6 and 7: one event reports a client both readable and writable.
struct Staged {
    server: Server,
    alice: Client,
    carol: Client,
    /// What is still queued for bob.
    rest: Vec<u8>,
}

/// Stops a server at the moment when bob's socket has become writable: he has a queue, and has received
/// everything that was in flight. Whatever he does next is reported with it, in one event, as soon as the
/// server continues.
fn stop_when_bob_is_writable() -> (Client, Staged) {
    let lines = "a line for everybody\n".repeat(QUEUE / 21);
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut bob = server.client_with_receive_buffer("bob", 4096);
    let mut carol = server.client("carol");

    // When carol has everything, it has been queued for bob as well, and has filled his socket.
    alice.send(&lines);
    carol.expect_bytes(&lines);
    wait_until_held_up(&server, &bob);

    // The kernel goes on. How much was in flight is its to say: a library may have a queue of its own, and
    // call bytes written that are in there.
    server.stop();
    let mut rest = lines.as_bytes();
    loop {
        let has_arrived = || bob.unread_bytes() > 0 || server.unsent_bytes(&bob) == 0;
        server.wait_until("what was in flight arrives", has_arrived);
        let (arrived, later) = rest.split_at(rest.len().min(bob.unread_bytes() as usize));
        if arrived.is_empty() {
            break;
        }
        bob.expect_bytes(arrived);
        rest = later;
    }
    assert!(!rest.is_empty(), "bob's socket took everything");
    let rest = rest.to_vec();
    let staged = Staged {
        server,
        alice,
        carol,
        rest,
    };
    (bob, staged)
}

impl Staged {
    /// Bob is closed, and the server goes on for the others.
    #[track_caller]
    fn expect_that_only_bob_is_gone(mut self) {
        self.server.expect_line("Client Token(2) disconnected");
        self.alice.send_line("still here");
        self.carol.expect_line("still here");
        self.server.expect_running();
    }
}

/// If the server sleeps while WRITABLE is on for bob, his socket is full.
fn wait_until_held_up(server: &Server, bob: &Client) {
    server.wait_until_asleep();
    server.wait_until("bytes are queued for bob", || {
        server.interest(bob) == Some(Interest::READABLE_AND_WRITABLE)
    });
}

/// Row 6: a line, end of file and room to write may be reported by one event.
#[test]
fn row_6_a_client_with_a_queue_sends_and_closes() {
    let (mut bob, mut staged) = stop_when_bob_is_writable();
    bob.send_line("goodbye");
    bob.half_close();
    staged.server.resume();

    staged.alice.expect_line("goodbye");
    staged.carol.expect_line("goodbye");
    // A server may first deliver his whole queue, and he does not read any more.
    bob.leave();
    staged.expect_that_only_bob_is_gone();
}

/// Row 7: after half a line the write half of the same event still runs.
#[test]
fn row_7_half_a_line_does_not_hold_up_the_queue() {
    let (mut bob, staged) = stop_when_bob_is_writable();
    bob.send("half a li");
    staged.server.resume();

    // Nobody sends any more: the one event must be enough to go on writing.
    bob.expect_bytes(&staged.rest);
}

/// A full socket is no error: the remaining bytes are sent when there is room. The newline releases
/// the whole line at once, so its write must find the socket full.
#[test]
fn a_line_larger_than_the_socket_buffer_arrives_complete() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut bob = server.client_with_receive_buffer("bob", 4096);

    let line = "x".repeat(2 * QUEUE) + "\n";
    alice.send(&line);
    server.expect_line("Write would block for Token(2)");
    bob.expect_bytes(&line);
    server.wait_until("WRITABLE is off again", || {
        server.interest(&bob) == Some(Interest::READABLE)
    });
}

/// A reset by a client with a queue closes that client and no other.
#[test]
fn a_stalled_reader_that_resets_closes_only_itself() {
    let (bob, staged) = stop_when_bob_is_writable();
    bob.reset();
    staged.server.resume();
    staged.expect_that_only_bob_is_gone();
}

/// A client with a queue that closes after it has received what was in flight: the write half of the
/// event finds a socket that is closed at the other end (in C, the signal SIGPIPE).
#[test]
fn a_client_with_a_queue_that_closes_costs_nobody_else() {
    let (bob, staged) = stop_when_bob_is_writable();
    bob.leave();
    staged.server.resume();
    staged.expect_that_only_bob_is_gone();
}

/// Row 9: a client for which WRITABLE is on already is not registered again for every line.
///
/// Checks the system calls, because nothing else shows it: without `strace` the test is skipped.
#[test]
fn row_9_turns_writable_on_once() {
    let Some(server) = Server::start_under_strace(program!(), &["--trace=epoll_ctl"]) else {
        return;
    };
    let mut alice = server.client("alice");
    let bob = server.client_with_receive_buffer("bob", 4096);
    assert!(
        server.interest(&bob).is_some(),
        "bob is registered with epoll"
    );
    let of_bob = descriptor_added_last(&server).expect("bob was added");
    let mut carol = server.client("carol");

    let lines = "a line for everybody\n".repeat(QUEUE / 21);
    alice.send(&lines);
    carol.expect_bytes(&lines);
    wait_until_held_up(&server, &bob);
    let before = writable_turned_on(&of_bob, &server);
    if before == 0 {
        return skip("WRITABLE was on before anything was queued");
    }
    for _ in 0..100 {
        alice.send_line("one more");
        carol.expect_line("one more");
    }

    let more = writable_turned_on(&of_bob, &server) - before;
    assert_eq!(more, 0, "times while it was on already");
}

/// The server's descriptor for the client registered last: the third argument of `epoll_ctl(2)`.
fn descriptor_added_last(server: &Server) -> Option<String> {
    let calls = calls(server);
    let added = calls.iter().rfind(|call| call.contains("EPOLL_CTL_ADD"))?;
    Some(added.split(", ").nth(2)?.to_owned())
}

/// How often WRITABLE has been turned on for a descriptor so far.
fn writable_turned_on(descriptor: &str, server: &Server) -> usize {
    let of_descriptor = format!("EPOLL_CTL_MOD, {descriptor}, ");
    let calls = calls(server).into_iter();
    calls
        .filter(|call| call.contains(&of_descriptor) && call.contains("EPOLLOUT"))
        .count()
}

/// What `strace` has written so far.
fn calls(server: &Server) -> Vec<String> {
    server.wait_until_asleep();
    server.stderr_lines()
}
