//! What a failing test teaches: what it checks, the cause that was seen, and where to read on.

pub(crate) mod diff;
pub(crate) mod evidence;
mod lessons;
mod rules;
mod server_state;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::env;
use std::panic::{self, PanicHookInfo};
use std::process::Output;
use std::sync::{Arc, Once, Weak};
use std::thread;

use crate::env::{SERVER_CMD, is_foreign};
use crate::failure::diff::Talk;
use crate::failure::evidence::Evidence;
use crate::failure::rules::Cause;
use crate::log::{Kind, Log, TEST};

pub use crate::failure::lessons::{LESSONS, Lesson};

/// The likely cause if no rule says why the server of a test does not start, and where to read on.
const START: (&str, &str, &str) = (
    "The command cannot be started. Or the server takes no address, and listens on another one than \
     SERVER_ADDR says.",
    "docs/src/your-own-server.md",
    "Run a chapter's tests against it",
);

/// What the paragraph begins with that says what a test checks.
const THE_TEST: &str = "the test";

thread_local! {
    /// The log of this test's server and clients, to be shown if it fails.
    static LOG: RefCell<Weak<Log>> = const { RefCell::new(Weak::new()) };

    /// Whether this test's server has been started and is not ready yet.
    static IS_STARTING: Cell<bool> = const { Cell::new(false) };
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

/// From now on every failure in this process ends with a lesson: that of a plain `assert_eq!` as
/// well as those of this crate's own assertions. A Rust backtrace comes last of all.
pub(crate) fn teach() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(report)));
}

fn report(info: &PanicHookInfo) {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or(payload.downcast_ref::<&str>().copied());
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = info.location().map(ToString::to_string);
    eprintln!(
        "\nthread '{name}' panicked at {}:\n{}",
        place.unwrap_or_default(),
        text.unwrap_or("(no text)")
    );
    match LOG.with_borrow(Weak::upgrade) {
        Some(log) if !log.was_shown() => {
            let lesson = explain(&log, text.unwrap_or_default(), Talk::Silent);
            eprintln!("\n{lesson}\n{}", log.show());
        }
        _ if text.is_some_and(|text| text.contains(THE_TEST)) => {}
        // A thread of the test's may have failed, which has no name and so no lesson.
        _ => eprint!("\n{}", text_of(find(name), None, "")),
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        eprintln!("{backtrace}");
    }
}

/// Fails the test with what was expected, what came instead, the lesson, and what happened before.
#[track_caller]
pub(crate) fn fail(log: &Log, title: &str, expected: &str, received: &str) -> ! {
    fail_in_talk(log, Talk::Silent, title, expected, received);
}

/// The same, with what the bytes that came say about the cause.
#[track_caller]
pub(crate) fn fail_in_talk(
    log: &Log,
    talk: Talk,
    title: &str,
    expected: &str,
    received: &str,
) -> ! {
    log.add(TEST, Kind::Done, "fails here");
    let lesson = explain(log, expected, talk);
    panic!(
        "{title}\n  expected: {expected}\n  received: {received}\n\n{lesson}\n{}",
        log.show()
    );
}

/// Fails the test of a program that was to refuse its arguments, with an error that has these words.
#[track_caller]
pub(crate) fn fail_refusal(output: &Output, words: &[&str]) -> ! {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first = stderr.lines().next().unwrap_or("nothing on stderr");
    let lesson = lesson_of(&Evidence::of_refusal(output, words));
    panic!(
        "the program did not end with a clear error\n  expected: exit status 1 and `Error: …` on \
         stderr, with {words:?}\n  received: {}, {first}\n\n{lesson}",
        output.status
    );
}

/// What the test checks, the cause that was seen or what it often is, where to read on, and where
/// the server is.
fn explain(log: &Log, expected: &str, talk: Talk) -> String {
    lesson_of(&Evidence::collect(log, IS_STARTING.get(), expected, talk))
}

fn lesson_of(evidence: &Evidence) -> String {
    let thread = thread::current();
    let lesson = thread.name().and_then(find);
    text_of(lesson, rules::first(evidence), &evidence.server_state())
}

fn find(test: &str) -> Option<&'static Lesson> {
    LESSONS.iter().find(|lesson| lesson.test == test)
}

fn text_of(lesson: Option<&Lesson>, cause: Option<Cause>, server: &str) -> String {
    let mut text = String::new();
    if let Some(lesson) = lesson {
        text += &paragraph(THE_TEST, lesson.checks);
    }
    let often = lesson.map(|lesson| match IS_STARTING.get() {
        true => START,
        false => (lesson.cause, lesson.chapter, lesson.heading),
    });
    match (cause, often) {
        (Some(cause), _) => {
            text += &paragraph("cause", &format!("{} [{}]", cause.text, cause.rule));
            text += &paragraph("read", &format!("{}, '{}'", cause.chapter, cause.heading));
        }
        (None, Some((often, chapter, heading))) => {
            text += &paragraph("often", often);
            text += &paragraph("read", &format!("{chapter}, '{heading}'"));
        }
        (None, None) => {}
    }
    if !server.is_empty() {
        text += &paragraph("server", server);
    }
    if is_foreign() && lesson.is_some() {
        text += &paragraph("tested", &env::var(SERVER_CMD).unwrap_or_default());
    }
    text
}

/// A name and its text, in lines of at most 80 columns.
fn paragraph(name: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = format!("{name}:");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 80 {
            lines += &line;
            lines += "\n";
            line = " ".repeat(3);
        }
        line += " ";
        line += word;
    }
    lines + &line + "\n"
}
