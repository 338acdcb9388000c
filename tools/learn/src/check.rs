//! `cargo learn check`: the promises of a chapter, and what to fix first.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::ptr;

use anyhow::{Context, Result, anyhow, ensure};
use course::test_runner::{self, Outcome, Suite};
use course::{Book, Page, milestones, root};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_ADDR};
use shared_testkit::{LESSONS, Lesson};

use crate::pace::{self, Pace};
use crate::paper::{BOLD, DIM, GREEN, RED, paint, wrap};
use crate::verdict::{self, Failure, First};
use crate::watch::Watch;

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
        let pages = Book::read().pages;
        let is_there = pages
            .iter()
            .any(|page| page.place() == Some((self.chapter, self.stop)));
        ensure!(is_there, "there is no stop {}", self.place());
        if !self.watch {
            return self.run_once();
        }
        let path = self.watched_path()?;
        let watch =
            Watch::new(&path).with_context(|| format!("cannot watch {}", path.display()))?;
        loop {
            if let Err(e) = self.run_once() {
                eprintln!("Error: {e:#}");
            }
            writeln!(
                io::stdout(),
                "\nWaiting for a change of {} (Ctrl-C ends)",
                path.display()
            )?;
            watch.wait()?;
        }
    }

    fn run_once(&self) -> Result<ExitCode> {
        show_progress("building …");
        let milestone = &milestones()[self.chapter - 1];
        let suite = Suite::build(milestone).map_err(|e| anyhow!(e));
        show_progress("");
        let book = Book::read();
        let reached = book.tests_until((self.chapter, self.stop));
        let suite = suite?.only(|test| self.holds_by_then(test, &reached));
        let command = match self.command.is_empty() {
            true => test_runner::command(&test_runner::program(milestone)),
            false => shlex::try_join(self.command.iter().map(String::as_str))?,
        };
        let total = suite.names().len();
        let outcomes = self.outcomes(suite, &command)?;

        let promises = in_order(&outcomes);
        ensure!(
            promises.len() == total,
            "a test of {milestone} is not in LESSONS"
        );
        let mut out = io::stdout();
        writeln!(out, "Chapter {}, tested: {command}\n", self.place())?;
        if pace::is_too_slow(&outcomes) {
            let advice = format!(
                "Most tests ended before the server had started, or while it was still at work. If it is \
                 not stuck, this machine is too slow for it at the moment: wait until it has less to do, \
                 or set {DEADLINE_SCALE}=3, which makes each wait a minute."
            );
            writeln!(out, "{}\n", wrap("", &advice))?;
        }
        self.report(&promises)
    }

    /// Runs all tests, as many at once and as long as the machine and the server's start allow.
    fn outcomes(&self, suite: Suite, command: &str) -> Result<Vec<Outcome>> {
        let total = suite.names().len();
        let show = |ended| show_progress(&format!("{ended} of {total} tests"));
        show(0);
        if let Ok(address) = env::var(SERVER_ADDR) {
            // At one address, the tests run one after another.
            let address = address.parse();
            let address = address.with_context(|| format!("{SERVER_ADDR} must be an address"))?;
            let suite = Pace::of_machine(self.chapter).without_limit(&suite);
            let suite = wanted_scale()?.map_or(suite.clone(), |scale| suite.deadline_scale(scale));
            let outcomes = suite
                .server_address(address)
                .run_counting(command, |_| true, show);
            show_progress("");
            return Ok(outcomes);
        }
        let outcomes = match wanted_scale()? {
            Some(scale) => suite
                .deadline_scale(scale)
                .run_counting(command, |_| true, show),
            None => self.paced(&suite, command, show),
        };
        show_progress("");
        Ok(outcomes)
    }

    /// One test alone, which shows how long a start takes, then the others, and those that were not done
    /// once more.
    fn paced(&self, suite: &Suite, command: &str, show: impl Fn(usize) + Sync) -> Vec<Outcome> {
        let pace = Pace::of_machine(self.chapter);
        let names = suite.names();
        let lone = names.iter().find(|name| *name == LONE).unwrap_or(&names[0]);
        let mut outcomes = pace.of(suite).run(command, |name| name == lone);
        let start = outcomes.first().and_then(Outcome::start);
        let pace = start.map_or(pace, |start| pace.with_start(start));
        let others = |name: &str| name != lone;
        outcomes.extend(
            pace.of(suite)
                .run_counting(command, others, |ended| show(ended + 1)),
        );

        let is_unsure = |outcome: &Outcome| {
            let lesson = LESSONS.iter().find(|lesson| lesson.test == outcome.test);
            !outcome.passed && lesson.is_some_and(|l| Failure::new(l, true, outcome).is_unsure())
        };
        let unsure: Vec<_> = outcomes
            .iter()
            .filter(|o| is_unsure(o))
            .map(|o| o.test.clone())
            .collect();
        if unsure.len() <= RETRIES {
            outcomes.retain(|outcome| !unsure.contains(&outcome.test));
            let again = pace.again().of(suite);
            outcomes.extend(again.run(command, |name| unsure.iter().any(|test| test == name)));
        }
        outcomes
    }

    fn report(&self, promises: &[(&Lesson, &Outcome)]) -> Result<ExitCode> {
        let mut out = io::stdout();
        let article = self.article();
        let is_of_chapter = |lesson: &Lesson| article.contains(&format!("fn {}(", lesson.test));
        let is_failed = |outcome: &Outcome| !outcome.passed && outcome.limit().is_none();
        let (failed, others): (Vec<_>, Vec<_>) =
            promises.iter().partition(|(_, outcome)| is_failed(outcome));
        for (lesson, outcome) in failed.iter().chain(&others) {
            writeln!(out, "{}", promise_line(lesson, outcome))?;
        }
        let failures = failed.iter();
        let failures: Vec<_> = failures
            .map(|(lesson, outcome)| Failure::new(lesson, is_of_chapter(lesson), outcome))
            .collect();
        let first = verdict::first(&failures);
        let is_first = |f| {
            first
                .as_ref()
                .is_some_and(|first| ptr::eq(first.failure, f))
        };
        for failure in failures.iter().filter(|f| self.all || is_first(*f)) {
            show_failure(failure)?;
        }

        let count = |is_it: fn(&Outcome) -> bool| others.iter().filter(|(_, o)| is_it(o)).count();
        let limits = count(|outcome| outcome.limit().is_some());
        let skipped = count(|outcome| outcome.passed && outcome.was_skipped());
        let kept = others.len() - limits - skipped;
        write!(out, "\n{kept} of {} promises hold", promises.len())?;
        if skipped > 0 {
            write!(out, ", {skipped} are skipped")?;
        }
        if limits > 0 {
            write!(out, ", {limits} cannot be seen with this server")?;
        }
        writeln!(out, ".")?;
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
        let page = lesson.map(|lesson| Page::new(lesson.chapter, ""));
        let chapter = page.as_ref().and_then(Page::milestone);
        self.stop == 0 || chapter < Some(self.chapter) || reached.contains(&test)
    }

    /// The tests of what the chapter's text promises. Chapter 5 has none of its own: all count alike.
    fn article(&self) -> String {
        let path = root().join(&milestones()[self.chapter - 1]);
        fs::read_to_string(path.join("tests/article.rs")).unwrap_or_default()
    }

    /// The first word of the command that is the learner's file or folder: `my_server.py` in
    /// `.venv/bin/python my_server.py`. Our own binary is built again, so its sources are watched.
    fn watched_path(&self) -> Result<PathBuf> {
        if self.command.is_empty() {
            return Ok(root().join(&milestones()[self.chapter - 1]).join("src"));
        }
        let mut paths = self.command.iter().map(PathBuf::from);
        let path = paths.find(|path| path.exists() && !is_installed(path));
        path.context("--watch needs a COMMAND with a word that is a file or a folder of yours")
    }
}

