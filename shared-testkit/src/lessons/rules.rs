//! The rules that find a failure's cause in the evidence, in order: the first that fits is the cause.
//!
//! A rule claims only what was seen. One that might be wrong is worse than none.

use std::collections::HashSet;

use crate::lessons::evidence::{Evidence, Peer, Socket, Talk, trimmed};
use crate::lessons::table::{ACCEPT, BROADCAST, REGISTER, START_PAGE, WRITE};
use crate::lines::{ACCEPTED, REGISTERED};

/// A cause that was seen, and where to read on.
pub(crate) struct Cause {
    pub rule: &'static str,
    pub text: String,
    pub chapter: &'static str,
    pub heading: &'static str,
}

/// One row: its name; the predicate, which returns what the sentences call `{}`; the sentences;
/// chapter and heading.
type Rule = (
    &'static str,
    fn(&Evidence) -> Option<String>,
    &'static str,
    (&'static str, &'static str),
);

/// The cause, if a rule fits.
pub(crate) fn first(evidence: &Evidence) -> Option<Cause> {
    RULES
        .iter()
        .find_map(|(rule, fits, text, (chapter, heading))| {
            let text = text.replace("{}", &fits(evidence)?);
            Some(Cause {
                rule,
                text,
                chapter,
                heading,
            })
        })
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // It has ended, and its last words say why.
    ("address-ignored", |e| when(e.wants_free_port && (e.is_starting && e.ended_with(&["in use"]) || e.listens_at_default)),
        "The server was to listen on port 0, a free port, but used another one: its argument is ignored.",
        (START_PAGE, "Run a chapter's tests against it")),
    ("eintr", |e| when(e.ended_with(&["interrupted", "eintr", "os error 4)"])),
        "The server ended because a signal interrupted a call (EINTR). Make the call again.",
        (ACCEPT, "A signal is not an error")),
    ("emfile", |e| when(e.ended_with(&["too many open files", "emfile"])),
        "The server ended because it had no descriptor left (EMFILE). Report the error, keep the listener, and accept again when a client has disconnected.",
        (BROADCAST, "When descriptors run out")),
    ("sigpipe", |e| when(e.is_killed_by == Some(libc::SIGPIPE)),
        "The signal SIGPIPE ended the server: it wrote to a client that had disconnected. Ignore the signal and handle the error from write.",
        (WRITE, "The last write")),
    ("would-block-is-fatal", |e| when(e.ended_with(&["os error 11)", "temporarily unavailable"])),
        "The server ended because a call would block. That is no error: return to the event loop.",
        (ACCEPT, "Accept until WouldBlock")),
    ("client-error-is-fatal", |e| when(e.ended_with(&["connection reset", "broken pipe"])),
        "An error on one client's socket ended the server for everybody. Close that client and continue.",
        (BROADCAST, "One way out")),
    ("stale-event", stale_event,
        "The server panicked after it had removed {}: the current event, or a later one of the same batch, still named that client. Skip an event whose token is not in the map.",
        (WRITE, "One event, two halves")),

    // It waits where it must not wait.
    ("blocking-listener", |e| when(e.listener.as_ref().is_some_and(|l| e.blocked_in(l) == Some("accept"))),
        "The server waits inside accept, and no connection is pending: the listener is blocking. Make it non-blocking, and accept until WouldBlock.",
        (ACCEPT, "Accept until WouldBlock")),
    ("blocking-client", |e| client(e, |_, s| e.blocked_in(s) == Some("read")),
        "The server waits inside read for {}, whose socket is blocking. Make each accepted socket non-blocking, and read until WouldBlock.",
        (BROADCAST, "Read until WouldBlock")),
    ("blocking-client", |e| client(e, |_, s| e.blocked_in(s) == Some("write")),
        "The server waits inside write for {}, whose socket is blocking. Make each accepted socket non-blocking, and write until WouldBlock.",
        (WRITE, "A write takes what fits")),

    ("would-block-closes", |e| when(e.stderr.iter().any(|line| is_would_block(line))),
        "The server took `the call would block` for an error and closed the client. It is no error: keep what is queued, and return to the event loop.",
        (WRITE, "A write takes what fits")),
    ("readable-turned-off", |e| client(e, |_, s| s.is_write_only()),
        "{} is registered for WRITABLE alone, so nothing that it sends is reported. To reregister replaces the interest: ask for READABLE and WRITABLE.",
        (BROADCAST, "Interest in WRITABLE")),

    // It does not say what it does, or says it in the wrong place.
    ("log-on-stderr", |e| when(e.stderr.iter().any(|line| line.starts_with(ACCEPTED))),
        "The line `Accepted connection from` came on stderr. Print what happens on stdout; only errors belong on stderr.",
        (START_PAGE, "Run a chapter's tests against it")),
    ("stdout-not-flushed", |e| if e.stdout.is_empty() && e.is_asleep() { accepted(e) } else { None },
        "The server has accepted {} and sleeps, but no line has come through its stdout: the lines are still in a buffer. Flush stdout after each line.",
        (START_PAGE, "Run a chapter's tests against it")),
    ("first-token", first_token,
        "The first client got {}. The listener has Token(0), so the first client gets Token(1).",
        (REGISTER, "A token for each client")),
    ("reused-token", reused_token,
        "{} was given to two clients. Count up for each client, and never use a token again.",
        (BROADCAST, "Stale events")),

    // It runs without a pause.
    ("level-triggered", |e| if e.spins || e.repeats { level_triggered(e) } else { None },
        "{} is registered level-triggered, so the kernel reports it again and again. Register it edge-triggered (EPOLLET).",
        (ACCEPT, "Reported once: edge-triggered readiness")),
    ("writable-from-the-start", |e| if e.peers.iter().all(|p| p.sent.is_empty()) { client(e, |_, s| s.wants_to_write()) } else { None },
        "{} is registered for WRITABLE although nothing was ever broadcast. Register a new client for READABLE only.",
        (BROADCAST, "Interest in WRITABLE")),
    ("writable-left-on", |e| if e.spins { client(e, |p, s| s.wants_to_write() && s.unsent == 0 && has_everything(e, p)) } else { None },
        "The server runs without a pause, and {} is registered for WRITABLE although nothing is queued. Reregister it for READABLE only, once its queue is empty.",
        (WRITE, "WRITABLE only while bytes are queued")),
    ("long-line-costs", |e| if e.spins && e.used.as_secs() > 0 { client(e, |p, s| s.unread > 0 && p.sent.len() - complete(p).len() > LONG) } else { None },
        "The server has used more than a second of CPU time and still reads a long line of {}: the whole buffer is searched or copied after each read. Search only the new bytes.",
        (BROADCAST, "A stream has no messages")),
    ("spins-at-would-block", |e| when(e.spins && e.listener.as_ref().is_some_and(|l| l.unread == 0) && e.open().all(|(_, s)| s.unread == 0 && !s.wants_to_write()) && e.peers.iter().all(|p| is_done(e, p))),
        "The server runs without a pause although no connection is pending and no bytes are unread: a loop does not return at WouldBlock, or it polls with a timeout of 0.",
        (ACCEPT, "Accept until WouldBlock")),

    // What it counts and sends.
    ("shared-buffer", |e| clients(e, has_more_than_sent),
        "The server broadcast more bytes from {} than that client has sent, and not more than all clients together: their unfinished lines share a buffer. Give each client its own.",
        (BROADCAST, "A stream has no messages")),
    ("newline-not-counted", |e| clients(e, newline_not_counted),
        "The server broadcast the lines of {} but did not count their newlines. The newline is a byte of the line.",
        (BROADCAST, "A stream has no messages")),
    ("white-space-trimmed", |e| if e.talk == Talk::Trimmed { Some(String::new()) } else { clients(e, is_trimmed) },
        "White space at the ends of lines is missing. Only the newline has a meaning: do not trim.",
        (BROADCAST, "A stream has no messages")),
    ("not-text", |e| when(e.talk == Talk::Replaced),
        "Bytes that are not text came as U+FFFD. Keep lines as bytes, and do not convert them to a string.",
        (BROADCAST, "A stream has no messages")),
    ("echo", |e| clients(e, echo),
        "The server wrote more to {} than the others have sent: the sender gets its own line. Skip the sender's token.",
        (BROADCAST, "To everyone but the sender")),
    ("half-line-broadcast", |e| clients(e, half_line_broadcast),
        "The server broadcast bytes of {} up to a place where no line ends. Keep them until their newline arrives.",
        (BROADCAST, "A stream has no messages")),

    ("not-closed", said_goodbye_twice,
        "The server reported {} as disconnected more than once: it is still registered. Remove the client from the map and from epoll, and close it.",
        (BROADCAST, "One way out")),

    // It sleeps, and something is left to do.
    ("not-closed", |e| if e.is_asleep() { client(e, |p, s| s.has_ended && says_goodbye(e, p) && s.unread == 0 && !s.wants_to_write() && s.unsent == 0 && has_everything(e, p)) } else { None },
        "The server has read the end of file of {} and sleeps, but the socket is still open. Remove the client from the map and from epoll, and close it.",
        (BROADCAST, "One way out")),
    ("no-accept-after-emfile", |e| when(pending(e) && e.stderr.iter().any(|line| line.to_lowercase().contains("too many open files"))),
        "Connections are pending and the server sleeps, after accept had failed with EMFILE: that event is spent. Call accept again when a client disconnects.",
        (BROADCAST, "When descriptors run out")),
    ("accept-until-would-block", |e| when(pending(e)),
        "Connections are pending, and the server sleeps in epoll_wait: one event covers all of them. Accept until WouldBlock.",
        (ACCEPT, "Accept until WouldBlock")),
    ("read-until-would-block", |e| if e.is_asleep() { client(e, |p, s| s.unread > 0 && has_read(e, p)) } else { None },
        "Bytes or the end of file of {} are unread, and the server sleeps in epoll_wait: one event covers all of them. Read until WouldBlock.",
        (BROADCAST, "Read until WouldBlock")),
    ("end-of-file-ignored", |e| if e.is_asleep() { client(e, |p, s| s.has_ended && p.token.is_some() && !says_goodbye(e, p)) } else { None },
        "{} has sent end of file, and the server sleeps without having reported it as disconnected: either it stopped reading before end of file, or it ignored a read of 0 bytes. Read until WouldBlock or 0 bytes.",
        (BROADCAST, "Read until WouldBlock")),
    ("not-closed", |e| when(e.dead_sockets > 0 && e.is_asleep()),
        "The server sleeps, and a connection that is over is still open and registered. Remove the client from the map and from epoll, and close it.",
        (BROADCAST, "One way out")),
    ("write-half-skipped", |e| if e.is_asleep() { client(e, |p, s| is_stuck(s) && has_half_line(e, p)) } else { None },
        "Bytes are queued for {}, WRITABLE is on and the socket has room, but the server sleeps: after half a line of that client, the write half of the event was skipped.",
        (WRITE, "One event, two halves")),
    ("write-until-would-block", |e| if e.is_asleep() { client(e, |p, s| is_stuck(s) && (wrote_since(e, p) || stopped_early(e, p))) } else { None },
        "WRITABLE is on for {} and the socket has room, but the server sleeps in epoll_wait: a write stopped before WouldBlock. Write until the queue is empty or a write would block.",
        (WRITE, "A write takes what fits")),
    ("writable-not-turned-on", |e| if e.is_asleep() { client(e, |p, s| waits_for_line(e, p, s) && !e.writes_to(p).is_empty()) } else { None },
        "A line was broadcast, nothing was written to {}, and WRITABLE is off: it was not turned on again for this line. Turn it on whenever bytes are queued.",
        (BROADCAST, "Interest in WRITABLE")),
    ("left-out", |e| if e.is_asleep() { client(e, |p, s| waits_for_line(e, p, s) && e.writes_to(p).is_empty()) } else { None },
        "A line was broadcast, but nothing was ever written to {}, and WRITABLE is off: either that client was left out, or WRITABLE is never turned on. Queue the line for everyone but the sender, and turn WRITABLE on.",
        (BROADCAST, "To everyone but the sender")),
    ("lines-left", |e| if e.is_asleep() { clients(e, has_lines_left) } else { None },
        "All bytes of {} were read, and the server sleeps although complete lines of them are not broadcast: it did not take every line from its buffer. Look for newlines until none is left.",
        (BROADCAST, "A stream has no messages")),
    ("fragment-lost", |e| if e.is_asleep() { clients(e, fragment_lost) } else { None },
        "All bytes of {} were read and fewer were broadcast than the complete lines have: what followed the last newline of a read was lost. Keep it for the next read.",
        (BROADCAST, "A stream has no messages")),
    ("order", |e| when(e.talk == Talk::Order || came_too_early(e)),
        "Lines came in another order. Add new lines at the end of the queue, behind those that wait.",
        (WRITE, "A write takes what fits")),
    ("short-write", |e| if e.is_asleep() { client(e, |p, s| !s.wants_to_write() && wrote_since(e, p) && !has_everything(e, p)) } else { None },
        "Fewer bytes were written to {} than were broadcast, and WRITABLE is off: the bytes that a short write did not take were dropped. Keep them in the queue.",
        (WRITE, "A write takes what fits")),
    ("not-kept", |e| if e.is_asleep() && !e.expected.contains("disconnected") { not_kept(e) } else { None },
        "The server has registered {} and closed the connection, and reported nothing in between. A stream that nothing owns is dropped, which closes it: insert it into the map.",
        (REGISTER, "The kernel knows the descriptor")),
    ("not-kept", |e| if e.is_asleep() { not_kept(e) } else { None },
        "The server has registered {} and closed the connection, and reported nothing in between. Either nothing owns the stream, so that it was dropped at once: insert it into the map. Or the client has disconnected, and that is not reported.",
        (REGISTER, "The kernel knows the descriptor")),
    ("nodelay", |e| when(!e.has_ended && e.expected.contains("TCP_NODELAY")),
        "The server did not set TCP_NODELAY on the accepted socket. Set it before you register the socket.",
        (REGISTER, "Small writes without delay")),
];

