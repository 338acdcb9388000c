//! What epoll was asked for, and what no program can ask for in its runtime.

use super::blocking::has_pending;
use super::*;
use crate::proc::Interest;

/// Reading a line of this length costs no second.
const LONG: usize = 1 << 20;

rules! { RULES:
    "not-armed-again" Certain, |e| client(e, |_, s| s.is_disarmed() && (s.unread > 0 || s.has_ended)),
        "{} is registered with EPOLLONESHOT, and was not armed again since its last event (EPOLL_CTL_MOD): nothing is reported any more.",
        "docs/src/1-accept.md, 'Reported once: edge-triggered readiness'", [|e| { socket(e).interest = Some(0xc000_0000); socket(e).unread = 6; }];
    "readable-turned-off" Certain, |e| client(e, |_, s| s.wants_to_write() && !s.is_readable() && (s.unread > 0 || is_looked_at(e))),
        "{} is registered for WRITABLE alone, so nothing that it sends is reported. To reregister replaces the interest: ask for READABLE and WRITABLE.",
        "docs/src/3-broadcast.md, 'Interest in WRITABLE'", [|e| { socket(e).interest = Some(BOTH & !1); socket(e).unread = 6; }];
    "writable-from-the-start" Certain, |e| if is_of_write(e) && e.peers.iter().all(|p| p.sent.is_empty()) { client(e, |_, s| s.wants_to_write()) } else { None },
        "{} is registered for WRITABLE although nobody has sent anything. Register a new client for READABLE only.",
        "docs/src/3-broadcast.md, 'Interest in WRITABLE'", [|e| { is_sent(e, b""); e.spins = true; socket(e).interest = Some(BOTH); }];
    "writable-left-on" Certain, |e| if is_of_write(e) { client(e, |p, s| s.wants_to_write() && s.unsent == 0 && (has_everything(e, p) && p.difference.is_none())) } else { None },
        "{} is registered for WRITABLE although nothing is queued for it. Reregister it for READABLE only, once its queue is empty.",
        "docs/src/4-write.md, 'WRITABLE only while bytes are queued'", [|e| { e.spins = true; socket(e).interest = Some(BOTH); }];
    "goodbye-without-close" Certain, |e| if e.spins || e.repeats { client(e, |p, s| s.has_ended && says_goodbye(e, p)) } else { None },
        "The server has reported {} as disconnected, and the socket is still open and registered. Remove the client from the map and from epoll, and close it.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| { e.spins = true; socket(e).has_ended = true; say(e, &[GOODBYE]); }];
    "end-of-file-ignored" Certain, |e| if e.spins && !is_chapter_2(e) && !has_pending(e) { client(e, |p, s| s.has_ended && s.unread <= 1 && !says_goodbye(e, p)) } else { None },
        "{} has sent end of file, and the server runs without a pause and does not close it. A read of 0 bytes is end of file: remove the client, and close it.",
        "docs/src/3-broadcast.md, 'Read until WouldBlock'", [|e| { e.spins = true; socket(e).has_ended = true; }];
    "level-triggered" Limit, |e| e.runtime.filter(|_| needs_edge(e)).map(|r| r.name.to_owned()),
        "{} knows no edge-triggered readiness: what is ready and left alone is reported again and again, so this cannot be seen here.",
        "docs/src/your-own-server.md, 'What your server must be'", [
            |e| { e.repeats = true; e.runtime = java(); socket(e).interest = Some(1); socket(e).unread = 6; say(e, &["Client event for Token(1)"]); },
            |e| { e.spins = true; e.runtime = java(); e.has_epoll = false; e.is_at_limit = true; e.listener.as_mut().unwrap().unread = 1; },
            |e| { e.runtime = java(); looks(e, Some(Interest::READABLE)); },
            |e| { e.runtime = java(); say(e, &["Client event for Token(1)"]); socket(e).unread = 6; expects(e, "Client event for Token(1)"); },
        ];
    "accept-spins" Certain, |e| when((e.spins || e.repeats) && e.stderr.last().is_some_and(|line| is_emfile(line))),
        "accept fails with EMFILE, and the server calls it again and again. Return to the event loop, and accept again when a client has disconnected.",
        "docs/src/3-broadcast.md, 'When descriptors run out'", [|e| { e.repeats = true; fail(e, "Failed to accept: Too many open files"); }];
    "level-triggered" Certain, level_triggered,
        "{} is registered level-triggered, so the kernel reports it again and again. Register it edge-triggered (EPOLLET).",
        "docs/src/1-accept.md, 'Reported once: edge-triggered readiness'", [|e| { e.repeats = true; socket(e).interest = Some(1); socket(e).unread = 6; say(e, &["Client event for Token(1)"]); }];
    "long-line-costs" Certain, |e| if e.spins && e.used.as_secs() > 1 { client(e, |p, s| s.unread > 0 && p.sent.len() - complete(&p.sent).len() > LONG) } else { None },
        "The server has used more than two seconds of CPU time and still reads a long line of {}. If the whole buffer is searched or copied after each read, that costs quadratic time: search only the new bytes.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { e.spins = true; e.used = Duration::from_secs(2); is_sent(e, &[0; 2 << 20]); socket(e).unread = 7; }];
    "socket-full" Certain, |e| if e.spins { client(e, |_, s| s.unsent > 0) } else { None },
        "The server runs without a pause while bytes in the socket of {} are not delivered yet. Often a write that would block is tried again and again: keep the bytes that it did not take, turn WRITABLE on, and return to the event loop.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| { e.spins = true; socket(e).unsent = 7; }];
    "left-alone" Certain, |e| if e.spins { left_alone(e) } else { None },
        "The server runs without a pause, and {}. Often an event is reported and not dealt with, again and again: accept, or read, until the call would block. (In Java, take each key out of selectedKeys.)",
        "docs/src/1-accept.md, 'Reported once: edge-triggered readiness'", [
            |e| { e.spins = true; e.listener.as_mut().unwrap().unread = 1; },
            |e| { e.spins = true; socket(e).unread = 7; },
        ];
    "spins-at-would-block" Certain, |e| when(e.spins && !has_pending(e) && e.open().all(|(_, s)| s.unread == 0 && !s.has_ended && !s.wants_to_write())),
        "The server runs without a pause although no connection is pending and no bytes are unread. Often a loop does not return at WouldBlock, or the wait for events has a timeout of 0.",
        "docs/src/1-accept.md, 'Accept until WouldBlock'", [|e| { e.spins = true; say(e, &[BROADCAST_6]); }];
    "interest" Certain, |e| client(e, |p, _| e.has_epoll && is_asked(e, p, None)),
        "{} is connected, and not registered with epoll.",
        "docs/src/1-accept.md, 'Reported once: edge-triggered readiness'", [|e| { looks(e, None); socket(e).interest = None; }];
    "interest" Certain, queued_and_off,
        "A line is queued for {}, and WRITABLE is off. Queue the line for everyone but the sender, and turn WRITABLE on.",
        "docs/src/3-broadcast.md, 'Interest in WRITABLE'", [|e| looks(e, Some(Interest::READABLE))];
}

