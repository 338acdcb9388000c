//! What a failing test says of itself, and which failure to start with.
//!
//! The testkit writes paragraphs `NAME: text`, whose further lines are indented by three spaces.

use shared_testkit::Lesson;

/// A test that failed.
pub(crate) struct Failure<'a> {
    pub promise: &'a str,
    /// Whether the chapter's text promises it, not only the page of departures.
    is_of_chapter: bool,
    /// The symptom, the paragraphs and the timeline.
    pub text: &'a str,
    /// What was seen to be wrong.
    cause: Option<String>,
    /// The name of the rule that recognized it.
    rule: Option<String>,
    /// What is often wrong where no rule fits.
    often: Option<String>,
    pub read: Option<String>,
}

/// The failure to start with.
pub(crate) struct First<'a> {
    pub failure: &'a Failure<'a>,
    /// How many failures have its cause, this one included.
    pub explains: usize,
}

impl<'a> Failure<'a> {
    pub(crate) fn new(lesson: &'a Lesson, is_of_chapter: bool, output: &'a str) -> Failure<'a> {
        let text = from_symptom(output);
        let cause = paragraph(text, "cause");
        let (cause, rule) = cause.map_or((None, None), split_rule);
        Failure {
            promise: lesson.checks,
            is_of_chapter,
            text,
            cause,
            rule,
            often: paragraph(text, "often"),
            read: paragraph(text, "read"),
        }
    }

    /// What to do, in one line.
    pub(crate) fn advice(&self) -> String {
        match (&self.cause, &self.often) {
            (Some(cause), _) => cause.clone(),
            (None, Some(often)) => format!("\"{}\" does not hold. Often: {often}", self.promise),
            (None, None) => format!("\"{}\" does not hold.", self.promise),
        }
    }
}

/// The first failure with the most common cause, the departures last. A failure without a rule
/// explains only itself; one without a cause comes after all others.
///
/// `failures` are in the order of the chapter.
pub(crate) fn first<'a>(failures: &'a [Failure<'a>]) -> Option<First<'a>> {
    let explains = |failure: &Failure| match &failure.rule {
        Some(rule) => failures
            .iter()
            .filter(|f| f.rule.as_ref() == Some(rule))
            .count(),
        None => 1,
    };
    let rank = |failure: &Failure| {
        let has_cause = failure.cause.is_some();
        (has_cause, failure.is_of_chapter, explains(failure))
    };
    // Of equal ones, `max_by_key` returns the last.
    let failure = failures.iter().rev().max_by_key(|failure| rank(failure))?;
    let explains = explains(failure);
    Some(First { failure, explains })
}

/// What follows the panic's own first line, which names a place in the test.
fn from_symptom(output: &str) -> &str {
    let panic = output
        .find("' panicked at ")
        .or(output.find(") panicked at "));
    let after = panic.and_then(|place| output[place..].split_once('\n'));
    after.map_or(output, |(_, text)| text)
}

/// The text of the first paragraph with this name, in one line.
fn paragraph(text: &str, name: &str) -> Option<String> {
    let start = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(':')
            .map(str::to_owned)
    };
    let mut lines = text.lines();
    let mut paragraph = lines.find_map(start)?;
    for line in lines.take_while(|line| line.starts_with("   ")) {
        paragraph += " ";
        paragraph += line.trim();
    }
    Some(paragraph.trim().to_owned())
}

/// Splits `SENTENCE [RULE]`.
fn split_rule(cause: String) -> (Option<String>, Option<String>) {
    let parts = cause
        .strip_suffix(']')
        .and_then(|cause| cause.rsplit_once(" ["));
    match parts {
        Some((sentence, rule)) => (Some(sentence.to_owned()), Some(rule.to_owned())),
        None => (Some(cause), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson(checks: &'static str) -> Lesson {
        let lesson = &shared_testkit::LESSONS[0];
        Lesson { checks, ..*lesson }
    }

    const CAUSE: &str = "\
running 1 test
test result: FAILED

thread 'keeps_half_lines' (17) panicked at tests/article.rs:30:5:
bob did not receive what was expected
  received: nothing
the test: half a line waits until its end comes
cause: alice's socket is blocking, and the server waits
   inside read for her. [blocking-client]
read: docs/src/1-accept.md, 'Told once: edge-triggered
   readiness'
server: inside read
what happened, in milliseconds since the start:
      4  server |  cause: this is what a server prints [no-rule]
";

    #[test]
    fn a_cause_is_one_line_without_its_rule() {
        let lesson = lesson("half a line waits");
        let failure = Failure::new(&lesson, true, CAUSE);
        assert!(failure.text.starts_with("bob did not receive"));
        assert_eq!(failure.rule.as_deref(), Some("blocking-client"));
        let advice = "alice's socket is blocking, and the server waits inside read for her.";
        assert_eq!(failure.advice(), advice);
        let read = "docs/src/1-accept.md, 'Told once: edge-triggered readiness'";
        assert_eq!(failure.read.as_deref(), Some(read));
    }

    #[test]
    fn what_is_often_wrong_is_not_reported_as_seen() {
        let lesson = lesson("half a line waits");
        let failure = Failure::new(&lesson, true, "often: The rest of a chunk\n   is lost.\n");
        let advice = "\"half a line waits\" does not hold. Often: The rest of a chunk is lost.";
        assert_eq!(failure.advice(), advice);
        let failure = Failure::new(&lesson, true, "killed");
        assert_eq!(failure.advice(), "\"half a line waits\" does not hold.");
    }

    /// The promise of the first failure, and how many it explains.
    fn first_of(texts: &[(&'static str, &str)]) -> Option<(String, usize)> {
        let lessons: Vec<_> = texts.iter().map(|(promise, _)| lesson(promise)).collect();
        let pairs = lessons.iter().zip(texts);
        // Promise Z is a departure.
        let failures: Vec<_> = pairs
            .map(|(l, (promise, text))| Failure::new(l, *promise != "Z", text))
            .collect();
        first(&failures).map(|first| (first.failure.promise.to_owned(), first.explains))
    }

    #[test]
    fn the_cause_of_the_most_failures_comes_first() {
        let often = ("A", "often: It is full.");
        let one = ("B", "cause: It is closed. [closed]");
        let other = ("C", "cause: alice is lost. [lost]");
        let same = ("D", "cause: bob is lost. [lost]");
        assert_eq!(
            first_of(&[often, one, other, same]),
            Some(("C".to_owned(), 2))
        );
        assert_eq!(first_of(&[often, one, other]), Some(("B".to_owned(), 1)));
        assert_eq!(
            first_of(&[often, ("E", "often: No.")]),
            Some(("A".to_owned(), 1))
        );
        let departure = ("Z", "cause: bob is lost. [lost]");
        assert_eq!(first_of(&[same, departure, one]), Some(("D".to_owned(), 2)));
        assert_eq!(
            first_of(&[departure, departure, one]),
            Some(("B".to_owned(), 1))
        );
        assert_eq!(first_of(&[]), None);
    }
}
