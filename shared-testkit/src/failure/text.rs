//! A failure as text, and as data.

use std::env;
use std::fmt;

use textwrap::{Options, WordSplitter};

use crate::env::{SERVER_CMD, is_foreign};
use crate::failure::Failure;
use crate::failure::rules::{Cause, Certainty};
use crate::report::hand_over;

/// The likely cause if no rule says why the server of a test does not start.
const START: &str = "The command cannot be started. Or the server takes no address, and listens on another one than \
     SERVER_ADDR says.";

/// Where to read on then.
pub(super) const READ_ABOUT_START: &str =
    "docs/src/your-own-server.md, 'Run a chapter's tests against it'";

impl Failure {
    /// What the test checks, the cause that was seen or what it often is, where to read on, and where
    /// the server is.
    pub fn lesson_text(&self) -> String {
        let mut text = String::new();
        if let Some(lesson) = self.lesson {
            text += &paragraph("the test", lesson.checks);
        }
        if let Some(cause) = &self.cause {
            let is_limit = cause.rule.certainty == Certainty::Limit;
            let name = if is_limit { "limit" } else { "cause" };
            text += &paragraph(name, &format!("{} [{}]", cause.text, cause.rule.name));
        } else if let Some((often, _)) = self.often() {
            text += &paragraph("often", often);
        }
        if let Some(read) = self.read() {
            text += &paragraph("read", read);
        }
        if !self.server.is_empty() {
            text += &paragraph("server", &self.server);
        }
        if is_foreign() && self.lesson.is_some() {
            text += &paragraph("tested", &env::var(SERVER_CMD).unwrap_or_default());
        }
        text + "\n"
    }

    /// What is often wrong, and where to read on.
    fn often(&self) -> Option<(&'static str, &'static str)> {
        let lesson = self.lesson?;
        match self.is_starting {
            true => Some((START, READ_ABOUT_START)),
            false => Some((lesson.cause, lesson.read)),
        }
    }

    fn read(&self) -> Option<&'static str> {
        let cause = self.cause.as_ref().map(|cause| cause.rule.read);
        cause.or(self.often().map(|(_, read)| read))
    }

    pub fn hand_over(&self) {
        let of_cause = |part: fn(&Cause) -> &str| self.cause.as_ref().map_or("", part);
        hand_over(&[
            ("title", &self.title),
            ("expected", &self.expected),
            ("received", &self.received),
            ("rule", of_cause(|cause| cause.rule.name)),
            ("certainty", of_cause(|cause| cause.rule.certainty.name())),
            ("cause", of_cause(|cause| &cause.text)),
            ("often", self.often().map_or("", |(often, _)| often)),
            ("read", self.read().unwrap_or_default()),
            ("injected", &self.injected),
            ("final", if self.is_final { "yes" } else { "" }),
            ("server", &self.server),
            ("log", &self.log),
        ]);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, expected, received) = (&self.title, &self.expected, &self.received);
        write!(
            f,
            "{title}\n  expected: {expected}\n  received: {received}\n\n"
        )?;
        write!(f, "{}{}", self.lesson_text(), self.log)
    }
}

/// A name and its text, in lines of at most 80 columns.
fn paragraph(name: &str, text: &str) -> String {
    let options = Options::new(80).break_words(false);
    let options = options.word_splitter(WordSplitter::NoHyphenation);
    let options = options.subsequent_indent("    ");
    textwrap::fill(&format!("{name}: {text}"), options) + "\n"
}