rules! { LIMITS:
    "both-at-once" Limit, |e| when(has_both_at_once(e) && !e.spins && shows_readiness(e)),
        "This server registers every socket, the listener too, for READABLE and WRITABLE, edge-triggered, as Go's net and Tokio do, which wait for room by themselves. With such a library, this cannot be seen here.",
        "docs/src/your-own-server.md, 'What your server must be'", [
            |e| { e.listener.as_mut().unwrap().interest = Some(BOTH); socket(e).interest = Some(BOTH); looks(e, Some(Interest::READABLE_AND_WRITABLE)); },
            |e| { e.listener.as_mut().unwrap().interest = Some(BOTH); socket(e).interest = Some(BOTH); expects(e, "Write would block for Token(1)"); },
        ];
    "interrupted" Limit, |e| e.runtime.filter(|_| e.injected.as_ref().is_some_and(|what| what.ends_with("EINTR"))).map(|r| r.name.to_owned()),
        "Linux does not interrupt a call that does not wait, and {} shows it to the program in its own way.",
        "docs/src/your-own-server.md, 'What your server must be'", [|e| { e.runtime = java(); e.injected = Some("accept fail with EINTR".to_owned()); }];
    "no-epoll" Limit, |e| when(e.listener.is_some() && !e.has_epoll && (is_looked_at(e) || e.expected == Expected::Exit && e.injected.is_some())),
        "This server has no epoll instance (it uses select or poll), so what it has asked the kernel for cannot be seen here.",
        "docs/src/your-own-server.md, 'What your server must be'", [|e| { e.has_epoll = false; looks(e, None); }];
    "served-by-itself" Limit, |e| e.runtime.filter(|r| r.reads && is_its_own(e)).map(|r| r.name.to_owned()),
        "{} accepts, reads and writes by itself: no bytes stay unread, and when descriptors run out or a write fails, the program may see another error, or none. So this cannot be seen here.",
        "docs/src/your-own-server.md, 'What your server must be'", [|e| { e.runtime = node(); e.look = Some(Look::Unread(0)); }, |e| { e.runtime = node(); expects(e, "Failed to accept: "); }, |e| { e.runtime = node(); e.injected = Some("sendto fail with ECONNRESET".to_owned()); expects(e, "Write error for Token(1): "); }];
}

