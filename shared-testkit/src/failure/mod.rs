//! What a failing test teaches: what it checks, the cause that was seen, and where to read on.

pub(crate) mod diff;
pub(crate) mod evidence;
mod lessons;
mod rules;
mod runtime;
mod text;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::process::Output;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Once, Weak};
use std::thread;

use crate::failure::evidence::Evidence;
use crate::failure::rules::Cause;
use crate::log::{Kind, Log, TEST};
use crate::proc::Interest;

pub use crate::failure::lessons::{LESSONS, Lesson};
pub(crate) use crate::failure::rules::near_line;

thread_local! {
    /// The log of this test's server and clients, to be shown if it fails.
    static LOG: RefCell<Weak<Log>> = const { RefCell::new(Weak::new()) };

    /// Whether this test's server has been started and is not ready yet.
    static IS_STARTING: Cell<bool> = const { Cell::new(false) };

    /// Whether the panic of this thread is a failure that shows everything.
    static IS_SHOWN: Cell<bool> = const { Cell::new(false) };

    /// What the test has asked the kernel last.
    static LOOK: RefCell<Option<Look>> = const { RefCell::new(None) };
}

/// What was expected.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Expected {
    /// Whatever a plain assertion has compared.
    #[default]
    Assertion,
    /// A fact that was waited for.
    Fact,
    /// An address, and the line that came instead.
    Listening(Option<String>),
    Connection,
    /// That this client is accepted and registered.
    Registered(String),
    /// A line, or the beginning of one.
    Line(Kind, String),
    NoLine,
    /// Bytes at this client.
    Bytes(String),
    /// End of file at this client.
    Closed(String),
    /// A server that sleeps while nothing happens.
    Idle,
    /// Something else, which no rule knows: that it takes what is sent, comes to rest, or runs on.
    Other,
    Exit,
    /// An error with these words, and exit status 1.
    Refusal(Vec<String>),
}

/// What a test asks the kernel, and the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Look {
    /// A client's interest.
    Interest(String, Option<Interest>),
    /// How many bytes of a client are unread.
    Unread(usize),
    /// How many TCP sockets the server has open.
    Sockets(usize),
    /// The exit status.
    Exit(Option<i32>),
}

impl Look {
    /// Whether this is what a plain assertion compares: it shows the answer on one of its sides.
    fn is_shown_in(&self, said: &str) -> bool {
        let answer = match self {
            Look::Interest(_, interest) => format!(" {interest:?}"),
            Look::Unread(count) | Look::Sockets(count) => format!(" {count}"),
            Look::Exit(status) => format!(" {status:?}"),
        };
        said.lines().any(|line| line.ends_with(&answer))
    }
}

/// A failed test: made here once, shown as text and handed over as data.
#[derive(Default)]
pub(crate) struct Failure {
    pub lesson: Option<&'static Lesson>,
    /// What has failed, what was expected, and what came instead.
    pub title: String,
    pub expected: String,
    pub received: String,
    pub is_starting: bool,
    pub cause: Option<Cause>,
    /// What the test itself made fail.
    pub injected: String,
    /// Whether waiting longer would have changed nothing.
    pub is_final: bool,
    /// Where the server is.
    pub server: String,
    /// What happened.
    pub log: String,
}

/// From now on, and until [`server_is_ready`], a failure in this thread says why a server may not
/// start.
pub(crate) fn server_starts() {
    IS_STARTING.set(true);
    teach();
}

pub(crate) fn server_is_ready() {
    IS_STARTING.set(false);
}

/// From now on a failure in this thread shows this log.
pub(crate) fn watch(log: &Arc<Log>) {
    LOG.set(Arc::downgrade(log));
}

/// Notes what the kernel was asked, if anything was: what fails next may be about it.
pub(crate) fn looks(look: Option<Look>) {
    LOOK.set(look);
}

/// From now on every failure in this process ends with a lesson: that of a plain `assert_eq!` as
/// well as those of this crate's own assertions. A Rust backtrace comes last of all.
pub(crate) fn teach() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(report_panic)));
}