/// Whether a file is one of the system's programs, by whatever link: what runs a script does not change.
fn is_installed(path: &Path) -> bool {
    let folder = path.canonicalize().ok();
    let folder = folder.as_deref().and_then(Path::parent);
    let search_path = env::var_os("PATH").unwrap_or_default();
    let mut folders =
        env::split_paths(&search_path).filter_map(|folder| folder.canonicalize().ok());
    folders.any(|other| Some(other.as_path()) == folder)
}

fn wanted_scale() -> Result<Option<f64>> {
    let wanted = env::var(DEADLINE_SCALE).ok().map(|scale| scale.parse());
    wanted
        .transpose()
        .with_context(|| format!("{DEADLINE_SCALE} must be a number"))
}

/// A program that does not exist would fail every test.
fn check_exists(program: &str) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let exists = match program.contains('/') {
        true => Path::new(program).is_file(),
        false => env::split_paths(&path).any(|folder| folder.join(program).is_file()),
    };
    ensure!(exists, "there is no program {program} (have you built it?)");
    Ok(())
}

/// The results in the order of the chapter's text.
fn in_order(outcomes: &[Outcome]) -> Vec<(&Lesson, &Outcome)> {
    let with_outcome = |lesson: &'static Lesson| {
        let outcome = outcomes
            .iter()
            .find(|outcome| outcome.test == lesson.test)?;
        Some((lesson, outcome))
    };
    LESSONS.iter().filter_map(with_outcome).collect()
}

fn promise_line(lesson: &Lesson, outcome: &Outcome) -> String {
    let promise = lesson.checks;
    let why = |mark, reason| {
        let line = wrap("    ", &format!("{mark} {promise} ({reason})"));
        paint(DIM, &format!("  {}", line.trim_start()))
    };
    match (outcome.limit(), outcome.skip_reason()) {
        (Some(limit), _) => why("○", limit),
        _ if !outcome.passed => paint(RED, &format!("  ✗ {promise}")),
        (None, Some(reason)) => why("-", &format!("skipped: {reason}")),
        (None, None) => format!("  {} {promise}", paint(GREEN, "✓")),
    }
}

/// A failure in full: what was expected and what came, and what happened before.
fn show_failure(failure: &Failure) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\n{}", paint(BOLD, failure.get("title")))?;
    for name in ["expected", "received"] {
        if !failure.get(name).is_empty() {
            writeln!(out, "  {name}: {}", failure.get(name))?;
        }
    }
    let said = failure.advice();
    for (name, text) in [
        ("the test", failure.lesson.checks),
        ("seen", &said),
        ("server", failure.get("server")),
    ] {
        if !text.is_empty() {
            writeln!(out, "{}", wrap("", &format!("{name}: {text}")))?;
        }
    }
    writeln!(out, "{}", paint(DIM, failure.get("log").trim_end()))
}

fn show_advice(first: &First, failures: usize) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "\n{}", paint(BOLD, "Fix this first:"))?;
    writeln!(out, "{}", wrap("  ", &first.failure.advice()))?;
    if failures > 1 {
        let explains = first.explains;
        writeln!(out, "  (explains {explains} of the {failures} failures)")?;
    }
    match first.failure.get("read") {
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
