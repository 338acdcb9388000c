//! `cargo learn check`: the promises of a chapter, and what to fix first.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use course::test_runner::{self, Outcome, Suite, is_installed};
use course::{Book, Page, milestones, root};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_ADDR};
use shared_testkit::{LESSONS, Lesson};

use crate::pace::{self, Pace};
use crate::paper::{BOLD, DIM, GREEN, RED, paint, wrap};
use crate::verdict::{self, Failure, First};
use crate::watch::{last_change, wait_for_change};

/// The test that is run alone, to see how long a start takes.
const LONE: &str = "reports_the_port_that_the_kernel_chose";

/// So many tests that were not done are run again, alone.
const RETRIES: usize = 4;

pub(crate) struct Check {
    pub chapter: usize,
    /// Where the server stands in the chapter, or 0 at its end.
    pub stop: usize,
    /// Empty for the chapter's milestone.
    pub command: Vec<String>,
    pub watch: bool,
    /// Whether every failure is shown.
    pub all: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if let Some(program) = self.command.first() {
            check_exists(program)?;
        }
        let book = Book::read();
        let place = Some((self.chapter, self.stop));
        let is_there = book.pages.iter().any(|page| page.place() == place);
        ensure!(is_there, "there is no stop {}", self.place());
        if !self.watch {
            return self.run_once(&book);
        }
        let path = self.watched_path()?;
        loop {
            let last = last_change(&path);
            if let Err(e) = self.run_once(&book) {
                eprintln!("Error: {e:#}");
            }
            let mut out = io::stdout();
            let shown = path.display();
            writeln!(out, "\nWaiting for a change of {shown} (Ctrl-C ends)")?;
            wait_for_change(&path, last);
        }
    }

    fn run_once(&self, book: &Book) -> Result<ExitCode> {
        show_progress("building …");
        let milestone = &milestones()[self.chapter - 1];
        let suite = Suite::build(milestone).map_err(|e| anyhow!(e));
        show_progress("");
        let reached = book.tests_until((self.chapter, self.stop));
        let suite = suite?.only(|test| self.holds_by_then(test, &reached));
        let command = match self.command.is_empty() {
            true => test_runner::command(&suite.program),
            false => shlex::try_join(self.command.iter().map(String::as_str))?,
        };
        let outcomes = self.outcomes(suite, &command)?;
        show_progress("");
        let mut out = io::stdout();
        writeln!(out, "Chapter {}, tested: {command}\n", self.place())?;
        if pace::is_too_slow(&outcomes) {
            let advice = format!(
                "Most tests that failed ended before the server had started, or while it was still \
                 at work. If it is not stuck, this machine is too slow for it at the moment: wait until it has less to do, \
                 or set {DEADLINE_SCALE}=3, which makes each wait a minute."
            );
            writeln!(out, "{}\n", wrap("", &advice))?;
        }
        self.report(&in_order(&outcomes))
    }

    /// Runs all tests, as many at once and as long as the machine and the server's start allow.
    fn outcomes(&self, mut suite: Suite, command: &str) -> Result<Vec<Outcome>> {
        let total = suite.names().len();
        let show = |ended| show_progress(&format!("{ended} of {total} tests"));
        show(0);
        let scale = parsed::<f64>(DEADLINE_SCALE, "a number")?;
        suite.server_address = parsed(SERVER_ADDR, "an address")?;
        let pace = Pace::of_machine(self.chapter);
        if scale.is_none() && suite.server_address.is_none() {
            return Ok(paced(&suite, pace, command, show));
        }
        // At one address, the tests run one after another, and wait for each other without a limit.
        let suite = suite.deadline_scale(scale.unwrap_or(pace.scale()));
        Ok(suite.run_counting(command, |_| true, show))
    }

    fn report(&self, promises: &[(&Lesson, &Outcome)]) -> Result<ExitCode> {
        let is_failed = |outcome: &Outcome| !outcome.passed && outcome.limit().is_none();
        let (failed, others): (Vec<_>, Vec<_>) =
            promises.iter().partition(|(_, outcome)| is_failed(outcome));
        let mut out = io::stdout();
        for (lesson, outcome) in failed.iter().chain(&others) {
            writeln!(out, "{}", promise_line(lesson, outcome))?;
        }
        let article = self.article();
        let failures = failed.iter().map(|&(lesson, outcome)| Failure {
            lesson,
            is_of_chapter: article.contains(&format!("fn {}(", lesson.test)),
            outcome,
        });
        let failures: Vec<_> = failures.collect();
        let first = verdict::first(&failures);
        let shown = match &first {
            Some(first) if !self.all => slice::from_ref(first.failure),
            _ => &failures[..],
        };
        for failure in shown {
            show_failure(failure)?;
        }
        show_counts(&others, promises.len())?;
        if let Some(first) = first {
            show_advice(&first, failures.len())?;
        }
        Ok(ExitCode::from(u8::from(!failures.is_empty())))
    }

    /// The chapter and the stop, as the learner has typed them.
    fn place(&self) -> String {
        match self.stop {
            0 => self.chapter.to_string(),
            stop => format!("{}.{stop}", self.chapter),
        }
    }

    /// Whether a test is about an earlier chapter, or passes at the end of the stop.
    fn holds_by_then(&self, test: &str, reached: &[&str]) -> bool {
        let lesson = LESSONS.iter().find(|lesson| lesson.test == test);
        let page = lesson.map(|lesson| Page::new(lesson.chapter(), ""));
        let chapter = page.as_ref().and_then(Page::milestone);
        self.stop == 0 || chapter < Some(self.chapter) || reached.contains(&test)
    }

    /// The tests of what the chapter's text promises. Chapter 5 has none of its own: all count alike.
    fn article(&self) -> String {
        let path = root().join(&milestones()[self.chapter - 1]);
        fs::read_to_string(path.join("tests/article.rs")).unwrap_or_default()
    }

    /// The last word of the command that is a file or a folder: `my_server.py` in
    /// `/usr/bin/python3 my_server.py`. Our own binary is built again, so its sources are watched.
    fn watched_path(&self) -> Result<PathBuf> {
        if self.command.is_empty() {
            return Ok(root().join(&milestones()[self.chapter - 1]).join("src"));
        }
        let mut paths = self.command.iter().map(PathBuf::from);
        let path = paths.rfind(|path| path.exists());
        path.context("--watch needs a COMMAND with a word that is a file or a folder")
    }
}

