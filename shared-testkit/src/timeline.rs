//! What happened, in order: the server's lines and the clients' doings, with their times.

use std::fmt::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use predicates::Predicate;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::deadline::{LOOK_AGAIN, patience};

/// How many events a failure shows: the last ones, and no more than fit a terminal.
const SHOWN_EVENTS: usize = 12;

/// How many characters of an event a failure shows: with what stands before them, a name of up to
/// eight letters among it, 80 columns.
const SHOWN_CHARS: usize = 58;

/// How many of the lines that it said last on stderr a failure shows of a server that has ended.
const LAST_WORDS: usize = 3;

/// How often a failure looks whether the server has ended, as its connections tell a little earlier.
const LOOKS: u32 = 10;

/// How many characters of bytes a failure shows: with their count behind them an event.
const SHOWN_BYTES: usize = 36;

/// What a server says, before the address, when clients can connect.
pub(crate) const READY: &str = "Listening on ";

/// What stands in front of a further line of what was expected or received.
pub(crate) const INDENT: &str = "            ";

/// What a failure says of a server that has not ended.
const RUNS: &str = "still runs";

/// What kind of thing happened, by the mark that it has in the log.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Stdout,
    Stderr,
    Sent,
    Received,
    Done,
}

impl Kind {
    pub(crate) fn mark(self) -> char {
        match self {
            Kind::Stdout => '|',
            Kind::Stderr => '!',
            Kind::Sent => '>',
            Kind::Received => '<',
            Kind::Done => '.',
        }
    }

    fn is_line(self) -> bool {
        matches!(self, Kind::Stdout | Kind::Stderr)
    }
}

struct Event {
    at: Duration,
    who: String,
    kind: Kind,
    text: String,
    /// Whether an assertion has asked for this line of the server's.
    expected: bool,
}

struct State {
    events: Vec<Event>,
    /// The server's stdout and stderr, until they end.
    open_pipes: usize,
    /// Whether a failure has shown this log already.
    shown: bool,
}

/// One log for a server and all its clients.
pub(crate) struct Timeline {
    start: Instant,
    server: Pid,
    state: Mutex<State>,
    changed: Condvar,
}

