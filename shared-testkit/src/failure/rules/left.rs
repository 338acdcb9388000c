//! A server that sleeps although something is left to do.

use std::collections::HashSet;

use super::blocking::has_pending;
use super::interest::{is_emfile, is_stuck};
use super::*;

rules! { RULES:
    "no-accept-after-emfile" Certain, |e| when(is_waited_for(e) && (e.stderr.iter().any(|line| is_emfile(line)) || e.is_at_limit && e.expects("Failed to accept: "))),
        "Connections are pending and the server sleeps, after accept had failed with EMFILE: that event is spent. Print `Failed to accept: ` and the error, and call accept again when a client disconnects.",
        "docs/src/3-broadcast.md, 'When descriptors run out'", [|e| { e.listener.as_mut().unwrap().unread = 1; fail(e, "Failed to accept: Too many open files"); }];
    "accept-until-would-block" Certain, |e| when(is_waited_for(e)),
        "Connections are pending, and the server sleeps in its wait for events: one event covers all of them. Accept until WouldBlock.",
        "docs/src/1-accept.md, 'Accept until WouldBlock'", [|e| e.listener.as_mut().unwrap().unread = 1];
    "not-kept" Certain, |e| closed(e).filter(|peer| is_silent(e, peer)).map(|peer| peer.name.clone()),
        "The server has registered {} and closed the connection, though {} is still connected, and reported nothing in between. Is the stream in the map? One that nothing owns is dropped, and a stream that is dropped is closed.",
        "docs/src/2-register.md, 'The kernel knows the descriptor'", [|e| { is_sent(e, b""); e.peers[0].is_closed_first = true; }];
    "closed-too-early" Certain, |e| closed(e).map(closed_how),
        "The server closed {}. Only a read of 0 bytes into a buffer that has room is end of file; -1 with EAGAIN (WouldBlock) is not. And a stream that is dropped is closed.",
        "docs/src/3-broadcast.md, 'Read until WouldBlock'", [|e| { e.peers[0].is_closed_first = true; say(e, &[BROADCAST_6]); }];
    "not-closed" Certain, |e| if e.is_asleep() { client(e, |p, s| s.has_ended && says_goodbye(e, p)) } else { None },
        "The server has reported {} as disconnected and sleeps, but the socket is still open. Remove the client from the map and from epoll, and close it.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| { socket(e).has_ended = true; say(e, &[GOODBYE]); }];
    "descriptor-open" Certain, |e| when(matches!(e.look, Some(Look::Sockets(n)) if n > 1 + e.open().count())),
        "A client's connection has ended, and the server still holds its descriptor, for nothing. Close it.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| { e.look = Some(Look::Sockets(3)); }];
    "not-readable" Certain, |e| if e.is_asleep() && e.has_epoll { client(e, |p, s| s.unread > 0 && !s.is_readable() && reads(e, p)) } else { None },
        "Bytes of {} are unread, and epoll was not asked to report them: that client is registered without READABLE, or not at all.",
        "docs/src/3-broadcast.md, 'Interest in WRITABLE'", [|e| { socket(e).unread = 7; socket(e).interest = None; say(e, &[BROADCAST_6]); }];
    "read-until-would-block" Certain, |e| if e.is_asleep() { client(e, |p, s| s.unread > 0 && reads(e, p) && !e.is_at_limit && !is_held_back(e)) } else { None },
        "Bytes or the end of file of {} are unread, and the server sleeps in its wait for events: one event covers all of them. Read until WouldBlock.",
        "docs/src/3-broadcast.md, 'Read until WouldBlock'", [|e| { socket(e).unread = 7; say(e, &[BROADCAST_6]); }];
    "end-of-file-ignored" Certain, |e| if e.is_asleep() && is_chapter_3(e) { client(e, |p, s| s.has_ended && s.unsent == 0 && p.token.is_some()) } else { None },
        "{} has sent end of file, and the server sleeps without having reported it as disconnected: either it stopped reading before end of file, or it ignored a read of 0 bytes. Read until WouldBlock or 0 bytes.",
        "docs/src/3-broadcast.md, 'Read until WouldBlock'", [|e| { socket(e).has_ended = true; say(e, &[BROADCAST_6]); }];
    "write-half-skipped" Certain, |e| if e.is_asleep() { client(e, |p, s| is_stuck(s) && is_owed(e, p) && has_half_line(e, p)) } else { None },
        "Bytes are queued for {}, WRITABLE is on and the socket has room, but the server sleeps: after half a line of that client, the write half of the event was skipped.",
        "docs/src/4-write.md, 'One event, two halves'", [|e| { socket(e).interest = Some(BOTH); differ(e, 0, Change::Cut); say(e, &["Buffering partial message from Token(1)"]); }];
    "write-until-would-block" Certain, |e| if e.is_asleep() && !is_level(e) { client(e, |p, s| is_stuck(s) && is_owed(e, p) && wrote_since(e, p)) } else { None },
        "WRITABLE is on for {} and the socket has room, but the server sleeps: a write stopped before WouldBlock, or the bytes that a short write did not take are gone. Write until the queue is empty or a write would block.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| { socket(e).interest = Some(BOTH); differ(e, 4, Change::Cut); say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 4 bytes to Token(1)"]); }];
    "short-write" Certain, |e| if e.is_asleep() { client(e, |p, s| is_owed(e, p) && !s.wants_to_write() && is_cut_short(e, p)) } else { None },
        "Fewer bytes were written to {} than were broadcast, and WRITABLE is off: the bytes that a short write did not take were dropped. Keep them in the queue.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| { differ(e, 4, Change::Cut); say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 4 bytes to Token(1)"]); }];
    "writable-not-turned-on" Certain, |e| if e.is_asleep() { client(e, |p, s| is_given_up(e, p, s) && is_broadcast(e, p) && p.received > 0) } else { None },
        "A line was broadcast, nothing of it was written to {}, and WRITABLE is off: either the line was not queued for that client, or WRITABLE was not turned on again for it. Turn it on whenever bytes are queued.",
        "docs/src/3-broadcast.md, 'Interest in WRITABLE'", [|e| { differ(e, 6, Change::Cut); say(e, &["Wrote 6 bytes to Token(1)", "Broadcast 9 bytes from Token(2)"]); }];
    "left-out" Certain, |e| if e.is_asleep() { client(e, |p, s| is_given_up(e, p, s) && is_broadcast(e, p)) } else { None },
        "A line was broadcast, but nothing was ever written to {}, and WRITABLE is off: either that client was left out, or WRITABLE is never turned on. Queue the line for everyone but the sender, and turn WRITABLE on.",
        "docs/src/3-broadcast.md, 'To everyone but the sender'", [|e| { differ(e, 0, Change::Cut); say(e, &["Broadcast 9 bytes from Token(2)"]); }];
    "lines-left" Certain, |e| if e.is_asleep() && is_of_broadcast(e) { sender(e, has_lines_left) } else { None },
        "All bytes of {} were read, and the server sleeps although complete lines of them are not broadcast: it did not take every line from its buffer. Look for newlines until none is left.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { expects(e, "Broadcast 12 bytes from Token(1)"); is_sent(e, b"Hello\nagain\n"); say(e, &[BROADCAST_6]); }];
    "fragment-lost" Certain, |e| if e.is_asleep() && is_of_broadcast(e) { sender(e, fragment_lost) } else { None },
        "All bytes of {} were read, and fewer were broadcast than the complete lines have: the others are lost between the two. Often that is what follows the last newline of a read: keep it for the next read.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { expects(e, "Broadcast 12 bytes from Token(1)"); is_sent(e, b"half a line\n"); say(e, &[BROADCAST_6]); }];
}

