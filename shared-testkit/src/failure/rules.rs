//! The rules that find a failure's cause in the evidence, in order: the first that fits is the cause.
//!
//! A rule claims only what was seen. One that might be wrong is worse than none.

use std::collections::HashSet;

use crate::failure::diff::{Talk, trimmed};
use crate::failure::evidence::{Evidence, Peer, Socket};
use crate::failure::lessons::{ACCEPT, BROADCAST, REGISTER, START_PAGE, WITHOUT_MIO, WRITE};
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
    // It was to refuse its arguments.
    ("starts-all-the-same", |e| if e.refusal.is_some() && !e.has_ended { Some(first_line(e)) } else { None },
        "The program should have ended with an error, but it went on and printed {}. Check the arguments, and end with exit status 1.",
        (ACCEPT, "Start, or say why not")),
    ("panics-at-start", |e| when(e.refusal.is_some() && e.ended_with(&["panicked at", "panic: ", "traceback"])),
        "The program ended with a panic. Print an error that begins with `Error: `, and end with exit status 1.",
        (ACCEPT, "Start, or say why not")),
    ("exit-status", |e| e.refusal.as_ref().filter(|_| !e.fate.ends_with("exit status 1")).map(|_| e.fate.clone()),
        "The program {}. After an error, end with exit status 1.",
        (ACCEPT, "Start, or say why not")),
    ("error-on-stdout", |e| when(e.refusal.is_some() && !e.stdout.is_empty()),
        "The program was to end with an error, and printed something on stdout. Print the error on stderr, and nothing else.",
        (ACCEPT, "Start, or say why not")),
    ("error-text", |e| e.refusal.as_ref().filter(|_| !first_line(e).starts_with("\"Error: ")).map(|_| first_line(e)),
        "As its error, the program printed {}. Begin it with `Error: `.",
        (ACCEPT, "Start, or say why not")),
    ("error-names-nothing", missing_word,
        "The error does not contain {}. Name the address and the cause.",
        (ACCEPT, "Start, or say why not")),

    // It has ended, and its last words say why.
    ("address-ignored", |e| when(e.wants_free_port && (e.is_starting && e.ended_with(&["in use"]) || e.listens_at_default)),
        "The server was to listen on port 0, a free port, but used another one: its argument is ignored.",
        (START_PAGE, "Run a chapter's tests against it")),
    ("not-ipv6", |e| when(e.expected.contains("[::1]") && e.stderr.iter().chain(&e.stdout).any(|line| line.starts_with("Listening on 127."))),
        "The server was to listen on [::1], an address of IPv6, and listens on 127.0.0.1. The port follows the last colon.",
        (ACCEPT, "Start, or say why not")),
    ("eintr", |e| when(e.ended_with(&["interrupted", "eintr", "os error 4)"])),
        "The server ended because a signal interrupted a call (EINTR). Make the call again.",
        (ACCEPT, "A signal is not an error")),
    ("emfile", |e| when(e.ended_with(&["too many open files", "emfile"])),
        "The server ended because it had no descriptor left (EMFILE). Report the error, keep the listener, and accept again when a client has disconnected.",
        (BROADCAST, "When descriptors run out")),
    ("sigpipe", |e| when(e.is_killed_by == Some(libc::SIGPIPE)),
        "The signal SIGPIPE ended the server: it wrote to a client that had disconnected. Ignore the signal and handle the error from write.",
        (WITHOUT_MIO, "Signals")),
    ("would-block-is-fatal", |e| when(e.ended_with(&["os error 11)", "temporarily unavailable"])),
        "The server ended because a call would block. That is no error: return to the event loop.",
        (ACCEPT, "Accept until WouldBlock")),
    ("client-error-is-fatal", |e| when(e.ended_with(&["connection reset", "broken pipe"])),
        "An error on one client's socket ended the server for everybody. Close that client and continue.",
        (BROADCAST, "One way out")),
    ("stale-event", stale_event,
        "The server panicked after it had removed {}: the current event, or a later one of the same batch, still named that client. Skip an event whose token is not in the map.",
        (WRITE, "One event, two halves")),

    // Clients cannot connect.
    ("does-not-start", |e| if e.is_starting && e.has_ended { Some(format!("{}; {}", e.fate.trim_start_matches("has ended, "), last_words(e))) } else { None },
        "The server ended before clients could connect: {}. Run the same command in a terminal.",
        (START_PAGE, "Run a chapter's tests against it")),
    ("not-announced", |e| when(e.is_starting && e.wants_free_port && e.listener.is_some()),
        "The server listens, but no line with `Listening on` and its address has come through its stdout or stderr. Print it, and flush.",
        (START_PAGE, "Run a chapter's tests against it")),
    ("does-not-listen", |e| when(e.is_starting && e.listener.is_none()),
        "The command runs, but its process listens on no port, and has not printed `Listening on` and an address.",
        (START_PAGE, "Run a chapter's tests against it")),

    // It waits where it must not wait.
    ("blocking-listener", |e| when(e.listener.as_ref().is_some_and(|l| e.blocked_in(l) == Some("accept"))),
        "The server waits inside accept, and no connection is pending: the listener is blocking. Make it non-blocking, and accept until WouldBlock.",
        (WITHOUT_MIO, "Both sides must be non-blocking")),
    ("blocking-client", |e| client(e, |_, s| e.blocked_in(s) == Some("read")),
        "The server waits inside read for {}, whose socket is blocking. Make each accepted socket non-blocking, and read until WouldBlock.",
        (WITHOUT_MIO, "Both sides must be non-blocking")),
    ("blocking-client", |e| client(e, |_, s| e.blocked_in(s) == Some("write")),
        "The server waits inside write for {}, whose socket is blocking. Make each accepted socket non-blocking, and write until WouldBlock.",
        (WITHOUT_MIO, "Both sides must be non-blocking")),

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
    ("accept-spins", |e| when((e.spins || e.repeats) && e.stderr.last().is_some_and(|line| line.to_lowercase().contains("too many open files"))),
        "accept fails with EMFILE, and the server calls it again and again. Return to the event loop, and accept again when a client has disconnected.",
        (BROADCAST, "When descriptors run out")),
    ("level-triggered", |e| if e.spins || e.repeats { level_triggered(e) } else { None },
        "{} is registered level-triggered, so the kernel reports it again and again. Register it edge-triggered (EPOLLET).",
        (ACCEPT, "Reported once: edge-triggered readiness")),
    ("writable-from-the-start", |e| if e.peers.iter().all(|p| p.sent.is_empty()) { client(e, |_, s| s.wants_to_write()) } else { None },
        "{} is registered for WRITABLE although nothing was ever broadcast. Register a new client for READABLE only. (Go's package net registers every socket so: call epoll yourself.)",
        (BROADCAST, "Interest in WRITABLE")),
    ("writable-left-on", |e| if e.spins || e.expected.contains("WRITABLE is off") { client(e, |p, s| s.wants_to_write() && s.unsent == 0 && has_everything(e, p)) } else { None },
        "{} is registered for WRITABLE although nothing is queued for it. Reregister it for READABLE only, once its queue is empty.",
        (WRITE, "WRITABLE only while bytes are queued")),
    ("long-line-costs", |e| if e.spins && e.used.as_secs() > 0 { client(e, |p, s| s.unread > 0 && p.sent.len() - complete(p).len() > LONG) } else { None },
        "The server has used more than a second of CPU time and still reads a long line of {}: the whole buffer is searched or copied after each read. Search only the new bytes.",
        (BROADCAST, "A stream has no messages")),
    ("spins-at-would-block", |e| when(e.spins && e.listener.as_ref().is_some_and(|l| l.unread == 0) && e.open().all(|(_, s)| s.unread == 0 && !s.wants_to_write()) && e.peers.iter().all(|p| is_done(e, p))),
        "The server runs without a pause although no connection is pending and no bytes are unread: a loop does not return at WouldBlock, or it polls with a timeout of 0.",
        (ACCEPT, "Accept until WouldBlock")),

    // What it counts and sends.
    ("error-counted", |e| when(e.stdout.iter().any(|line| line.starts_with("Wrote -1 bytes"))),
        "The server printed `Wrote -1 bytes`: a write failed, and its result was taken for a count. At EAGAIN, keep the bytes in a queue until the socket has room.",
        (WRITE, "A write takes what fits")),
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
    ("after-an-error", |e| if e.is_asleep() || e.has_ended { injected(e) } else { None },
        "The test made {}, and the server did not go on as it should. After EINTR, make the call again; after ECONNABORTED, accept the next connection; after any other error, close that client.",
        (ACCEPT, "Accept until WouldBlock")),
    ("error-not-reported", |e| unreported(e).filter(|_| !e.has_ended),
        "The server closed the client, but no line on stderr begins with {}. Report the error there.",
        (BROADCAST, "One way out")),
    ("not-kept", |e| if e.is_asleep() && !e.expected.contains("disconnected") { not_kept(e) } else { None },
        "The server has registered {} and closed the connection, and reported nothing in between. A stream that nothing owns is dropped, which closes it: insert it into the map.",
        (REGISTER, "The kernel knows the descriptor")),
    ("not-kept", |e| if e.is_asleep() { not_kept(e) } else { None },
        "The server has registered {} and closed the connection, and reported nothing in between. Either nothing owns the stream, so that it was dropped at once: insert it into the map. Or the client has disconnected, and that is not reported.",
        (REGISTER, "The kernel knows the descriptor")),
    ("closed-too-early", |e| if e.listener.is_some() { closed_too_early(e) } else { None },
        "The server closed {}, which is still connected. Only a read of 0 bytes is end of file; -1 with EAGAIN (`WouldBlock`) is not. And a stream that is dropped is closed.",
        (BROADCAST, "Read until WouldBlock")),
    ("not-closed", |e| if e.is_asleep() { client(e, |p, s| s.has_ended && says_goodbye(e, p) && s.unread == 0 && !s.wants_to_write() && s.unsent == 0 && has_everything(e, p)) } else { None },
        "The server has read the end of file of {} and sleeps, but the socket is still open. Remove the client from the map and from epoll, and close it.",
        (BROADCAST, "One way out")),
    ("no-accept-after-emfile", |e| when(pending(e) && (e.is_at_limit || e.stderr.iter().any(|line| line.to_lowercase().contains("too many open files")))),
        "Connections are pending and the server sleeps, after accept had failed with EMFILE: that event is spent. Print `Failed to accept: ` and the error, and call accept again when a client disconnects.",
        (BROADCAST, "When descriptors run out")),
    ("accept-until-would-block", |e| when(pending(e)),
        "Connections are pending, and the server sleeps in epoll_wait: one event covers all of them. Accept until WouldBlock.",
        (ACCEPT, "Accept until WouldBlock")),
    ("waits-for-reader", |e| if e.is_asleep() { waits_for_reader(e) } else { None },
        "The server does not read {} while another client's socket is full: it waits in a write to that client. Queue the bytes until that socket has room.",
        (WRITE, "A write takes what fits")),
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
        "WRITABLE is on for {} and the socket has room, but the server sleeps in epoll_wait: a write stopped before WouldBlock, or the bytes that a short write did not take are gone. Write until the queue is empty or a write would block.",
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
    ("half-line-not-kept", |e| if e.is_asleep() && e.expected.starts_with("| Buffering") { clients(e, has_silent_half) } else { None },
        "The server has read half a line from {}, and did not print `Buffering partial message from` and the token. Keep the bytes until their newline arrives, and print that line.",
        (BROADCAST, "A stream has no messages")),
    ("lines-apart", |e| clients(e, lines_apart),
        "The lines of {} arrived together and were broadcast one by one. Broadcast everything up to the last newline at once.",
        (BROADCAST, "A stream has no messages")),
    ("order", |e| when(e.talk == Talk::Order || came_too_early(e)),
        "Lines came in another order. Add new lines at the end of the queue, behind those that wait.",
        (BROADCAST, "Interest in WRITABLE")),
    ("short-write", |e| if e.is_asleep() { client(e, |p, s| !s.wants_to_write() && wrote_since(e, p) && !has_everything(e, p)) } else { None },
        "Fewer bytes were written to {} than were broadcast, and WRITABLE is off: the bytes that a short write did not take were dropped. Keep them in the queue.",
        (WRITE, "A write takes what fits")),
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