/// Reading a line of this length costs no second.
const LONG: usize = 1 << 20;

/// More bytes are not searched for white space: a failure must not take long.
const MOST_TRIMMED: usize = 64 << 10;

fn when(condition: bool) -> Option<String> {
    condition.then(String::new)
}

/// The first connected client for which this holds.
fn client(e: &Evidence, holds: impl Fn(&Peer, &Socket) -> bool) -> Option<String> {
    let mut clients = e.open();
    clients
        .find(|(peer, socket)| holds(peer, socket))
        .map(|(peer, _)| peer.name.clone())
}

/// The first client that has sent something and for which this holds, connected or not.
fn clients(e: &Evidence, holds: fn(&Evidence, &Peer) -> bool) -> Option<String> {
    let mut peers = e.peers.iter().filter(|peer| !peer.sent.is_empty());
    peers
        .find(|peer| holds(e, peer))
        .map(|peer| peer.name.clone())
}

fn stale_event(e: &Evidence) -> Option<String> {
    let panicked = e.ended_with(&["panicked", "traceback"]);
    let gone = e
        .stdout
        .iter()
        .rev()
        .take(3)
        .find_map(|line| line.strip_prefix("Client ")?.strip_suffix(" disconnected"));
    gone.filter(|token| {
        panicked && e.ended_with(&[&token.to_lowercase(), "`none` value", "keyerror"])
    })
    .map(str::to_owned)
}

