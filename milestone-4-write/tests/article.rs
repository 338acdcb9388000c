//! What the article promises for its last step: every client receives every line of the others.

use std::thread;

use shared_testkit::predicates::str::starts_with;
use shared_testkit::{Interest, Server, has_ipv6, program, promises};

promises! {
    /// Port 0 lets the kernel choose, and the first line reports what it chose.
    start::reports_the_port_that_the_kernel_chose
    /// An IPv6 address is given in brackets, as in a URL.
    start::listens_on_ipv6
    /// A server that was ended can be started again on its port at once.
    start::starts_again_on_its_port
    /// Without an argument the server listens on 127.0.0.1:8080.
    start::listens_on_port_8080_by_default
    /// No client is lost and none is accepted twice, a thousand times in a row.
    accept::accepts_a_thousand_clients_in_a_row
    /// Between events the server sleeps in `poll`.
    accept::sleeps_when_nothing_happens
    /// `Token(0)` is the listener's, so clients count from `Token(1)`.
    register::tokens_count_up_from_1
    /// A client stays connected, registered for READABLE alone.
    register::keeps_clients_open
    /// Bytes without a newline wait for it; the bytes after it wait for the next one.
    broadcast::keeps_half_lines
    /// White space is part of a line, its carriage return too.
    broadcast::counts_white_space
    /// Lines that arrive together are broadcast together.
    broadcast::takes_several_lines_at_once
    /// More bytes than one `read` takes are all read behind one event.
    broadcast::reads_everything_behind_one_event
    /// A client that disconnects is removed from epoll and closed; the others stay as they are.
    broadcast::removes_a_client_that_disconnects
    /// The next client gets a new token, whoever has disconnected.
    broadcast::never_reuses_a_token
    /// Lines before end of file are broadcast; half a line is not.
    broadcast::takes_the_last_lines_before_end_of_file
    /// Closing, half-closing and resetting end the client, never the server.
    broadcast::survives_every_kind_of_disconnect
}

