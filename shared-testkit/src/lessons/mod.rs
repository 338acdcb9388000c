//! What a failing test teaches: what it checks, the likely cause, and where to read on.

mod table;

use std::cell::{Cell, RefCell};
use std::env;
use std::panic;
use std::sync::{Arc, Once, Weak};
use std::thread;

use crate::env::{SERVER_CMD, is_foreign};
use crate::log::Log;

pub use crate::lessons::table::{LESSONS, Lesson};

/// The likely cause if the server of a test does not even start, and where to read on.
const START: (&str, &str, &str) = (
    "The server exits at once, or cannot parse the address that it gets; or it does not print \
     `Listening on`, or that line is still in a buffer because it goes to a pipe: flush. If it \
     takes no address, put the one it listens on into SERVER_ADDR.",
    "docs/src/your-own-server.md",
    "Run a chapter's tests against it",
);

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

/// From now on every failure of a test that has a [`Lesson`] ends with it: that of a plain
/// `assert_eq!` as well as those of this crate's own assertions.
pub(crate) fn teach() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            if let Some(log) = LOG.with_borrow(Weak::upgrade) {
                log.show_unless_shown();
            }
            if let Some(lesson) = thread::current().name().and_then(find) {
                eprint!("{}", lesson.text());
            }
        }));
    });
}

fn find(test: &str) -> Option<&'static Lesson> {
    LESSONS.iter().find(|lesson| lesson.test == test)
}

impl Lesson {
    /// What a failure shows of it.
    fn text(&self) -> String {
        let (cause, chapter, heading) = match IS_STARTING.get() {
            true => START,
            false => (self.cause, self.chapter, self.heading),
        };
        let mut text = paragraph("the test", self.checks);
        text += &paragraph("a likely cause", cause);
        text += &paragraph("read", &format!("{chapter}, '{heading}'"));
        if is_foreign() {
            text += &paragraph("tested", &env::var(SERVER_CMD).unwrap_or_default());
        }
        text
    }
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