fn tokens(e: &Evidence) -> impl Iterator<Item = &str> {
    e.stdout
        .iter()
        .filter_map(|line| line.strip_prefix(REGISTERED))
}

fn first_token(e: &Evidence) -> Option<String> {
    tokens(e)
        .next()
        .filter(|token| *token != "Token(1)")
        .map(str::to_owned)
}

fn reused_token(e: &Evidence) -> Option<String> {
    let mut seen = HashSet::new();
    tokens(e)
        .find(|token| !seen.insert(*token))
        .map(str::to_owned)
}

fn level_triggered(e: &Evidence) -> Option<String> {
    let listener = e
        .listener
        .as_ref()
        .filter(|listener| listener.is_level_triggered() && (e.spins || listener.unread > 0));
    client(e, |_, socket| {
        socket.is_level_triggered() && is_ready(socket)
    })
    .or(listener.map(|_| "The listener".to_owned()))
}

/// Whether a level-triggered registration is reported again at once.
fn is_ready(socket: &Socket) -> bool {
    socket.unread > 0 || socket.has_ended || is_stuck(socket)
}

fn pending(e: &Evidence) -> bool {
    e.is_asleep()
        && e.listener
            .as_ref()
            .is_some_and(|listener| listener.unread > 0)
}

/// A client that the server has accepted.
fn accepted(e: &Evidence) -> Option<String> {
    let first = e.peers.first().filter(|_| !pending(e));
    client(e, |_, _| true).or(first.map(|peer| peer.name.clone()))
}