/// The article's final chat, with every line that the server prints.
#[test]
fn three_clients_chat() {
    let (server, [mut alice, mut bob, mut carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);
    server.expect_no_more_lines();

    alice.send_line("Hello from A");
    bob.expect_line("Hello from A");
    carol.expect_line("Hello from A");
    server.expect_lines([
        "Broadcast 13 bytes from Token(1)",
        "Wrote 13 bytes to Token(2)",
        "Wrote 13 bytes to Token(3)",
    ]);
    server.expect_no_more_lines();

    bob.send_line("Hello from B");
    alice.expect_line("Hello from B");
    carol.expect_line("Hello from B");
    server.expect_lines([
        "Broadcast 13 bytes from Token(2)",
        "Wrote 13 bytes to Token(1)",
        "Wrote 13 bytes to Token(3)",
    ]);
    server.expect_no_more_lines();
}

/// When one client disconnects, the others chat on.
#[test]
fn the_others_chat_on_when_one_disconnects() {
    let (server, [alice, mut bob, mut carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);

    alice.leave();
    server.expect_line("Client Token(1) disconnected");

    bob.send_line("Still here");
    carol.expect_line("Still here");
    carol.send_line("So am I");
    bob.expect_line("So am I");
    server.expect_lines([
        "Broadcast 11 bytes from Token(2)",
        "Wrote 11 bytes to Token(3)",
        "Broadcast 8 bytes from Token(3)",
        "Wrote 8 bytes to Token(2)",
    ]);
    server.expect_no_more_lines();
}

/// A sender does not receive its own line.
#[test]
fn the_sender_does_not_get_its_own_line() {
    let (_server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    alice.send_line("from alice");
    bob.expect_line("from alice");
    bob.send_line("from bob");
    // If alice's own line were sent back, it would come before this one.
    alice.expect_line("from bob");
}

/// Pieces of lines are put together before they are sent.
#[test]
fn fragments_become_lines() {
    let (server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    alice.send("hel");
    server.expect_line("Buffering partial message from Token(1)");
    alice.send("lo\nwor");
    bob.expect_line("hello");
    alice.send("ld\n");
    bob.expect_line("world");
}

/// Lines that arrive byte by byte are sent complete, empty lines too.
#[test]
fn single_bytes_become_lines() {
    let (_server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    for byte in "one\n\ntwo\n".bytes() {
        alice.send([byte]);
    }
    for line in ["one", "", "two"] {
        bob.expect_line(line);
    }
}

/// Half a line whose sender disconnects reaches nobody.
#[test]
fn half_a_line_is_not_broadcast() {
    let (server, [mut alice, mut bob, mut carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);

    alice.send("never finished");
    server.expect_line("Buffering partial message from Token(1)");
    bob.send_line("whole");
    carol.expect_line("whole");
    // A client that leaves with bytes unread sends a reset instead of an end of file.
    alice.expect_line("whole");
    alice.leave();
    server.expect_line("Client Token(1) disconnected");
    bob.send_line("after it");
    carol.expect_line("after it");
}

/// Twenty thousand lines sent at once all arrive, in order.
#[test]
fn twenty_thousand_lines_in_one_write() {
    let lines: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let (_server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    thread::scope(|scope| {
        scope.spawn(|| alice.send(&lines));
        bob.expect_bytes(&lines);
    });
}

/// Bytes that are not text arrive unchanged.
#[test]
fn every_byte_value_arrives_unchanged() {
    let mut every_byte: Vec<u8> = (0..=255).collect();
    every_byte.push(b'\n');
    let (_server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    alice.send(&every_byte);
    bob.expect_bytes(&every_byte);
}

/// Not even at the end of a line is white space removed: only the newline has a meaning.
#[test]
fn white_space_arrives_unchanged() {
    let (_server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    for line in ["  padded  ", "\t", " ", "a carriage return\r"] {
        alice.send_line(line);
        bob.expect_line(line);
    }
}

/// A slow reader receives 17 MB complete and in order.
#[test]
fn a_long_queue_arrives_complete_and_in_order() {
    // Numbered, so that a lost, doubled or moved byte shows.
    let lines: String = (0..800_000)
        .map(|n| format!("line number {n:8}\n"))
        .collect();
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut bob = server.client_with_receive_buffer("bob", 4096);

    thread::scope(|scope| {
        scope.spawn(|| alice.send(&lines));
        // WRITABLE is on while bytes are queued.
        server.wait_until("bytes are queued for bob", || {
            server.interest(&bob) == Some(Interest::READABLE_AND_WRITABLE)
        });
        bob.expect_bytes(&lines);
    });
    alice.send_line("the last one");
    bob.expect_line("the last one");
}

/// A client that does not read holds up nobody else, and loses nothing.
#[test]
fn a_stalled_reader_does_not_hold_up_the_others() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut bob = server.client_with_receive_buffer("bob", 4096);
    let mut carol = server.client("carol");

    // As soon as something is queued for bob, his socket is full.
    let piece = "a line for everybody\n".repeat(780);
    let mut pieces = 0;
    while server.interest(&bob) != Some(Interest::READABLE_AND_WRITABLE) {
        alice.send(&piece);
        carol.expect_bytes(&piece);
        server.wait_until_asleep();
        pieces += 1;
        assert!(pieces < 1_000, "bob's socket is never full");
    }
    alice.send_line("still in time");
    carol.expect_line("still in time");
    carol.send_line("here too");
    alice.expect_line("here too");

    // The lines that came while bob's socket was full follow those that he had not read.
    bob.expect_bytes(piece.repeat(pieces));
    bob.expect_line("still in time");
    bob.expect_line("here too");
}

/// The lines of eight writers stay whole, and each writer's in order.
#[test]
fn eight_writers_at_once() {
    const WRITERS: usize = 8;
    const LINES: usize = 500;
    let server = Server::start(program!());
    let mut readers = ["alice", "bob"].map(|name| server.client(name));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(server.client("writer"));
    }

    thread::scope(|scope| {
        for (id, writer) in writers.iter_mut().enumerate() {
            scope.spawn(move || {
                for n in 0..LINES {
                    // Two pieces, so that half lines of several writers arrive together.
                    writer.send(format!("{id} "));
                    writer.send(format!("{n}\n"));
                }
            });
        }
        for reader in &mut readers {
            scope.spawn(|| {
                // Lines of different writers may mix; each writer's own stay whole and in order.
                let mut next = [0; WRITERS];
                for _ in 0..WRITERS * LINES {
                    let line = String::from_utf8(reader.receive_line()).expect("text was sent");
                    let (id, n) = line.split_once(' ').expect("a line is whole");
                    let expected = &mut next[id.parse::<usize>().expect("a writer's number")];
                    assert_eq!(n, expected.to_string(), "the next line of writer {id}");
                    *expected += 1;
                }
            });
        }
    });
}

/// WRITABLE is off again as soon as a client's queue is empty.
#[test]
fn writable_is_on_only_while_bytes_are_queued() {
    let (server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    // More than once: it must come on again after it was turned off.
    for line in ["first", "second", "third"] {
        alice.send_line(line);
        bob.expect_line(line);
        server.wait_until("WRITABLE is off again", || {
            server.interest(&bob) == Some(Interest::READABLE)
        });
    }
}

/// After a line to a hundred clients the server sleeps.
#[test]
fn a_hundred_idle_clients_cost_no_cpu() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    let mut others: Vec<_> = (0..100).map(|_| server.client("client")).collect();

    alice.send_line("Hello from A");
    for other in &mut others {
        other.expect_line("Hello from A");
    }
    server.expect_idle();
}

/// The last lines before a half-close are broadcast, and the client is closed.
#[test]
fn half_close_delivers_the_last_lines() {
    let (_server, [mut alice, mut bob, mut carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);

    alice.send("one\ntwo\nand half a li");
    alice.half_close();
    alice.expect_closed();
    for reader in [&mut bob, &mut carol] {
        reader.expect_line("one");
        reader.expect_line("two");
    }
    // The half line is gone, like its sender.
    bob.send_line("three");
    carol.expect_line("three");
}

/// Guests that come and go, some of them by a reset, do no harm.
#[test]
fn clients_come_and_go_while_others_chat() {
    let (mut server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    for round in 0..50 {
        let mut guest = server.client("guest");
        guest.send("half a li");
        alice.send_line(&format!("round {round}"));
        if round % 2 == 0 {
            guest.reset();
        } else {
            guest.leave();
        }
        bob.expect_line(&format!("round {round}"));
    }
    server.expect_running();
}

/// A line and a reset by another client in one batch of events: whatever fails for the client that
/// is gone, the others get the line, and the chat goes on.
#[test]
fn a_reset_in_the_same_batch_as_a_line_costs_nobody_else() {
    let (mut server, [mut alice, bob, mut carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);

    server.stop();
    alice.send_line("goodbye, bob");
    bob.reset();
    server.resume();

    carol.expect_line("goodbye, bob");
    server.expect_line("Client Token(2) disconnected");
    alice.send_line("still here");
    carol.expect_line("still here");
    server.expect_running();
}

/// The same with an end of file between two lines. The first write to a closed socket is answered by
/// a reset, and the second fails; without other provision it raises SIGPIPE, which ends a process.
#[test]
fn a_client_that_closes_between_two_lines_costs_nobody_else() {
    let (mut server, [mut alice, bob, mut carol]) =
        Server::start_with(program!(), ["alice", "bob", "carol"]);

    server.stop();
    alice.send_line("one");
    carol.send_line("two");
    bob.leave();
    server.resume();

    carol.expect_line("one");
    alice.expect_line("two");
    server.expect_line("Client Token(2) disconnected");
    alice.send_line("still here");
    carol.expect_line("still here");
    server.expect_running();
}

/// A line and a reset in one event: the line was sent, so the others get it.
#[test]
fn takes_a_line_before_a_reset_in_one_event() {
    let (server, [mut alice, mut bob]) = Server::start_with(program!(), ["alice", "bob"]);

    server.stop();
    alice.send_line("goodbye");
    alice.reset();
    server.resume();

    bob.expect_line("goodbye");
    server.expect_line("Client Token(1) disconnected");
}

/// On IPv6 as on IPv4.
#[test]
fn two_clients_chat_on_ipv6() {
    if !has_ipv6() || !program!().takes_an_address() {
        return;
    }
    let server = Server::builder(program!()).listen_on("[::1]:0").start();
    let mut alice = server.client("alice");
    let mut bob = server.client("bob");
    alice.send_line("Hello from A");
    bob.expect_line("Hello from A");
    server.expect_match(starts_with("Wrote 13 bytes to Token(2)"));
}