/// What the program printed first, on stderr or else on stdout.
fn first_line(e: &Evidence) -> String {
    let line = e.stderr.iter().chain(&e.stdout).next();
    line.map_or("nothing".to_owned(), |line| format!("{line:?}"))
}

/// The text of a panic, or the last line.
fn last_words(e: &Evidence) -> String {
    // Rust's is in the next line, Go's in the same.
    let panic = e
        .stderr
        .iter()
        .skip_while(|line| !line.contains("panicked at"));
    let panic = panic
        .skip(1)
        .chain(e.stderr.iter().filter(|line| line.starts_with("panic: ")));
    let mut words = panic
        .chain(e.stderr.iter().rev())
        .chain(e.stdout.iter().rev());
    let words = words.find(|line| !line.trim().is_empty());
    words.map_or("it printed nothing".to_owned(), |words| {
        format!("it said {:?}", words.trim())
    })
}

/// A word that the error of a program lacks.
fn missing_word(e: &Evidence) -> Option<String> {
    let error = e.stderr.join("\n").to_lowercase();
    let mut words = e.refusal.iter().flatten();
    let missing = words.find(|word| !error.contains(&word.to_lowercase()));
    missing.map(|word| format!("{word:?}"))
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
    e.stdout.iter().any(|line| {
        line.ends_with(token) && !line.starts_with(REGISTERED) && !line.starts_with("Client event")
    })
}