/// Whether the server has read something of a client: a line, a part of one, or its end.
fn has_read(e: &Evidence, peer: &Peer) -> bool {
    let Some(token) = &peer.token else {
        return false;
    };
    e.stdout
        .iter()
        .any(|line| line.ends_with(token) && !line.starts_with(REGISTERED))
}

/// WRITABLE is on, and the socket has room.
fn is_stuck(socket: &Socket) -> bool {
    socket.wants_to_write() && socket.unsent == 0
}

/// The place of the last broadcast by another client.
fn last_broadcast(e: &Evidence, peer: &Peer) -> Option<usize> {
    let own = format!("from {}", peer.token.as_deref()?);
    e.stdout
        .iter()
        .rposition(|line| line.starts_with("Broadcast ") && !line.ends_with(&own))
}

fn wrote_since(e: &Evidence, peer: &Peer) -> bool {
    let wrote = peer
        .token
        .as_deref()
        .and_then(|token| e.last("Wrote ", &format!("to {token}")));
    last_broadcast(e, peer).is_some() && wrote > last_broadcast(e, peer)
}

/// A line of another client's was broadcast after this one was registered, and it gets nothing.
fn waits_for_line(e: &Evidence, peer: &Peer, socket: &Socket) -> bool {
    let registered = peer
        .token
        .as_deref()
        .and_then(|token| e.last(REGISTERED, token));
    let has_writes = e.stdout.iter().any(|line| line.starts_with("Wrote "))
        || e.expected.contains("Wrote")
        || e.expected.contains("Write would block")
        || !e.expected.starts_with('|');
    let is_due = registered.is_some() && last_broadcast(e, peer) > registered;
    is_due && has_writes && !socket.wants_to_write() && socket.unsent == 0 && !wrote_since(e, peer)
}

