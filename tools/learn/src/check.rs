//! `cargo learn check`: the promises of a chapter, and what to fix first.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use course::test_runner::{self, Outcome, Suite};
use course::{milestones, root};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_ADDR};
use shared_testkit::{LESSONS, Lesson};

use crate::failure::{self, Failure, First};
use crate::watch::Watch;

/// How long a test waits for a fact, as a fraction of the usual 20 seconds: with a server that hangs,
/// all tests wait that long.
const SCALE: f64 = 0.25;

/// The same for chapter 5, whose server gives a reader 10 seconds.
const HARDEN_SCALE: f64 = 0.6;

/// When a test is killed that has not ended by itself. All start at once.
const LIMIT: Duration = Duration::from_secs(14);

/// What comes before a promise that is kept.
const KEPT: &str = "  ✓ ";

pub(crate) struct Check {
    pub chapter: usize,
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
        let suite = suite_of(self.chapter);
        show_progress("");
        let suite = suite?;
        let command = match self.command.is_empty() {
            true => test_runner::command(&test_runner::program(milestone)),
            false => shlex::try_join(self.command.iter().map(String::as_str))?,
        };
        let total = suite.names().len();
        let show = |ended| show_progress(&format!("{ended} of {total} tests"));
        show(0);
        let outcomes = suite.run_counting(&command, |_| true, show);
        show_progress("");

        let promises = in_order(&outcomes);
        ensure!(
            promises.len() == total,
            "a test of {milestone} is not in LESSONS"
        );
        writeln!(
            io::stdout(),
            "Chapter {}, tested: {command}\n",
            self.chapter
        )?;
        self.report(&promises)
    }

    fn report(&self, promises: &[(&Lesson, &Outcome)]) -> Result<ExitCode> {
        let mut out = io::stdout();
        let lines = promises
            .iter()
            .map(|(lesson, outcome)| promise_line(lesson, outcome));
        let lines: Vec<_> = lines.collect();
        writeln!(out, "{}", lines.join("\n"))?;
        let failures = promises.iter().filter(|(_, outcome)| !outcome.passed);
        let article = self.article();
        let is_of_chapter = |lesson: &Lesson| article.contains(&format!("fn {}(", lesson.test));
        let failures: Vec<_> = failures
            .map(|(lesson, o)| Failure::new(lesson, is_of_chapter(lesson), &o.output))
            .collect();
        let first = failure::first(&failures);
        let is_first = |f| {
            first
                .as_ref()
                .is_some_and(|first| ptr::eq(first.failure, f))
        };
        for failure in failures.iter().filter(|f| self.all || is_first(*f)) {
            writeln!(out, "\n{}", failure.text.trim_end())?;
        }

        let kept = lines.iter().filter(|line| line.starts_with(KEPT)).count();
        let total = promises.len();
        match total - kept - failures.len() {
            0 => writeln!(out, "\n{kept} of {total} promises hold.")?,
            skipped => writeln!(
                out,
                "\n{kept} of {total} promises hold, {skipped} are skipped."
            )?,
        }
        if let Some(first) = first {
            show_advice(&first, failures.len())?;
        }
        Ok(ExitCode::from(u8::from(!failures.is_empty())))
    }

    /// The tests of what the chapter's text promises. Chapter 5 has none of its own: all count alike.
    fn article(&self) -> String {
        let path = root().join(&milestones()[self.chapter - 1]);
        fs::read_to_string(path.join("tests/article.rs")).unwrap_or_default()
    }

    /// The first word of the command that is a file: `my_server.py` in `python3 my_server.py`. Our
    /// own binary is built again, so its sources are watched.
    fn watched_path(&self) -> Result<PathBuf> {
        if self.command.is_empty() {
            return Ok(root().join(&milestones()[self.chapter - 1]).join("src"));
        }
        let mut paths = self.command.iter().map(PathBuf::from);
        let path = paths.find(|path| path.is_file());
        path.context("--watch needs a COMMAND with a word that is a file")
    }
}

fn suite_of(chapter: usize) -> Result<Suite> {
    let suite = Suite::build(&milestones()[chapter - 1]).map_err(|e| anyhow!(e))?;
    let usual = if chapter == 5 { HARDEN_SCALE } else { SCALE };
    let wanted = env::var(DEADLINE_SCALE).ok();
    let scale = wanted.as_ref().map_or(Ok(usual), |scale| scale.parse());
    let scale = scale.with_context(|| format!("{DEADLINE_SCALE} must be a number"))?;
    let suite = suite.deadline_scale(scale);
    match env::var(SERVER_ADDR) {
        // At one address, the tests run one after another.
        Ok(address) => {
            let address = address.parse();
            let address = address.with_context(|| format!("{SERVER_ADDR} must be an address"))?;
            Ok(suite.server_address(address))
        }
        Err(_) if wanted.is_none() => Ok(suite.time_limit(LIMIT)),
        Err(_) => Ok(suite),
    }
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
    if !outcome.passed {
        return format!("  ✗ {promise}");
    }
    match outcome.skip_reason() {
        Some(reason) => format!("  - {promise} (skipped: {reason})"),
        None => format!("{KEPT}{promise}"),
    }
}

fn show_advice(first: &First, failures: usize) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "Fix this first: {}", first.failure.advice())?;
    if failures > 1 {
        writeln!(
            out,
            "(explains {} of the {failures} failures)",
            first.explains
        )?;
    }
    match &first.failure.read {
        Some(read) => writeln!(out, "Read: {read}"),
        None => Ok(()),
    }
}

/// A line that the next one replaces, on a terminal only.
fn show_progress(text: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}