/// Connections are pending, the server sleeps, and nothing keeps it from accepting. At the descriptor
/// limit it cannot, but is to say so.
fn is_waited_for(e: &Evidence) -> bool {
    let is_to_say_so = e.expects("Failed to accept: ");
    e.is_asleep() && has_pending(e) && (!e.is_at_limit || is_to_say_so)
}

/// Whether some reader is slow: then what a sender has sent may stay unread.
fn is_held_back(e: &Evidence) -> bool {
    e.open().any(|(_, socket)| socket.unsent > 0)
}

/// A registered client whose connection the server has closed without a reported error.
fn closed(e: &Evidence) -> Option<&Peer> {
    let is_silent = |token: &String| !e.stderr.iter().any(|line| line.contains(token.as_str()));
    let is_closed = |peer: &&Peer| {
        let is_over = e.expected == Expected::Closed(peer.name.clone());
        peer.is_closed_first && !is_over && peer.token.as_ref().is_some_and(is_silent)
    };
    let peer = e.peers.iter().find(is_closed);
    peer.filter(|_| e.end.is_none() && !e.is_asked_to_end)
}

/// Whether nothing but its registration was reported of a client.
fn is_silent(e: &Evidence, peer: &Peer) -> bool {
    let token = peer.token();
    let lines = e.stdout.iter().chain(&e.stderr);
    lines.filter(|line| line.contains(token)).count() == 1 && peer.received == 0
}

fn closed_how(peer: &Peer) -> String {
    let (name, half) = (&peer.name, peer.sent.len() - complete(&peer.sent).len());
    match half {
        0 => format!("{name}, who is still connected"),
        _ => format!("{name}, who is still connected and has sent {half} bytes without a newline"),
    }
}