/// Whether as many bytes were written to a client as others have broadcast since it was registered.
fn has_everything(e: &Evidence, peer: &Peer) -> bool {
    peer.token.is_some() && due(e, peer) <= e.writes_to(peer).iter().sum()
}

/// Whether bytes were left after the last write to a client, and that write did not block.
fn stopped_early(e: &Evidence, peer: &Peer) -> bool {
    let Some(token) = &peer.token else {
        return false;
    };
    let wrote = e.last("Wrote ", &format!(" to {token}"));
    let blocked = e.last(&format!("Write would block for {token}"), "");
    let written = e.writes_to(peer).iter().sum::<usize>();
    wrote > blocked && wrote.is_some_and(|place| due_until(e, peer, place) > written)
}

/// How many bytes others have broadcast since a client was registered.
fn due(e: &Evidence, peer: &Peer) -> usize {
    due_until(e, peer, e.stdout.len())
}

fn due_until(e: &Evidence, peer: &Peer, end: usize) -> usize {
    let Some(token) = &peer.token else { return 0 };
    let start = e.last(REGISTERED, token).unwrap_or(0);
    let own = format!("from {token}");
    let lines = e.stdout[start.min(end)..end]
        .iter()
        .filter(|line| !line.ends_with(&own));
    let counts = lines.filter_map(|line| line.strip_prefix("Broadcast ")?.split(' ').next());
    counts.filter_map(|count| count.parse::<usize>().ok()).sum()
}

/// The bytes of the complete lines that a client has sent.
fn complete(peer: &Peer) -> &[u8] {
    let end = peer
        .sent
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |place| place + 1);
    &peer.sent[..end]
}

fn newline_not_counted(e: &Evidence, peer: &Peer) -> bool {
    let (mut at, counts) = (0, e.broadcasts_from(peer));
    let misses_newlines = |&count: &usize| {
        // It may cover several lines, and then misses several newlines.
        let rest = &peer.sent[at..];
        let mut ends = rest
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(place, _)| place + 1);
        let end = (1..)
            .zip(ends.by_ref())
            .find(|(lines, end)| end - lines >= count);
        let Some((lines, end)) = end else {
            return false;
        };
        at += end;
        end - lines == count
    };
    if counts.is_empty() || !counts.iter().all(misses_newlines) {
        return false;
    }
    // Without a line about what was written, a trimmed newline looks the same.
    let is_written = e.stdout.iter().any(|line| line.starts_with("Wrote "));
    let is_trimmed = trimmed(complete(peer)).len() == counts.iter().sum::<usize>();
    is_written && e.talk != Talk::Trimmed || !is_trimmed
}

fn is_trimmed(e: &Evidence, peer: &Peer) -> bool {
    let sum = e.broadcasts_from(peer).iter().sum::<usize>();
    let sent = complete(peer);
    sum > 0 && sum < sent.len() && sent.len() < MOST_TRIMMED && trimmed(sent).len() == sum
}