impl Timeline {
    pub(crate) fn new(open_pipes: usize, server: Pid) -> Timeline {
        Timeline {
            start: Instant::now(),
            server,
            state: Mutex::new(State {
                events: Vec::new(),
                open_pipes,
                shown: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn add(&self, who: &str, kind: Kind, text: impl Into<String>) {
        let event = Event {
            at: self.start.elapsed(),
            who: who.to_owned(),
            kind,
            text: text.into(),
            expected: false,
        };
        self.lock().events.push(event);
        self.changed.notify_all();
    }

    /// Says that one of the server's two pipes has ended.
    pub(crate) fn pipe_ended(&self) {
        self.lock().open_pipes -= 1;
        self.changed.notify_all();
    }

    /// Waits for a line of the server's that no assertion has asked for yet, and returns it.
    /// `None` at the deadline, or as soon as the server has said its last.
    pub(crate) fn take_line(&self, kind: Kind, wanted: &impl Predicate<str>) -> Option<String> {
        self.take(0, |k| k == kind, wanted).map(|(_, line)| line)
    }

    /// The same for a line on stdout or on stderr.
    pub(crate) fn take_line_of_either_stream(
        &self,
        wanted: &impl Predicate<str>,
    ) -> Option<String> {
        self.take(0, Kind::is_line, wanted).map(|(_, line)| line)
    }

    /// Waits for two lines of stdout, the second one anywhere after the first, and returns them.
    pub(crate) fn take_lines_in_order(
        &self,
        first: &impl Predicate<str>,
        second: &impl Predicate<str>,
    ) -> Option<(String, String)> {
        let (index, first) = self.take(0, |k| k == Kind::Stdout, first)?;
        let (_, second) = self.take(index + 1, |k| k == Kind::Stdout, second)?;
        Some((first, second))
    }

    fn take(
        &self,
        mut from: usize,
        is_on: impl Fn(Kind) -> bool,
        wanted: &impl Predicate<str>,
    ) -> Option<(usize, String)> {
        let end = Instant::now() + patience();
        let mut state = self.lock();
        loop {
            let events = &mut state.events[from..];
            let found = events
                .iter_mut()
                .enumerate()
                .find(|(_, e)| is_on(e.kind) && !e.expected && wanted.eval(&e.text));
            if let Some((index, event)) = found {
                event.expected = true;
                return Some((from + index, event.text.clone()));
            }
            from += events.len();

            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open_pipes == 0 {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether the server can still say something.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open_pipes > 0
    }

    /// The server's lines that no assertion has asked for, each with its mark.
    pub(crate) fn unexpected_lines(&self) -> Vec<String> {
        self.lock()
            .events
            .iter()
            .filter(|e| e.kind.is_line() && !e.expected)
            // Not waited for where `SERVER_ADDR` is set, and welcome all the same.
            .filter(|e| !e.text.starts_with(READY))
            .map(|e| format!("{} {}", e.kind.mark(), shorten(&e.text)))
            .collect()
    }

    /// All lines of one kind, asked for or not.
    pub(crate) fn lines(&self, kind: Kind) -> Vec<String> {
        let state = self.lock();
        let lines = state.events.iter().filter(|e| e.kind == kind);
        lines.map(|e| e.text.clone()).collect()
    }

    /// Ends the test with what was expected, what came, and what happened before.
    #[track_caller]
    pub(crate) fn fail(&self, title: &str, expected: &str, received: &str) -> ! {
        self.add("test", Kind::Done, "fails here");
        panic!(
            "{title}\n  expected: {expected}\n  received: {received}\n\n{}",
            self.show()
        );
    }

    /// Shows the log after a failure that was not one of this crate's own assertions.
    pub(crate) fn show_unless_shown(&self) {
        if !self.lock().shown {
            eprintln!("\n{}", self.show());
        }
    }

    /// The last events, one a line, and how the server is.
    fn show(&self) -> String {
        let fate = self.fate();
        let mut state = self.lock();
        state.shown = true;
        let width = state.events.iter().map(|e| e.who.len()).max().unwrap_or(0);
        let left_out = state.events.len().saturating_sub(SHOWN_EVENTS);

        let mut text = String::from("what happened, in milliseconds since the start:\n");
        if left_out > 0 {
            let _ = writeln!(text, "         ({left_out} earlier events left out)");
        }
        for event in state.events.iter().skip(left_out) {
            let _ = writeln!(
                text,
                "{:>7}  {:width$} {}  {}",
                event.at.as_millis(),
                event.who,
                event.kind.mark(),
                shorten(&event.text),
            );
        }
        let _ = writeln!(text, "the server: {fate}");
        if fate != RUNS {
            let complaints = state.events.iter().filter(|e| e.kind == Kind::Stderr);
            let complaints: Vec<_> = complaints.collect();
            let last = complaints.len().saturating_sub(LAST_WORDS);
            for line in &complaints[last..] {
                let _ = writeln!(text, "   its last words: {}", shorten(&line.text));
            }
        }
        text
    }

    /// Whether the server still runs, or else how it has ended. It stays as it is for whoever waits
    /// for it (`WNOWAIT`, waitid(2)).
    fn fate(&self) -> String {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        for _ in 0..LOOKS {
            match waitid(WaitId::Pid(self.server), options) {
                Err(_) => return "has ended".to_owned(),
                Ok(Some(status)) => {
                    self.wait_for_last_words();
                    return match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => format!("has ended, exit status {code}"),
                        (_, Some(signal)) => format!("has ended, by signal {signal}"),
                        _ => "has ended".to_owned(),
                    };
                }
                Ok(None) => thread::sleep(LOOK_AGAIN),
            }
        }
        RUNS.to_owned()
    }

    /// What it said last may still be in the pipes. A child of its own could keep them open.
    fn wait_for_last_words(&self) {
        for _ in 0..LOOKS {
            if !self.is_open() {
                return;
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned only if a test failed while it held the lock; what was logged is still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes as they would stand in a Rust string, cut to what fits a line.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut escaped = bytes.escape_ascii().map(char::from);
    let shown: String = escaped.by_ref().take(SHOWN_BYTES).collect();
    match escaped.next() {
        Some(_) => format!("\"{shown}…\" ({} bytes)", bytes.len()),
        None => format!("\"{shown}\""),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