fn report_panic(info: &PanicHookInfo) {
    let payload = info.payload();
    let said = payload.downcast_ref::<String>().map(String::as_str);
    let said = said.or(payload.downcast_ref::<&str>().copied());
    let said = said.unwrap_or("(no text)");
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = info.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    eprintln!("\nthread '{name}' panicked at {place}:\n{said}");
    let log = LOG.with_borrow(Weak::upgrade);
    // One of this crate's own assertions has shown everything.
    let was_shown = log.as_ref().is_some_and(|log| log.was_shown.load(Relaxed));
    if !was_shown && !IS_SHOWN.get() {
        let failure = match log {
            Some(log) => Failure::new(&log, Expected::Assertion, said, "", ""),
            None => Failure::without_server(said),
        };
        failure.hand_over();
        eprintln!("\n{}{}", failure.lesson_text(), failure.log);
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        eprintln!("{backtrace}");
    }
}

/// Fails the test with what was expected, what came instead, the lesson, and what happened before.
#[track_caller]
pub(crate) fn fail(log: &Log, expected: Expected, title: &str, wanted: &str, received: &str) -> ! {
    log.add(TEST, Kind::Done, "fails here");
    Failure::new(log, expected, title, wanted, received).show();
}

/// Fails the test of a program that was to refuse its arguments, with an error that has these words.
#[track_caller]
pub(crate) fn fail_refusal(output: &Output, words: &[&str]) -> ! {
    let evidence = Evidence::of_refusal(output, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first = stderr.lines().next().unwrap_or("nothing on stderr");
    let failure = Failure {
        expected: format!("exit status 1 and `Error: …` on stderr, with {words:?}"),
        received: format!("{}, {first}", output.status),
        ..Failure::of_evidence(&evidence, "the program did not end with a clear error")
    };
    failure.show();
}

impl Failure {
    #[track_caller]
    fn show(&self) -> ! {
        self.hand_over();
        IS_SHOWN.set(true);
        panic!("{self}");
    }

    fn new(log: &Log, expected: Expected, title: &str, wanted: &str, received: &str) -> Failure {
        let look = LOOK.take().filter(|look| match expected {
            Expected::Assertion => look.is_shown_in(title),
            _ => expected == Expected::Fact,
        });
        let expected = match look {
            Some(Look::Exit(_)) => Expected::Exit,
            _ => expected,
        };
        let evidence = Evidence::collect(log, IS_STARTING.get(), expected, look);
        Failure {
            lesson: log.test.as_deref().and_then(find),
            expected: wanted.to_owned(),
            received: received.to_owned(),
            log: log.show(),
            ..Failure::of_evidence(&evidence, title)
        }
    }

    fn of_evidence(evidence: &Evidence, title: &str) -> Failure {
        Failure {
            is_starting: evidence.is_starting,
            cause: rules::first(evidence),
            injected: evidence.injected.clone().unwrap_or_default(),
            is_final: evidence.is_final(),
            server: evidence.server_state(),
            ..Failure::without_server(title)
        }
    }

    fn without_server(title: &str) -> Failure {
        Failure {
            lesson: thread::current().name().and_then(find),
            title: title.to_owned(),
            is_starting: IS_STARTING.get(),
            ..Failure::default()
        }
    }
}

fn find(test: &str) -> Option<&'static Lesson> {
    LESSONS.iter().find(|lesson| lesson.test == test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_assertion_is_about_the_answer_that_it_shows() {
        let said = |left: &str| format!("assertion failed\n  left: {left}\n right: 9");
        let readable = "Some(Interest { readable: true, writable: false })";
        let interest = Look::Interest("alice".to_owned(), Some(Interest::READABLE));
        let (unread, exit) = (Look::Unread(6), Look::Exit(Some(1)));
        for (look, answer) in [(interest, readable), (unread, "6"), (exit, "Some(1)")] {
            assert!(look.is_shown_in(&said(answer)), "{look:?}");
            assert!(!look.is_shown_in(&said("Some(0)")), "{look:?}");
        }
    }
}
