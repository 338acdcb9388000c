//! A server that has ended, and the message with which it did.

use std::os::unix::process::ExitStatusExt;

use regex_lite::Regex;

use super::*;

/// What a message contains that is about EAGAIN, in small letters.
pub(super) const WOULD_BLOCK: &[&str] = &[
    "os error 11)",
    "errno 11]",
    "temporarily unavailable",
    "eagain",
];

rules! { RULES:
    "eintr" Crash, |e| ended_with(e, &["interrupted system call", "eintr", "os error 4)", "errno 4]"]),
        "The server ended ({}) because a signal interrupted a call (EINTR). Make the call again.",
        "docs/src/1-accept.md, 'A signal is not an error'",
        [|e| end(e, "Error: Interrupted system call"), |e| end(e, "read error\n\nTraceback (most recent call last):\n  File\nInterruptedError: [Errno 4] Interrupted")];
    "emfile" Crash, |e| ended_with(e, &["too many open files", "emfile"]),
        "The server ended ({}) because it had no descriptor left (EMFILE). Report the error, keep the listener, and accept again when a client has disconnected.",
        "docs/src/3-broadcast.md, 'When descriptors run out'", [|e| end(e, "Error: Too many open files")];
    "sigpipe" Crash, |e| when(has_crashed(e) && e.end.and_then(|end| end.signal()) == Some(libc::SIGPIPE)),
        "The signal SIGPIPE ended the server: it wrote to a client that had disconnected. Ignore the signal and handle the error from write.",
        "docs/src/without-mio.md, 'Signals'", [|e| e.end = Some(ExitStatus::from_raw(libc::SIGPIPE))];
    "would-block-is-fatal" Crash, |e| ended_with(e, WOULD_BLOCK),
        "The server ended ({}) because a call would block. That is no error: return to the event loop.",
        "docs/src/1-accept.md, 'Accept until WouldBlock'", [|e| end(e, "Error: (os error 11)")];
    "client-error-is-fatal" Crash, |e| ended_with(e, &["connection reset", "broken pipe", "econnreset", "epipe"]),
        "An error on one client's connection ended the server for everybody ({}). Close that client and continue.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| end(e, "Error: Connection reset by peer"), |e| end(e, "node:events:497\n      throw er;\n      ^\n\nError: read ECONNRESET\n    at TCP.onStreamRead\n\nNode.js v20")];
    "stale-event" Crash, stale_event,
        "The server ended ({}), and that client had just been removed: the current event, or a later one of the same batch, still named it. Skip an event whose token is not in the map.",
        "docs/src/4-write.md, 'One event, two halves'", [|e| { say(e, &[GOODBYE]); end(e, "thread 'main' panicked at src/main.rs:9:\nno client Token(1)"); }];
    "does-not-start" Crash, |e| when(e.is_starting && has_crashed(e)).map(|_| how(e)),
        "The server ended before clients could connect ({}). Run the same command in a terminal.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| { e.is_starting = true; end(e, "Error: no luck"); }];
    "crashed" Crash, |e| when(has_crashed(e)).map(|_| how(e)),
        "The server ended ({}). Nothing that a client does may end it.",
        "docs/src/3-broadcast.md, 'One way out'", [
            |e| end(e, ""),
            |e| end(e, "Exception in thread \"main\" java.nio.channels.IllegalBlockingModeException\n\tat Chat.main(Chat.java:9)"),
        ];
    "thread-ended" Certain, |e| exception(&e.stderr).filter(|_| e.end.is_none() && e.stderr.iter().any(|line| is_uncaught(line))),
        "The server still runs, but a part of it ended with an exception: {}. What a client does may end that client, and nothing else.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| fail(e, "thread '<unnamed>' panicked at src/main.rs:9:\nno luck")];
}

/// A line about an exception that has ended a thread or a task of a program that goes on.
fn is_uncaught(line: &str) -> bool {
    let words = [
        "panicked at ",
        "Exception in thread ",
        "never retrieved",
        "Unhandled exception in ",
        "terminated with exception",
    ];
    words.iter().any(|word| line.contains(word))
}

/// Whether it has ended, and nobody wanted it.
fn has_crashed(e: &Evidence) -> bool {
    let is_meant = matches!(e.expected, Expected::Exit | Expected::Refusal(_));
    e.end.is_some() && !e.is_asked_to_end && !is_meant
}

fn ended_with(e: &Evidence, words: &[&str]) -> Option<String> {
    let message = message(&e.stderr)?.to_lowercase();
    let has_it = words.iter().any(|word| message.contains(word));
    (has_crashed(e) && has_it && !e.is_starting).then(|| how(e))
}

/// Its message, and its exit status or signal.
fn how(e: &Evidence) -> String {
    let end = e.end.map_or(String::new(), described);
    match message(&e.stderr).or(e.stdout.last().cloned().filter(|_| e.is_starting)) {
        Some(message) => format!("{end}: {message:?}"),
        None => format!("{end}, and it printed nothing on stderr"),
    }
}