/// Whether the server reads at all: it has said something of this client, or of another.
fn reads(e: &Evidence, peer: &Peer) -> bool {
    let mut lines = e.stdout.iter().filter(|line| line.ends_with(peer.token()));
    lines.any(|line| !line.starts_with(REGISTERED) && !line.starts_with("Client event"))
}

/// From here on, the end of a client is to be noticed.
fn is_chapter_3(e: &Evidence) -> bool {
    let mut lines = ["Broadcast ", "Buffering ", "Client Token"].into_iter();
    lines.any(|start| e.expects(start) || e.has_printed(start))
}

fn is_level(e: &Evidence) -> bool {
    e.open().any(|(_, socket)| socket.is_level_triggered())
}

/// Whether lines of others have not reached this client, and the test waits for them.
fn is_owed(e: &Evidence, peer: &Peer) -> bool {
    let is_owed = match &peer.difference {
        Some(difference) => difference.change == Change::Cut,
        None => peer.token.is_some() && !has_everything(e, peer),
    };
    is_owed && is_sending(e)
}

/// From chapter 4 on, lines are sent.
fn is_sending(e: &Evidence) -> bool {
    match &e.expected {
        Expected::Line(..) => e.expects("Wr") || e.expects("Client "),
        Expected::Bytes(_) | Expected::Closed(_) => true,
        _ => matches!(e.look, Some(Look::Interest(..))) && e.expected == Expected::Fact,
    }
}

/// Bytes are owed, the socket is empty, and nobody will ask for room.
fn is_given_up(e: &Evidence, peer: &Peer, socket: &Socket) -> bool {
    let is_all_read = e.open().all(|(_, socket)| socket.unread == 0);
    is_owed(e, peer) && is_all_read && e.has_epoll && !socket.wants_to_write() && socket.unsent == 0
}

/// The place of the last broadcast by another client.
fn last_broadcast(e: &Evidence, peer: &Peer) -> Option<usize> {
    let own = format!("from {}", peer.token.as_deref()?);
    let mut lines = e.stdout.iter();
    lines.rposition(|line| line.starts_with("Broadcast ") && !line.ends_with(&own))
}

/// Whether another client's line was broadcast since this one was registered.
fn is_broadcast(e: &Evidence, peer: &Peer) -> bool {
    let registered = e.last(REGISTERED, peer.token());
    registered.is_some() && last_broadcast(e, peer) > registered
}

fn wrote_since(e: &Evidence, peer: &Peer) -> bool {
    let wrote = e.last("Wrote ", &format!("to {}", peer.token()));
    last_broadcast(e, peer).is_some() && wrote > last_broadcast(e, peer)
}

/// Whether the last write took a part of what was broadcast, and no write has found the socket full: then
/// nothing keeps the rest.
fn is_cut_short(e: &Evidence, peer: &Peer) -> bool {
    let has_blocked = e.has_printed(&format!("Write would block for {}", peer.token()));
    wrote_since(e, peer) && !has_blocked && !has_everything(e, peer) && !is_whole(e, peer)
}

/// Whether the last write took one or several broadcasts in a row: then it was not short.
fn is_whole(e: &Evidence, peer: &Peer) -> bool {
    let ends: HashSet<_> = sums(of_others(&e.stdout, peer)).chain([0]).collect();
    let last = e.writes_to(peer).pop();
    last.is_some_and(|n| ends.iter().any(|end| ends.contains(&(end + n))))
}

/// Whether the last line about a client is the one about half a line.
fn has_half_line(e: &Evidence, peer: &Peer) -> bool {
    let token = peer.token();
    let last = e.last("Buffering partial", token);
    last.is_some() && last == e.last("", token)
}

fn is_of_broadcast(e: &Evidence) -> bool {
    e.expects("Broadcast ") || matches!(e.expected, Expected::Bytes(_))
}

fn is_read(peer: &Peer) -> bool {
    let socket = peer.socket.as_ref();
    socket.is_some_and(|socket| socket.unread == 0)
}

/// Every broadcast ends where a line ends, and complete lines come after the last one.
fn has_lines_left(e: &Evidence, peer: &Peer) -> bool {
    let mut ends = sums(e.broadcasts_from(peer));
    let is_less = (1..complete(&peer.sent).len()).contains(&e.broadcast_from(peer));
    is_read(peer) && is_less && ends.all(|end| last_byte(peer, end) == Some(b'\n'))
}

fn fragment_lost(e: &Evidence, peer: &Peer) -> bool {
    is_read(peer) && reads(e, peer) && e.broadcast_from(peer) < complete(&peer.sent).len()
}
