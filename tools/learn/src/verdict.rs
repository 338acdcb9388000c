//! Which failure to start with.

use course::test_runner::Outcome;
use shared_testkit::Lesson;

/// A cause that explains less than this part of what the most common one does comes later.
const RARE: usize = 4;

/// A test that failed.
pub(crate) struct Failure<'a> {
    pub lesson: &'a Lesson,
    /// Whether the chapter's text promises it, not only the page of departures.
    pub is_of_chapter: bool,
    pub outcome: &'a Outcome,
}

/// The failure to start with.
pub(crate) struct First<'f, 'o> {
    pub failure: &'f Failure<'o>,
    /// How many failures have its cause, this one included.
    pub explains: usize,
}

impl Failure<'_> {
    /// What to do.
    pub(crate) fn advice(&self) -> String {
        let promise = self.lesson.checks;
        match (self.outcome.get("cause"), self.outcome.get("often")) {
            ("", _) if self.outcome.was_killed => {
                format!("\"{promise}\": the test was killed, because it did not end in time.")
            }
            ("", "") => format!("\"{promise}\" does not hold."),
            ("", often) => format!("\"{promise}\" does not hold. Often: {often}"),
            (cause, _) => cause.to_owned(),
        }
    }

    /// Failures with one cause have one key. Two crashes differ if their messages do.
    fn key(&self) -> Option<String> {
        let text = match self.outcome.get("certainty") {
            "crash" => self.outcome.get("cause"),
            _ => "",
        };
        let text: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let rule = self.outcome.get("rule");
        (!rule.is_empty()).then(|| format!("{rule}{text}"))
    }

    /// How much its verdict is worth. What the test itself made fail is the least: the server may be right.
    fn rank(&self) -> usize {
        if self.outcome.was_killed {
            return 0;
        }
        match self.outcome.get("certainty") {
            _ if !self.outcome.get("injected").is_empty() => 1,
            "crash" => 4,
            "certain" => 3,
            "seen" => 2,
            _ => 1,
        }
    }
}

/// Whether the machine may be to blame for a failure: the server was still at work.
pub(crate) fn is_unsure(outcome: &Outcome) -> bool {
    let is_known = ["crash", "limit"].contains(&outcome.get("certainty"));
    outcome.was_killed || !is_known && outcome.get("final").is_empty()
}

/// The earliest failure whose verdict is the most certain, what the chapter promises before the departures.
/// `failures` are in the order of the text.
pub(crate) fn first<'f, 'o>(failures: &'f [Failure<'o>]) -> Option<First<'f, 'o>> {
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

    /// How a test has failed, by the rule that says it.
    fn outcome(rule: &str) -> Outcome {
        let certainty = match rule {
            "often" | "killed" => "",
            "seen" => "seen",
            "signal 11" => "crash",
            _ => "certain",
        };
        let fields = [
            ("title", "title"),
            ("certainty", certainty),
            ("rule", rule),
            ("often", "It is full."),
            (
                "injected",
                rule.strip_prefix("injected ").unwrap_or_default(),
            ),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Outcome {
            test: rule.to_owned(),
            passed: false,
            was_killed: rule == "killed",
            output: String::new(),
            reports: vec![fields.into()],
        }
    }

    /// The rule `departure` is that of one.
    fn failures(outcomes: &[Outcome]) -> Vec<Failure<'_>> {
        let failures = outcomes.iter().map(|outcome| Failure {
            lesson: &shared_testkit::LESSONS[0],
            is_of_chapter: outcome.test != "departure",
            outcome,
        });
        failures.collect()
    }

    #[test]
    fn the_earliest_certain_verdict_comes_first() {
        assert!(first(&[]).is_none());
        // One of ten is not what to begin with.
        let cases = "\
often, seen → seen 1
seen, late, lost, late → late 2
lost, signal 11 → signal 11 1
departure, lost → lost 1
injected accept, seen → seen 1
killed, often → often 1
lost, late, late, late, late, late, late, late, late, late → late 9";
        for case in cases.lines() {
            let (rules, wanted) = case.split_once(" → ").unwrap();
            let outcomes: Vec<_> = rules.split(", ").map(outcome).collect();
            let failures = failures(&outcomes);
            let First { failure, explains } = first(&failures).unwrap();
            assert_eq!(format!("{} {explains}", failure.outcome.test), wanted);
        }
    }

    #[test]
    fn what_is_often_wrong_is_not_said_to_be_seen() {
        let promise = shared_testkit::LESSONS[0].checks;
        let advice = failures(&[outcome("often")])[0].advice();
        assert_eq!(
            advice,
            format!("\"{promise}\" does not hold. Often: It is full.")
        );
    }
}