/// More was written to a client than the others have broadcast, or was to be.
fn echo(e: &Evidence, peer: &Peer) -> bool {
    let failed = peer.token.as_ref().is_some_and(|token| {
        let line = format!("Write error for {token}: ");
        e.stderr.iter().any(|error| error.starts_with(&line))
    });
    if failed && due(e, peer) == 0 {
        return true;
    }
    let written = e.writes_to(peer).iter().sum::<usize>();
    e.is_asleep() && peer.token.is_some() && written > due(e, peer)
}

fn half_line_broadcast(e: &Evidence, peer: &Peer) -> bool {
    let mut at = 0;
    let counts = e.broadcasts_from(peer);
    counts.iter().sum::<usize>() >= complete(peer).len()
        && counts.iter().any(|count| {
            at += count;
            *count > 0 && peer.sent.get(at - 1).is_some_and(|&byte| byte != b'\n')
        })
}

/// More was broadcast from one client than it has sent, but not from all together.
fn has_more_than_sent(e: &Evidence, peer: &Peer) -> bool {
    let sum = |peer: &Peer| e.broadcasts_from(peer).iter().sum::<usize>();
    sum(peer) > peer.sent.len()
        && e.peers.iter().map(sum).sum::<usize>() <= e.peers.iter().map(|p| p.sent.len()).sum()
}

/// A line that a client has sent came in front of those that were expected before it.
fn came_too_early(e: &Evidence) -> bool {
    let Talk::Inserted(line) = &e.talk else {
        return false;
    };
    let mut peers = e.peers.iter();
    peers.any(|peer| {
        peer.sent
            .split_inclusive(|&byte| byte == b'\n')
            .any(|sent| sent == line)
    })
}

/// Every broadcast ends where a line ends, and complete lines come after the last one.
fn has_lines_left(e: &Evidence, peer: &Peer) -> bool {
    let is_read = peer.socket.as_ref().is_none_or(|socket| socket.unread == 0);
    let (mut at, counts) = (0, e.broadcasts_from(peer));
    let ends_line = |&count: &usize| {
        at += count;
        count > 0 && peer.sent.get(at - 1) == Some(&b'\n')
    };
    is_read && !counts.is_empty() && counts.iter().all(ends_line) && at < complete(peer).len()
}

/// A line about an error, and the error is EAGAIN.
fn is_would_block(line: &str) -> bool {
    let text = line.to_lowercase();
    let is_reported = text.starts_with("write error for ") || text.starts_with("read error from ");
    is_reported && (text.contains("os error 11)") || text.contains("temporarily unavailable"))
}

fn says_goodbye(e: &Evidence, peer: &Peer) -> bool {
    let Some(token) = &peer.token else {
        return false;
    };
    e.last(&format!("Client {token} disconnected"), "")
        .is_some()
}

fn said_goodbye_twice(e: &Evidence) -> Option<String> {
    let mut seen = HashSet::new();
    let goodbyes = e
        .stdout
        .iter()
        .filter_map(|line| line.strip_prefix("Client ")?.strip_suffix(" disconnected"));
    let mut again = goodbyes.filter(|token| !seen.insert(*token));
    again.next().map(str::to_owned)
}

/// Whether nothing is left to do for this client: its lines are broadcast, and it has all others'.
fn is_done(e: &Evidence, peer: &Peer) -> bool {
    if peer.token.is_none() || peer.socket.is_none() {
        return true;
    }
    let sum = e.broadcasts_from(peer).iter().sum::<usize>();
    has_everything(e, peer) && sum >= complete(peer).len()
}

/// A client of which nothing but its registration was reported, and whose socket is closed.
fn not_kept(e: &Evidence) -> Option<String> {
    let is_silent = |token: &String| {
        let lines = e.stdout.iter().chain(&e.stderr);
        lines.filter(|line| line.contains(token.as_str())).count() == 1
    };
    let is_dropped =
        |peer: &&Peer| peer.socket.is_none() && peer.token.as_ref().is_some_and(is_silent);
    let dropped = e.peers.iter().find(is_dropped)?;
    Some(dropped.name.clone())
}

/// Whether the last line about a client is the one about half a line.
fn has_half_line(e: &Evidence, peer: &Peer) -> bool {
    let Some(token) = &peer.token else {
        return false;
    };
    e.last("Buffering partial", token)
        .is_some_and(|place| Some(place) == e.last("", token))
}