/// One test alone, which shows how long a start takes, then the others, and those that were not done once
/// more.
fn paced(suite: &Suite, pace: Pace, command: &str, show: impl Fn(usize) + Sync) -> Vec<Outcome> {
    let names = suite.names();
    let lone = names.iter().find(|name| *name == LONE).unwrap_or(&names[0]);
    let mut outcomes = pace.of(suite).run(command, |name| name == lone);
    let pace = pace.with_start(&outcomes[0]);
    let show = |ended| show(ended + 1);
    let suite_at_pace = pace.of(suite);
    outcomes.extend(suite_at_pace.run_counting(command, |name| name != lone, show));

    let failed = outcomes.iter().filter(|outcome| !outcome.passed);
    let unsure = failed.filter(|outcome| verdict::is_unsure(outcome));
    let unsure: Vec<_> = unsure.map(|outcome| outcome.test.clone()).collect();
    if unsure.len() <= RETRIES {
        let is_unsure = |name: &str| unsure.iter().any(|test| test == name);
        outcomes.retain(|outcome| !is_unsure(&outcome.test));
        outcomes.extend(pace.again().of(suite).run(command, is_unsure));
    }
    outcomes
}

fn parsed<T>(variable: &str, what: &str) -> Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let value = env::var(variable).ok().map(|value| value.parse());
    let value = value.transpose();
    value.with_context(|| format!("{variable} must be {what}"))
}

/// A program that does not exist would fail every test.
fn check_exists(program: &str) -> Result<()> {
    let exists = match program.contains('/') {
        true => Path::new(program).is_file(),
        false => is_installed(program),
    };
    ensure!(exists, "there is no program {program} (have you built it?)");
    Ok(())
}

/// The results in the order of the chapter's text. Every test has a lesson.
fn in_order(outcomes: &[Outcome]) -> Vec<(&Lesson, &Outcome)> {
    let lessons = LESSONS.iter().filter_map(|lesson| {
        let outcome = outcomes.iter().find(|outcome| outcome.test == lesson.test);
        Some((lesson, outcome?))
    });
    lessons.collect()
}

fn promise_line(lesson: &Lesson, outcome: &Outcome) -> String {
    let promise = lesson.checks;
    let why = |mark, reason| {
        let line = wrap("    ", &format!("{mark} {promise} ({reason})"));
        paint(DIM, &format!("  {}", line.trim_start()))
    };
    match (outcome.limit(), outcome.reported("skipped")) {
        (Some(limit), _) => why("○", limit),
        _ if !outcome.passed => paint(RED, &format!("  ✗ {promise}")),
        (None, Some(reason)) => why("-", &format!("skipped: {reason}")),
        (None, None) => format!("  {} {promise}", paint(GREEN, "✓")),
    }
}

/// A failure in full: what was expected and what came, and what happened before.
fn show_failure(failure: &Failure) -> io::Result<()> {
    let mut out = io::stdout();
    let outcome = failure.outcome;
    writeln!(out, "\n{}", paint(BOLD, outcome.get("title")))?;
    for name in ["expected", "received"] {
        if !outcome.get(name).is_empty() {
            writeln!(out, "  {name}: {}", outcome.get(name))?;
        }
    }
    let said = failure.advice();
    for (name, text) in [
        ("the test", failure.lesson.checks),
        ("seen", &said),
        ("server", outcome.get("server")),
    ] {
        if !text.is_empty() {
            writeln!(out, "{}", wrap("", &format!("{name}: {text}")))?;
        }
    }
    writeln!(out, "{}", paint(DIM, outcome.get("log").trim_end()))
}

/// How many promises hold: of those that are not broken, some are skipped, and some cannot be seen.
fn show_counts(others: &[(&Lesson, &Outcome)], promises: usize) -> io::Result<()> {
    let mut out = io::stdout();
    let count = |is_it: fn(&Outcome) -> bool| others.iter().filter(|(_, o)| is_it(o)).count();
    let limits = count(|outcome| outcome.limit().is_some());
    let skipped = count(|outcome| outcome.passed && outcome.reported("skipped").is_some());
    let kept = others.len() - limits - skipped;
    write!(out, "\n{kept} of {promises} promises hold")?;
    if skipped > 0 {
        write!(out, ", {skipped} skipped")?;
    }
    if limits > 0 {
        write!(out, ", {limits} cannot be seen with this server")?;
    }
    writeln!(out, ".")
}

fn show_advice(first: &First, failures: usize) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\n{}", paint(BOLD, "Fix this first:"))?;
    writeln!(out, "{}", wrap("  ", &first.failure.advice()))?;
    if failures > 1 {
        let explains = first.explains;
        writeln!(out, "  (explains {explains} of the {failures} failures)")?;
    }
    match first.failure.outcome.get("read") {
        "" => Ok(()),
        read => writeln!(out, "{}", wrap("  ", &format!("Read: {read}"))),
    }
}

/// A line that the next one replaces, on a terminal only.
fn show_progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