/// A system call that the test has made fail, as strace prints it.
fn injected(e: &Evidence) -> Option<String> {
    let mut lines = e.stderr.iter();
    let line = lines.find(|line| line.ends_with("(INJECTED)"))?;
    let (call, result) = (line.split('(').next()?, line.split("= -1 ").nth(1)?);
    let (call, error) = (call.split(' ').next_back()?, result.split(' ').next()?);
    Some(format!("{call} fail with {error}"))
}

/// The beginning of a line about a client's error that was expected.
fn unreported(e: &Evidence) -> Option<String> {
    let beginning = e.expected.strip_prefix("! ")?.split('"').nth(1)?;
    let errors = ["Read error from ", "Write error for "];
    let is_about_client = errors.iter().any(|error| beginning.starts_with(error));
    is_about_client.then(|| format!("{beginning:?}"))
}

/// A registered client whose connection the server has closed without a reported error.
fn closed_too_early(e: &Evidence) -> Option<String> {
    let is_silent = |token: &String| !e.stderr.iter().any(|line| line.contains(token));
    let mut peers = e.peers.iter().filter(|peer| peer.is_closed_first);
    let peer = peers.find(|peer| peer.token.as_ref().is_some_and(is_silent))?;
    Some(peer.name.clone())
}

/// A client that is not read, is registered for WRITABLE with nothing to be written, and another one's
/// socket is full: so a library does it that waits for each client apart (Go's net).
fn waits_for_reader(e: &Evidence) -> Option<String> {
    let is_held_up = |p: &Peer, s: &Socket| s.unread > 0 && s.wants_to_write() && due(e, p) == 0;
    let is_full = e.open().any(|(_, socket)| socket.unsent > 0);
    client(e, |peer, socket| is_full && is_held_up(peer, socket))
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
        // The carriage return may have gone with the newline.
        let returns = rest[..end]
            .windows(2)
            .filter(|pair| pair == b"\r\n")
            .count();
        end - lines == count || end - lines - returns == count
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
    if sum == 0 || sum >= sent.len() || sent.len() > MOST_TRIMMED {
        return false;
    }
    let lines = sent.split_inclusive(|&byte| byte == b'\n');
    let at_the_ends: usize = lines.map(|line| line.trim_ascii_end().len() + 1).sum();
    [trimmed(sent).len(), at_the_ends].contains(&sum)
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

/// The bytes after the last newline were read, and no line says so.
fn has_silent_half(e: &Evidence, peer: &Peer) -> bool {
    let is_read = peer
        .socket
        .as_ref()
        .is_some_and(|socket| socket.unread == 0);
    let is_said = e.stdout.iter().any(|line| line.starts_with("Buffering"));
    is_read && !is_said && complete(peer).len() < peer.sent.len()
}

/// As many bytes were broadcast as were expected in one go.
fn lines_apart(e: &Evidence, peer: &Peer) -> bool {
    let Some(token) = &peer.token else {
        return false;
    };
    let counts = e.broadcasts_from(peer);
    let sum: usize = counts.iter().sum();
    counts.len() > 1 && e.expected == format!("| Broadcast {sum} bytes from {token}")
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
    use crate::failure::diff::classify;
    use crate::proc::process::Thread;

    /// A server asleep in `epoll_wait`, with one client that has sent a line.
    fn evidence(stdout: &[&str]) -> Evidence {
        let socket = Socket {
            descriptor: 5,
            interest: Some(READABLE),
            ..Socket::default()
        };
        let alice = Peer {
            name: "alice".to_owned(),
            token: Some("Token(1)".to_owned()),
            sent: b"Hello\n".to_vec(),
            socket: Some(socket),
            ..Peer::default()
        };
        let mut evidence = Evidence {
            wants_free_port: true,
            stdout: stdout.iter().map(|line| (*line).to_owned()).collect(),
            listener: Some(Socket {
                descriptor: 4,
                ..Socket::default()
            }),
            peers: vec![alice],
            ..Evidence::default()
        };
        waits(&mut evidence, "epoll_wait", 3);
        evidence
    }

    const READABLE: u32 = 1 << 31 | 1;
    const BOTH: u32 = READABLE | 4;
    const FIRST: &str = "Registered client with Token(1)";
    const GOODBYE: &str = "Client Token(1) disconnected";
    const BROADCAST_6: &str = "Broadcast 6 bytes from Token(1)";

    fn rule(evidence: &Evidence) -> Option<&'static str> {
        first(evidence).map(|cause| cause.rule)
    }

    fn say(e: &mut Evidence, lines: &[&str]) {
        e.stdout.extend(lines.iter().map(|line| (*line).to_owned()));
    }

    fn fail(e: &mut Evidence, line: &str) {
        e.stderr = vec![line.to_owned()];
    }

    fn end(e: &mut Evidence, line: &str) {
        e.has_ended = true;
        e.fate = "has ended, exit status 1".to_owned();
        fail(e, line);
    }

    /// It was to refuse its arguments, and ended with this line.
    fn end_early(e: &mut Evidence, line: &str) {
        e.refusal = Some(vec!["8081".to_owned()]);
        e.stdout.clear();
        end(e, line);
    }

    fn waits(e: &mut Evidence, call: &'static str, descriptor: i32) {
        let call = Some(call);
        e.threads = vec![Thread { call, descriptor }];
    }

    /// The server's end of alice's connection.
    fn socket(e: &mut Evidence) -> &mut Socket {
        e.peers[0].socket.as_mut().unwrap()
    }

    fn is_sent(e: &mut Evidence, bytes: &[u8]) {
        e.peers[0].sent = bytes.to_vec();
    }

    /// A rule, and what makes it fit.
    type Case = (&'static str, fn(&mut Evidence));

    /// For each rule, in the same order.
    #[rustfmt::skip]
    const CASES: &[Case] = &[
        ("starts-all-the-same", |e| e.refusal = Some(Vec::new())),
        ("panics-at-start", |e| end_early(e, "thread 'main' panicked at src/main.rs:7")),
        ("exit-status", |e| { end_early(e, "Error: 8081"); e.fate = "has ended, exit status 0".to_owned(); }),
        ("error-on-stdout", |e| { end_early(e, "Error: 8081"); say(e, &[FIRST]); }),
        ("error-text", |e| end_early(e, "bind: 8081 is in use")),
        ("error-names-nothing", |e| end_early(e, "Error: in use")),
        ("address-ignored", |e| e.listens_at_default = true),
        ("not-ipv6", |e| { e.expected = "[::1]:".to_owned(); fail(e, "Listening on 127.0.0.1:9"); }),
        ("eintr", |e| end(e, "Error: Interrupted system call")),
        ("emfile", |e| end(e, "Error: Too many open files")),
        ("sigpipe", |e| e.is_killed_by = Some(libc::SIGPIPE)),
        ("would-block-is-fatal", |e| end(e, "Error: (os error 11)")),
        ("client-error-is-fatal", |e| end(e, "Error: Connection reset by peer")),
        ("stale-event", |e| { say(e, &[GOODBYE]); end(e, "panicked: no client Token(1)"); }),
        ("does-not-start", |e| { e.is_starting = true; end(e, "Error: 8080 is in the wrong place"); }),
        ("not-announced", |e| e.is_starting = true),
        ("does-not-listen", |e| { e.is_starting = true; e.listener = None; }),
        ("blocking-listener", |e| waits(e, "accept", 4)),
        ("blocking-client", |e| waits(e, "read", 5)),
        ("blocking-client", |e| waits(e, "write", 5)),
        ("would-block-closes", |e| fail(e, "Write error for Token(1): Resource temporarily unavailable")),
        ("readable-turned-off", |e| socket(e).interest = Some(BOTH & !1)),
        ("log-on-stderr", |e| fail(e, "Accepted connection from 127.0.0.1:9")),
        ("stdout-not-flushed", |e| e.stdout.clear()),
        ("first-token", |e| e.stdout = vec!["Registered client with Token(2)".to_owned()]),
        ("reused-token", |e| say(e, &[FIRST])),
        ("accept-spins", |e| { e.repeats = true; fail(e, "Failed to accept: Too many open files"); }),
        ("level-triggered", |e| { e.repeats = true; socket(e).interest = Some(1); socket(e).unread = 6; }),
        ("writable-from-the-start", |e| { is_sent(e, b""); socket(e).interest = Some(BOTH); }),
        ("writable-left-on", |e| { e.spins = true; socket(e).interest = Some(BOTH); }),
        ("long-line-costs", |e| { e.spins = true; e.used = Duration::from_secs(1); is_sent(e, &[0; 2 << 20]); socket(e).unread = 7; }),
        ("spins-at-would-block", |e| { e.spins = true; say(e, &[BROADCAST_6]); }),
        ("error-counted", |e| say(e, &["Wrote -1 bytes to Token(1)"])),
        ("shared-buffer", |e| { say(e, &["Broadcast 9 bytes from Token(1)"]); e.peers.push(Peer { sent: b"and".to_vec(), ..Peer::default() }); }),
        ("newline-not-counted", |e| say(e, &["Broadcast 5 bytes from Token(1)", "Wrote 6 bytes to Token(2)"])),
        ("white-space-trimmed", |e| e.talk = Talk::Trimmed),
        ("not-text", |e| e.talk = Talk::Replaced),
        ("echo", |e| say(e, &[BROADCAST_6, "Wrote 6 bytes to Token(1)"])),
        ("half-line-broadcast", |e| { is_sent(e, b"Hello\nwor"); say(e, &["Broadcast 9 bytes from Token(1)"]); }),
        ("not-closed", |e| say(e, &[GOODBYE, GOODBYE])),
        ("after-an-error", |e| fail(e, "[pid 7] accept4(4, 0x7f, [16]) = -1 EINTR (Interrupted system call) (INJECTED)")),
        ("error-not-reported", |e| e.expected = "! a line, where line.starts_with(\"Read error from Token(1): \")".to_owned()),
        ("not-kept", |e| e.peers[0].socket = None),
        ("not-kept", |e| { e.peers[0].socket = None; e.expected = "| Client Token(1) disconnected".to_owned(); }),
        ("closed-too-early", |e| e.peers[0].is_closed_first = true),
        ("not-closed", |e| { socket(e).has_ended = true; say(e, &[GOODBYE]); }),
        ("no-accept-after-emfile", |e| { e.listener.as_mut().unwrap().unread = 1; fail(e, "Failed to accept: Too many open files"); }),
        ("accept-until-would-block", |e| e.listener.as_mut().unwrap().unread = 1),
        ("waits-for-reader", |e| { *socket(e) = Socket { interest: Some(BOTH), unread: 7, unsent: 7, ..Socket::default() }; }),
        ("read-until-would-block", |e| { socket(e).unread = 7; say(e, &[BROADCAST_6]); }),
        ("end-of-file-ignored", |e| socket(e).has_ended = true),
        ("not-closed", |e| e.dead_sockets = 1),
        ("write-half-skipped", |e| { socket(e).interest = Some(BOTH); say(e, &["Buffering partial message from Token(1)"]); }),
        ("write-until-would-block", |e| { socket(e).interest = Some(BOTH); say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 4 bytes to Token(1)"]); }),
        ("writable-not-turned-on", |e| say(e, &["Wrote 6 bytes to Token(1)", "Broadcast 9 bytes from Token(2)"])),
        ("left-out", |e| say(e, &["Broadcast 9 bytes from Token(2)"])),
        ("lines-left", |e| { is_sent(e, b"Hello\nagain\n"); say(e, &[BROADCAST_6]); }),
        ("fragment-lost", |e| { is_sent(e, b"half a line\n"); say(e, &[BROADCAST_6]); }),
        ("half-line-not-kept", |e| { is_sent(e, b"hel"); e.expected = "| Buffering partial message".to_owned(); }),
        ("lines-apart", |e| { is_sent(e, b"Hello\nHello\n"); say(e, &[BROADCAST_6, BROADCAST_6]); e.expected = "| Broadcast 12 bytes from Token(1)".to_owned(); }),
        ("order", |e| { e.talk = Talk::Inserted(b"Hello\n".to_vec()); say(e, &[BROADCAST_6]); }),
        ("short-write", |e| { is_sent(e, b""); say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 4 bytes to Token(1)"]); }),
        ("nodelay", |e| e.expected = "TCP_NODELAY".to_owned()),
    ];

    #[test]
    fn every_rule_fits_what_it_is_for() {
        assert_eq!(RULES.len(), CASES.len());
        for ((rule, _, text, _), (case, changes)) in RULES.iter().zip(CASES) {
            let mut evidence = evidence(&[FIRST]);
            changes(&mut evidence);
            let cause = first(&evidence).unwrap_or_else(|| panic!("no cause for {case}"));
            assert_eq!((cause.rule, case), (*rule, rule));
            // Two rows may have one name.
            let end = text.rsplit("{}").next().unwrap();
            assert!(cause.text.ends_with(end), "{rule}: {}", cause.text);
        }
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

    #[test]
    fn a_sound_server_has_no_cause() {
        assert_eq!(rule(&evidence(&[FIRST, BROADCAST_6])), None);
    }

    #[test]
    fn a_long_line_may_take_a_moment() {
        let mut evidence = evidence(&[FIRST]);
        evidence.spins = true;
        is_sent(&mut evidence, &[0; 2 << 20]);
        socket(&mut evidence).unread = 7;
        assert_eq!(rule(&evidence), None);
    }

    #[test]
    fn a_buffer_is_not_shared_by_one_client() {
        let evidence = evidence(&[FIRST, "Broadcast 9 bytes from Token(1)"]);
        assert_eq!(rule(&evidence), None);
    }

    #[test]
    fn port_8080_may_be_what_was_asked_for() {
        let mut evidence = evidence(&[FIRST]);
        evidence.listens_at_default = true;
        evidence.wants_free_port = false;
        assert_eq!(rule(&evidence), None);
    }

    #[test]
    fn last_words_are_those_of_a_panic() {
        for stderr in [
            &[
                "thread 'main' panicked at src/main.rs:7:",
                "no luck",
                "note: more",
            ][..],
            &["panic: no luck", "", "goroutine 1 [running]:"],
            &["Error: cannot listen", "Caused by:", "    no luck", ""],
        ] {
            let mut evidence = evidence(&[]);
            evidence.stderr = stderr.iter().map(|line| (*line).to_owned()).collect();
            assert!(last_words(&evidence).contains("no luck\""), "{stderr:?}");
        }
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