fn fragment_lost(e: &Evidence, peer: &Peer) -> bool {
    let is_read = peer.socket.as_ref().is_none_or(|socket| socket.unread == 0);
    let sum = e.broadcasts_from(peer).iter().sum::<usize>();
    is_read && peer.token.is_some() && has_read(e, peer) && sum < complete(peer).len()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::lessons::evidence::classify;
    use crate::proc::process::Thread;

    /// A server asleep in `epoll_wait`, with one client that has sent a line.
    fn evidence(stdout: &[&str]) -> Evidence {
        let asleep = Thread {
            call: Some("epoll_wait"),
            descriptor: 3,
        };
        let socket = Socket {
            descriptor: 5,
            interest: Some(1 << 31 | 1),
            ..Socket::default()
        };
        let alice = Peer {
            name: "alice".to_owned(),
            token: Some("Token(1)".to_owned()),
            sent: b"Hello\n".to_vec(),
            socket: Some(socket),
        };
        Evidence {
            is_starting: false,
            wants_free_port: true,
            listens_at_default: false,
            has_ended: false,
            is_killed_by: None,
            stdout: stdout.iter().map(|line| (*line).to_owned()).collect(),
            stderr: Vec::new(),
            threads: vec![asleep],
            spins: false,
            used: Duration::ZERO,
            repeats: false,
            listener: Some(Socket {
                descriptor: 4,
                ..Socket::default()
            }),
            peers: vec![alice],
            dead_sockets: 0,
            expected: String::new(),
            talk: Talk::Silent,
        }
    }

    fn rule(evidence: &Evidence) -> Option<&'static str> {
        first(evidence).map(|cause| cause.rule)
    }

    #[test]
    fn every_rule_names_a_heading_that_its_chapter_has() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (rule, _, _, (chapter, heading)) in RULES {
            let text = fs::read_to_string(root.join(chapter)).unwrap();
            let wanted = format!("## {heading}");
            assert!(
                text.lines().any(|line| line == wanted),
                "{rule}: {chapter} has no {heading:?}"
            );
        }
    }

    const FIRST: &str = "Registered client with Token(1)";

    #[test]
    fn a_sound_server_has_no_cause() {
        assert_eq!(
            rule(&evidence(&[FIRST, "Broadcast 6 bytes from Token(1)"])),
            None
        );
    }

    #[test]
    fn a_count_without_the_newline() {
        let found = rule(&evidence(&[
            FIRST,
            "Broadcast 5 bytes from Token(1)",
            "Wrote 6 bytes to Token(2)",
        ]));
        assert_eq!(found, Some("newline-not-counted"));
    }

    #[test]
    fn tokens_that_do_not_start_at_1() {
        assert_eq!(
            rule(&evidence(&["Registered client with Token(2)"])),
            Some("first-token")
        );
    }

    #[test]
    fn words_on_the_wrong_stream() {
        let mut evidence = evidence(&[]);
        evidence.stderr = vec!["Accepted connection from 127.0.0.1:9".to_owned()];
        assert_eq!(rule(&evidence), Some("log-on-stderr"));
    }

    #[test]
    fn a_blocking_client() {
        let mut evidence = evidence(&[FIRST]);
        evidence.threads[0] = Thread {
            call: Some("read"),
            descriptor: 5,
        };
        assert_eq!(rule(&evidence), Some("blocking-client"));
    }

    #[test]
    fn a_spinning_server() {
        let mut evidence = evidence(&[FIRST, "Broadcast 6 bytes from Token(1)"]);
        evidence.spins = true;
        assert_eq!(rule(&evidence), Some("spins-at-would-block"));
        let socket = evidence.peers[0].socket.as_mut().unwrap();
        socket.interest = Some(1);
        socket.unread = 6;
        assert_eq!(rule(&evidence), Some("level-triggered"));
    }

    #[test]
    fn a_long_line_that_costs_too_much() {
        let mut evidence = evidence(&[FIRST]);
        evidence.spins = true;
        evidence.peers[0].sent = vec![b'x'; 2 << 20];
        evidence.peers[0].socket.as_mut().unwrap().unread = 7;
        assert_ne!(rule(&evidence), Some("long-line-costs"));
        evidence.used = Duration::from_secs(1);
        assert_eq!(rule(&evidence), Some("long-line-costs"));
    }

    #[test]
    fn writable_from_the_start() {
        let mut evidence = evidence(&[FIRST]);
        evidence.peers[0].sent.clear();
        evidence.peers[0].socket.as_mut().unwrap().interest = Some(1 << 31 | 5);
        assert_eq!(rule(&evidence), Some("writable-from-the-start"));
    }

    #[test]
    fn lines_left_in_the_buffer() {
        let mut evidence = evidence(&[FIRST, "Broadcast 6 bytes from Token(1)"]);
        evidence.peers[0].sent = b"Hello\nagain\n".to_vec();
        assert_eq!(rule(&evidence), Some("lines-left"));
        evidence.peers[0].sent = b"half a line\n".to_vec();
        assert_eq!(rule(&evidence), Some("fragment-lost"));
    }

    #[test]
    fn half_a_line_of_another_client() {
        let mut evidence = evidence(&[FIRST, "Broadcast 9 bytes from Token(1)"]);
        assert_ne!(rule(&evidence), Some("shared-buffer"));
        evidence.peers.push(Peer {
            sent: b"and".to_vec(),
            ..Peer::default()
        });
        assert_eq!(rule(&evidence), Some("shared-buffer"));
    }

    #[test]
    fn a_client_without_interest_in_readable() {
        let mut evidence = evidence(&[FIRST]);
        evidence.peers[0].socket.as_mut().unwrap().interest = Some(1 << 31 | 4);
        assert_eq!(rule(&evidence), Some("readable-turned-off"));
    }

    #[test]
    fn a_full_socket_taken_for_an_error() {
        let mut evidence = evidence(&[FIRST]);
        let line = "Write error for Token(1): Resource temporarily unavailable (os error 11)";
        evidence.stderr = vec![line.to_owned()];
        assert_eq!(rule(&evidence), Some("would-block-closes"));
    }

    #[test]
    fn a_client_that_is_dropped_at_once() {
        let mut evidence = evidence(&[FIRST]);
        assert_ne!(rule(&evidence), Some("not-kept"));
        evidence.peers[0].socket = None;
        assert_eq!(rule(&evidence), Some("not-kept"));
        evidence
            .stdout
            .push("Client Token(1) disconnected".to_owned());
        assert_ne!(rule(&evidence), Some("not-kept"));
    }

    #[test]
    fn lines_that_come_too_early() {
        let mut evidence = evidence(&[FIRST, "Broadcast 6 bytes from Token(1)"]);
        evidence.talk = Talk::Inserted(b"Hello\n".to_vec());
        assert_eq!(rule(&evidence), Some("order"));
    }

    #[test]
    fn an_argument_that_is_ignored() {
        let mut evidence = evidence(&[]);
        evidence.listens_at_default = true;
        assert_eq!(rule(&evidence), Some("address-ignored"));
        evidence.wants_free_port = false;
        assert_ne!(rule(&evidence), Some("address-ignored"));
    }

    #[test]
    fn a_client_that_is_kept() {
        let goodbye = "Client Token(1) disconnected";
        assert_eq!(
            rule(&evidence(&[FIRST, goodbye, goodbye])),
            Some("not-closed")
        );
    }

    #[test]
    fn unread_bytes() {
        let mut evidence = evidence(&[FIRST, "Broadcast 6 bytes from Token(1)"]);
        evidence.peers[0].socket.as_mut().unwrap().unread = 7;
        assert_eq!(rule(&evidence), Some("read-until-would-block"));
    }

    #[test]
    fn what_came_is_classified() {
        assert_eq!(classify(b"one\n", b""), Talk::Silent);
        assert_eq!(classify(b"one\n", b"on"), Talk::TailMissing);
        assert_eq!(classify(b" one \n", b"one\n"), Talk::Trimmed);
        assert_eq!(
            classify(b"a\xff\n", "a\u{fffd}\n".as_bytes()),
            Talk::Replaced
        );
        assert_eq!(classify(b"one\ntwo\n", b"two\none\n"), Talk::Order);
        assert_eq!(
            classify(b"one\ntwo\n", b"six\none\n"),
            Talk::Inserted(b"six\n".to_vec())
        );
        assert_eq!(
            classify(b"one two three four\n", b"one three four"),
            Talk::Hole(5)
        );
        assert_eq!(classify(b"one\n", b"six"), Talk::Other);
    }
}