pub(super) fn is_emfile(line: &str) -> bool {
    let line = line.to_lowercase();
    line.contains("too many open files") || line.contains("emfile")
}

/// Nobody waits for room at a listener: it is registered as every other socket is.
fn has_both_at_once(e: &Evidence) -> bool {
    let is_both = |s: &Socket| s.is_readable() && s.wants_to_write() && !s.is_level_triggered();
    e.listener.as_ref().is_some_and(is_both) && e.open().all(|(_, socket)| is_both(socket))
}

/// What a library that serves by itself does not show: it may report a failed write as a failed read.
fn is_its_own(e: &Evidence) -> bool {
    let is_of_write = e.injected.is_some() && e.expects("Write error for ");
    is_of_write || e.expects("Failed to accept: ") || matches!(e.look, Some(Look::Unread(_)))
}

/// Whether what the test asks for is what a library with a loop of its own keeps to itself.
fn shows_readiness(e: &Evidence) -> bool {
    let words = ["Write would block for ", "Client event for "];
    is_looked_at(e) || words.iter().any(|word| e.expects(word))
}

/// What is ready and stays so.
fn left_alone(e: &Evidence) -> Option<String> {
    let unread = client(e, |_, s| {
        s.unread > 1 && !s.is_disarmed() && !is_chapter_2(e)
    });
    match has_pending(e) && !e.is_at_limit {
        true => Some("connections stay pending".to_owned()),
        false => unread.map(|name| format!("bytes of {name} stay unread")),
    }
}

fn is_looked_at(e: &Evidence) -> bool {
    matches!(e.look, Some(Look::Interest(..)))
}

/// Whether interest in WRITABLE is what the test is about, or why the server runs.
fn is_of_write(e: &Evidence) -> bool {
    e.spins || is_looked_at(e)
}

fn is_chapter_2(e: &Evidence) -> bool {
    e.has_printed("Client event for ")
}

/// Whether what was seen, or was not, needs edge-triggered readiness.
fn needs_edge(e: &Evidence) -> bool {
    let is_left = e.expects("Client event for ") && e.open().any(|(_, s)| s.unread > 0);
    level_triggered(e).is_some() || queued_and_off(e).is_some() || is_chapter_2(e) && is_left
}

/// A client for which a line is queued, by what a test asks, and WRITABLE is off.
fn queued_and_off(e: &Evidence) -> Option<String> {
    let is_compared = e.expected == Expected::Assertion;
    client(e, |p, _| {
        is_compared && is_asked(e, p, Some(Interest::READABLE))
    })
}

/// Whether the test has asked for a client's interest, and this is the answer.
fn is_asked(e: &Evidence, peer: &Peer, answer: Option<Interest>) -> bool {
    e.look == Some(Look::Interest(peer.name.clone(), answer))
}

/// What is reported again and again, as the server runs or prints without end.
fn level_triggered(e: &Evidence) -> Option<String> {
    let is_again = |s: &Socket| s.is_level_triggered() || s.interest.is_none() && !e.has_epoll;
    // Where bytes are to be read, to leave them is the fault.
    let is_left = |s: &Socket| (s.unread > 0 || s.has_ended) && is_chapter_2(e);
    let is_ready = |_: &Peer, s: &Socket| is_again(s) && (is_left(s) || is_stuck(s));
    // Unless descriptors have run out, to leave a connection pending is the fault.
    let is_kept_out = e.is_at_limit || e.stderr.last().is_some_and(|line| is_emfile(line));
    let listener = e
        .listener
        .as_ref()
        .filter(|l| is_again(l) && l.unread > 0 && is_kept_out);
    let ready = client(e, is_ready).or(listener.map(|_| "The listener".to_owned()));
    ready.filter(|_| e.spins || e.repeats)
}

/// WRITABLE is on, and the socket has room.
pub(super) fn is_stuck(socket: &Socket) -> bool {
    socket.wants_to_write() && socket.unsent == 0
}

#[cfg(test)]
fn looks(e: &mut Evidence, interest: Option<Interest>) {
    e.look = Some(Look::Interest("alice".to_owned(), interest));
}

#[cfg(test)]
fn java() -> Option<Runtime> {
    let (name, reads) = ("Java", false);
    Some(Runtime { name, reads })
}

#[cfg(test)]
fn node() -> Option<Runtime> {
    let (name, reads) = ("Node", true);
    Some(Runtime { name, reads })
}