/// The client that was removed just before, if the message names it.
fn stale_event(e: &Evidence) -> Option<String> {
    let message = message(&e.stderr)?;
    let mut lines = e.stdout.iter().rev().take(3);
    let gone =
        lines.find_map(|line| line.strip_prefix("Client ")?.strip_suffix(" disconnected"))?;
    (has_crashed(e) && message.contains(gone)).then(|| how(e))
}

/// What a program said when it ended: its exception, or else its last line on stderr.
fn message(stderr: &[String]) -> Option<String> {
    // Not the lines of a client that it has survived.
    let is_of_client = |l: &str| l.contains(" error from Token") || l.contains(" error for Token");
    let is_empty = |line: &str| line.trim().is_empty() || line.starts_with(LISTENING);
    let mut lines = stderr.iter().map(|line| line.trim());
    let last = lines.rfind(|line| !is_of_client(line) && !is_empty(line))?;
    let error = stderr
        .iter()
        .find(|line| line.starts_with("Error: ") && *line != last);
    // The cause may follow: name both.
    let both = error.map_or(last.to_owned(), |error| format!("{error}: {last}"));
    exception(stderr).or(Some(both))
}

/// How the languages print an exception, and what of it is its message.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A sanitizer sums up at its end.
    (r"(?m)^SUMMARY: .*", "$0"),
    // Go's, Java's, C#'s and PHP's.
    (
        r"(?m)^(panic: |fatal error: |Exception in thread |Unhandled exception\. |PHP Fatal error: ).*",
        "$0",
    ),
    // Rust's is in the line after the place in the source.
    (r"panicked at .*\n(.*)", "panicked: $1"),
    // Python's is in the first line after the last traceback that is not indented.
    (
        r"(?s:.*)Traceback \(most recent call last\):\n(?: .*\n)*([^ ].*)",
        "$1",
    ),
    // Ruby's is before the places that called it, in the same line as the first of them.
    (r"\.rb:.*:in .*?': (.*)", "$1"),
    // Node's is above the first place that called it.
    (r"(?m)^(.*\S.*)\n+    at ", "$1"),
];

/// How many of the last lines on stderr are searched: more than Go prints about all of its goroutines, and
/// far less than a server that reports the same error in an endless loop.
const SEARCHED: usize = 2000;

/// The message of an exception, a panic or a sanitizer, wherever the language puts it.
pub(super) fn exception(stderr: &[String]) -> Option<String> {
    let text = stderr[stderr.len().saturating_sub(SEARCHED)..].join("\n");
    let mut found = EXCEPTIONS.iter().filter_map(|(pattern, message)| {
        let found = Regex::new(pattern).ok()?.captures(&text)?;
        let mut said = String::new();
        found.expand(message, &mut said);
        Some(said.trim().to_owned())
    });
    found.next()
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    #[rustfmt::skip]
    fn the_message_is_found_in_every_language() {
        for (stderr, said) in [
            ("thread 'main' panicked at src/main.rs:7:\nno luck\nnote: more", "panicked: no luck"),
            ("panic: no luck\n\ngoroutine 1 [running]:\nmain.main()", "panic: no luck"),
            ("fatal error: no luck!\n\ngoroutine 1", "fatal error: no luck!"),
            ("Traceback (most recent call last):\n  File \"x\"\n    a\nKeyError: 7", "KeyError: 7"),
            ("Traceback (most recent call last):\n  a\nA: 1\n\nDuring handling\n\nTraceback (most recent call last):\n  b\nB: 2", "B: 2"),
            ("Exception in thread \"main\" X: no luck\n\tat A.b(A.java)\nCaused by: Y", "Exception in thread \"main\" X: no luck"),
            ("/x/a.js:3\n    foo();\n    ^\n\nTypeError: no luck\n    at a.js:3\n    at b\n\nNode.js v20", "TypeError: no luck"),
            ("a.rb:3:in `gets': no luck (Errno::X)\n\tfrom a.rb:9:in `<main>'", "no luck (Errno::X)"),
            ("a.rb:3:in 'IO#gets': no luck (Errno::X)\n\tfrom a.rb:9:in '<main>'", "no luck (Errno::X)"),
            ("==1==ERROR: AddressSanitizer: x\n    #0 0x1\nSUMMARY: AddressSanitizer: x a.c:1\nShadow", "SUMMARY: AddressSanitizer: x a.c:1"),
            ("chat: chat.c:9: main: Assertion `x' failed.", "chat: chat.c:9: main: Assertion `x' failed."),
            ("Listening on 127.0.0.1:9\nError: cannot listen\n\nCaused by:\n    no luck\n", "Error: cannot listen: no luck"),
            ("epoll_wait: no luck", "epoll_wait: no luck"),
        ] {
            let lines: Vec<_> = stderr.lines().map(str::to_owned).collect();
            assert_eq!(message(&lines).as_deref(), Some(said));
        }
        assert_eq!(message(&["Listening on 127.0.0.1:9".to_owned()]), None);
    }
}
