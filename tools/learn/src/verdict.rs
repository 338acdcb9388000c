//! Which failure to start with.

use course::test_runner::{Outcome, Report};
use shared_testkit::Lesson;

/// A cause that explains less than this part of what the most common one does comes later.
const RARE: usize = 4;

/// A test that failed.
pub(crate) struct Failure<'a> {
    pub lesson: &'a Lesson,
    /// Whether the chapter's text promises it, not only the page of departures.
    pub is_of_chapter: bool,
    pub was_killed: bool,
    /// Empty if the test did not get as far as to fail.
    pub report: Report,
}

/// The failure to start with.
pub(crate) struct First<'a> {
    pub failure: &'a Failure<'a>,
    /// How many failures have its cause, this one included.
    pub explains: usize,
}

impl<'a> Failure<'a> {
    pub(crate) fn new(lesson: &'a Lesson, is_of_chapter: bool, outcome: &Outcome) -> Failure<'a> {
        Failure {
            lesson,
            is_of_chapter,
            was_killed: outcome.was_killed,
            report: outcome.failure().cloned().unwrap_or_default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.report.get(name).map_or("", String::as_str)
    }

    /// What to do.
    pub(crate) fn advice(&self) -> String {
        let promise = self.lesson.checks;
        match (self.get("cause"), self.get("often")) {
            ("", _) if self.was_killed => {
                format!("\"{promise}\": the test was killed, because it did not end in time.")
            }
            ("", "") => format!("\"{promise}\" does not hold."),
            ("", often) => format!("\"{promise}\" does not hold. Often: {often}"),
            (cause, _) => cause.to_owned(),
        }
    }

    /// Whether the machine may be to blame: the server was still at work.
    pub(crate) fn is_unsure(&self) -> bool {
        let is_known = ["crash", "limit"].contains(&self.get("certainty"));
        self.was_killed || !is_known && self.get("final").is_empty()
    }

    /// Failures with one cause have one key. Two crashes differ if their messages do.
    fn key(&self) -> Option<String> {
        let text = match self.get("certainty") {
            "crash" => self.get("cause"),
            _ => "",
        };
        let text: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let rule = self.get("rule");
        (!rule.is_empty()).then(|| format!("{rule}{text}"))
    }

    /// How much its verdict is worth. What the test itself made fail is the least: the server may be right.
    fn rank(&self) -> usize {
        let rank = match self.get("certainty") {
            "crash" => 4,
            "certain" => 3,
            "seen" => 2,
            _ => 1,
        };
        match (self.was_killed, self.get("injected").is_empty()) {
            (true, _) => 0,
            (_, true) => rank,
            (_, false) => 1,
        }
    }
}

/// The earliest failure whose verdict is the most certain, what the chapter promises before the departures.
/// `failures` are in the order of the text.
pub(crate) fn first<'a>(failures: &'a [Failure<'a>]) -> Option<First<'a>> {
    let explains = |failure: &Failure| {
        let key = failure.key();
        let same = failures.iter().filter(|other| other.key() == key);
        if key.is_some() { same.count() } else { 1 }
    };
    let certain = failures.iter().filter(|failure| failure.rank() > 2);
    let most = certain.map(explains).max().unwrap_or(0);
    let rank = |failure: &Failure| match failure.rank() {
        rank if explains(failure) * RARE < most => rank.min(1),
        rank => rank,
    };
    // Of equal ones, `max_by_key` returns the last.
    let mut failures = failures.iter().rev();
    let by_rank = |failure: &&Failure| (rank(failure), failure.is_of_chapter);
    let failure = failures.by_ref().max_by_key(by_rank)?;
    let explains = explains(failure);
    Some(First { failure, explains })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &'static str, certainty: &str, rule: &str) -> Failure<'static> {
        let lesson = Box::leak(Box::new(Lesson {
            checks: name,
            ..shared_testkit::LESSONS[0]
        }));
        let fields = [
            ("certainty", certainty),
            ("rule", rule),
            ("cause", rule),
            ("often", "It is full."),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Failure {
            lesson,
            // Promise Z is a departure.
            is_of_chapter: name != "Z",
            was_killed: false,
            report: fields.into_iter().collect(),
        }
    }

    fn first_of(failures: &[Failure]) -> Option<(&'static str, usize)> {
        first(failures).map(|first| (first.failure.lesson.checks, first.explains))
    }

    #[test]
    fn the_earliest_certain_verdict_comes_first() {
        let often = || failure("A", "", "");
        let seen = || failure("B", "seen", "cut");
        let lost = || failure("C", "certain", "lost");
        let late = || failure("D", "certain", "late");
        let crash = || failure("E", "crash", "signal 11");
        let departure = || failure("Z", "certain", "z");
        assert_eq!(first_of(&[]), None);
        assert_eq!(first_of(&[often(), seen()]), Some(("B", 1)));
        assert_eq!(first_of(&[seen(), late(), lost(), late()]), Some(("D", 2)));
        assert_eq!(first_of(&[lost(), crash()]), Some(("E", 1)));
        assert_eq!(first_of(&[departure(), lost()]), Some(("C", 1)));
        // One of twelve is not what to begin with.
        let mut many: Vec<_> = (0..11).map(|_| late()).collect();
        many.insert(0, lost());
        assert_eq!(first_of(&many), Some(("D", 11)));
        let mut injected = lost();
        injected
            .report
            .insert("injected".to_owned(), "accept fail".to_owned());
        assert_eq!(first_of(&[injected, seen()]), Some(("B", 1)));
        let mut killed = lost();
        killed.was_killed = true;
        assert_eq!(first_of(&[killed, often()]), Some(("A", 1)));
    }

    #[test]
    fn what_is_often_wrong_is_not_said_to_be_seen() {
        let mut failure = failure("half a line waits", "", "");
        let advice = "\"half a line waits\" does not hold. Often: It is full.";
        failure.report.insert("cause".to_owned(), String::new());
        assert_eq!(failure.advice(), advice);
    }
}
