//! Where this step does better than the article's listing. The rows are those of the table in
//! `docs/src/departures.md`. Tests that stop and continue the server would end the article's
//! listing before they get to their point (row 1).

use shared_testkit::Interest;
use shared_testkit::behaviour::{accept, broadcast, register, start, write};
use shared_testkit::{Builder, Client, Server, program};

/// A signal that interrupts `poll` is no error: Ctrl-Z, then `fg`.
#[test]
fn row_1_survives_stop_and_continue() {
    start::row_1_survives_stop_and_continue(program!());
}

/// Any other error of `poll` ends the server, which could only spin otherwise.
#[test]
fn ends_when_polling_fails() {
    start::ends_when_polling_fails(program!());
}

/// A port in use is one clear error that names the address and the cause, with exit status 1.
#[test]
fn row_2_a_port_in_use_is_a_clear_error() {
    start::row_2_a_port_in_use_is_a_clear_error(program!());
}

/// A malformed address is one clear error that names it, with exit status 1.
#[test]
fn refuses_a_malformed_address() {
    start::refuses_a_malformed_address(program!());
}

/// A second argument is one clear error that names it, with exit status 1.
#[test]
fn refuses_a_second_argument() {
    start::refuses_a_second_argument(program!());
}

/// One event is enough to accept five pending connections.
#[test]
fn accepts_a_burst_behind_one_event() {
    accept::accepts_a_burst_behind_one_event(program!());
}

/// A signal that interrupts `accept` is no error, and loses no connection.
#[test]
fn retries_an_interrupted_accept() {
    accept::retries_an_interrupted_accept(program!());
}

/// A client that gives up while its connection is pending is skipped, and the next one accepted.
#[test]
fn skips_an_aborted_connection() {
    accept::skips_an_aborted_connection(program!());
}

/// Small lines are sent at once: `TCP_NODELAY` is on.
#[test]
fn row_3_small_lines_are_not_delayed() {
    register::row_3_small_lines_are_not_delayed(program!());
}

/// Connections left pending at the descriptor limit are accepted as soon as other clients disconnect.
#[test]
fn row_4_accepts_pending_connections_at_the_descriptor_limit() {
    broadcast::row_4_accepts_pending_connections_at_the_descriptor_limit(program!());
}

/// The cost of a line grows with its length, not with the square of it.
#[test]
fn row_5_a_long_line_costs_linear_time() {
    broadcast::row_5_a_long_line_costs_linear_time(program!());
}

/// A signal that interrupts `read` is no error, and loses no bytes.
#[test]
fn retries_an_interrupted_read() {
    broadcast::retries_an_interrupted_read(program!());
}

/// A reset closes the client at once, not at some later event.
#[test]
fn row_8_an_error_closes_the_client_at_once() {
    broadcast::row_8_an_error_closes_the_client_at_once(program!());
}

/// `Hello from A` and its newline are 13 bytes.
#[test]
fn row_10_counts_the_bytes_of_a_line() {
    broadcast::row_10_counts_the_bytes_of_a_line(program!());
}

/// Lines and end of file are both taken from one event.
#[test]
fn takes_lines_and_end_of_file_from_one_event() {
    broadcast::takes_lines_and_end_of_file_from_one_event(program!());
}

/// Bytes queued for a client are sent after its end of file, before it is closed.
#[test]
fn sends_queued_bytes_after_end_of_file() {
    broadcast::sends_queued_bytes_after_end_of_file(program!());
}

/// More than a socket takes for a client that does not read.
const QUEUE: usize = 8 << 20;

/// Rows 6 and 7: one event reports a client both readable and writable.
struct Staged {
    server: Server,
    alice: Client,
    carol: Client,
    /// Has a queue, and has received everything that was in flight.
    bob: Client,
    /// What is still queued for bob.
    rest: Vec<u8>,
}

/// Stops a server at the moment when bob's socket has become writable. Whatever bob does next is
/// reported with it, in one event, as soon as the server continues.
fn stop_when_bob_is_writable() -> Staged {
    let lines = "a line for everybody\n".repeat(QUEUE / 21);
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut bob = server.client_with_receive_buffer("bob", 4096);
    let mut carol = server.client("carol");

    // When carol has everything, it has been queued for bob as well, and has filled his socket.
    alice.send(&lines);
    carol.expect_bytes(&lines);
    wait_until_held_up(&server, &bob);

    server.stop();
    let (in_flight, rest) = lines
        .as_bytes()
        .split_at(server.bytes_written_to("Token(2)"));
    bob.expect_bytes(in_flight);
    assert!(!rest.is_empty(), "bob's socket took everything");
    Staged {
        rest: rest.to_vec(),
        server,
        alice,
        carol,
        bob,
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
    let mut staged = stop_when_bob_is_writable();
    staged.bob.send_line("goodbye");
    staged.bob.half_close();
    staged.server.resume();

    staged.alice.expect_line("goodbye");
    staged.carol.expect_line("goodbye");
    // A server may first deliver his whole queue, and he does not read any more.
    staged.bob.leave();
    staged.server.expect_line("Client Token(2) disconnected");
    staged.alice.send_line("still here");
    staged.carol.expect_line("still here");
    staged.server.expect_running();
}

/// Row 7: after half a line the write half of the same event still runs.
#[test]
fn row_7_half_a_line_does_not_hold_up_the_queue() {
    let mut staged = stop_when_bob_is_writable();
    staged.bob.send("half a li");
    staged.server.resume();

    // Nobody sends any more: the one event must be enough to go on writing.
    staged.bob.expect_bytes(&staged.rest);
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

/// A signal that interrupts `write` is no error, and loses no bytes.
#[test]
fn retries_an_interrupted_write() {
    write::retries_an_interrupted_write(program!());
}

/// Row 8: an error of `write` closes the client at once.
#[test]
fn row_8_a_write_error_closes_the_client_at_once() {
    write::row_8_a_write_error_closes_the_client_at_once(program!());
}

/// A reset by a client with a queue closes that client and no other.
#[test]
fn a_stalled_reader_that_resets_closes_only_itself() {
    let Staged {
        server,
        mut alice,
        mut carol,
        bob,
        ..
    } = stop_when_bob_is_writable();
    bob.reset();
    server.resume();

    server.expect_line("Client Token(2) disconnected");
    alice.send_line("still here");
    carol.expect_line("still here");
}

/// A client with a queue that closes after it has received what was in flight: the write half of the
/// event finds a socket that is closed at the other end (in C, the signal SIGPIPE).
#[test]
fn a_client_with_a_queue_that_closes_costs_nobody_else() {
    let Staged {
        mut server,
        mut alice,
        mut carol,
        bob,
        ..
    } = stop_when_bob_is_writable();
    bob.leave();
    server.resume();

    server.expect_line("Client Token(2) disconnected");
    alice.send_line("still here");
    carol.expect_line("still here");
    server.expect_running();
}

/// Row 9: a client for which WRITABLE is on already is not registered again for every line.
///
/// Checks the system calls, because nothing else shows it: without `strace` the test is skipped.
#[test]
fn row_9_turns_writable_on_once() {
    let traced = Server::builder(program!()).under_strace(&["--trace=epoll_ctl"]);
    let Some(server) = traced.map(Builder::start) else {
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
    for _ in 0..100 {
        alice.send_line("one more");
        carol.expect_line("one more");
    }

    assert!(before > 0, "WRITABLE was never turned on");
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
