//! A server that waits where it must not wait.

use super::crash::WOULD_BLOCK;
use super::*;

rules! { RULES:
    "blocking-listener" Certain, |e| when(e.listener.as_ref().is_some_and(|l| is_blocked(e, "accept", l))),
        "The server waits inside accept, and no connection is pending: the listener is blocking. Make it non-blocking, and accept until WouldBlock.",
        "docs/src/without-mio.md, 'Both sides must be non-blocking'", [|e| waits(e, "accept", 4)];
    "blocking-client" Certain, |e| ["read", "write"].iter().find_map(|call| Some(format!("{call} for {}", client(e, |_, s| is_blocked(e, call, s))?))),
        "The server waits inside {}, whose socket is blocking. Make each accepted socket non-blocking, and read until WouldBlock.",
        "docs/src/without-mio.md, 'Both sides must be non-blocking'", [|e| waits(e, "read", 5), |e| waits(e, "write", 5)];
    "sleeps" Certain, |e| when(!e.is_asleep() && e.threads.iter().any(|t| t.call == Some("nanosleep")) && (has_pending(e) || e.open().any(|(_, s)| s.unread > 0))),
        "The server sleeps of its own accord (nanosleep), while clients wait to be served. Only the wait for events may sleep: nothing else is served meanwhile.",
        "docs/src/without-mio.md, 'Both sides must be non-blocking'", [|e| { waits(e, "nanosleep", 0); socket(e).unread = 7; }];
    "would-block-closes" Certain, |e| e.stderr.iter().find(|line| is_would_block(line)).map(|line| format!("{line:?}")),
        "The server reported {}, an error that is none: the call would block. Keep what is queued, and return to the event loop.",
        "docs/src/4-write.md, 'A write takes what fits'", [
            |e| fail(e, "Write error for Token(1): Resource temporarily unavailable"),
            |e| fail(e, "Read error from Token(1): [Errno 11] x"),
        ];
    "waits-for-reader" Certain, waits_for_reader,
        "The server does not read {} while another client's socket is full. Queue the bytes until that socket has room, and go on.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| *socket(e) = Socket { interest: Some(BOTH), unread: 7, unsent: 7, ..Socket::default() }];
}

fn is_blocked(e: &Evidence, call: &str, socket: &Socket) -> bool {
    e.blocked_in() == Some((call, socket.descriptor))
}

pub(super) fn has_pending(e: &Evidence) -> bool {
    e.listener.as_ref().is_some_and(|l| l.unread > 0)
}

/// A line about an error, and the error is EAGAIN.
fn is_would_block(line: &str) -> bool {
    let text = line.to_lowercase();
    let is_reported = text.starts_with("write error for ") || text.starts_with("read error from ");
    is_reported && WOULD_BLOCK.iter().any(|word| text.contains(word))
}

/// A client that is not read although it is registered for everything, and another one's socket is full:
/// so a library does it that waits for each client apart (Go's net).
fn waits_for_reader(e: &Evidence) -> Option<String> {
    let is_full = e.open().any(|(_, socket)| socket.unsent > 0);
    let is_of_library = |s: &Socket| s.wants_to_write() && s.is_readable() || e.runtime.is_some();
    let is_held_up = |s: &Socket| s.unread > 0 && is_of_library(s);
    client(e, |_, s| e.is_asleep() && is_full && is_held_up(s))
}
