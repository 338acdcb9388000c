//! `cargo learn tour`: a chapter's transcript, played live.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use course::transcript::split;
use course::{Book, milestones, test_runner};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_CMD};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::screen;
use crate::stage::{Pane, Stage, Step, attempt, steps};

/// Set in the process that has the variables for the testkit.
const PREPARED: &str = "LEARN_TOUR";

/// The testkit waits 2 seconds for a line, not 20.
const SCALE: &str = "0.1";

pub(crate) struct Tour {
    pub chapter: usize,
    /// Empty for the chapter's milestone.
    pub command: Vec<String>,
}

/// A tour under way.
pub(crate) struct Play<'a> {
    chapter: usize,
    stage: Stage<'a>,
    steps: Vec<Step<'a>>,
    /// Those of the steps taken so far.
    pub frames: Vec<Frame>,
}

/// What is to be seen after a step.
pub(crate) struct Frame {
    pub title: String,
    pub sentence: String,
    pub panes: Vec<Pane>,
    /// Results that did not come.
    pub missing: Vec<String>,
}

impl Tour {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if env::var_os(PREPARED).is_none() {
            return self.run_again_prepared();
        }
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&ended))?;
        }
        let book = Book::read();
        let transcript = book.transcript(self.chapter);
        let own = attempt(|| test_runner::program(&milestones()[self.chapter - 1]))?;
        let mut play = Play {
            chapter: self.chapter,
            stage: Stage::start(&own)?,
            steps: steps(&transcript),
            frames: Vec::new(),
        };
        if io::stdout().is_terminal() && io::stdin().is_terminal() {
            screen::show(&mut play, &ended)?;
        } else {
            play.print(&ended)?;
        }
        let is_complete = play.frames.iter().all(|frame| frame.missing.is_empty());
        Ok(ExitCode::from(u8::from(!is_complete)))
    }

    /// The testkit takes its settings from the environment.
    fn run_again_prepared(&self) -> Result<ExitCode> {
        let mut again = Command::new(env::current_exe()?);
        again.args(env::args_os().skip(1)).env(PREPARED, "1");
        if env::var_os(DEADLINE_SCALE).is_none() {
            again.env(DEADLINE_SCALE, SCALE);
        }
        again.env_remove(SERVER_CMD);
        if !self.command.is_empty() {
            let command = shlex::try_join(self.command.iter().map(String::as_str))?;
            again.env(SERVER_CMD, command);
        }
        Err(again.exec().into())
    }
}

impl Play<'_> {
    /// Plays the next step. Returns whether there was one.
    pub(crate) fn go_on(&mut self) -> bool {
        let number = self.frames.len() + 1;
        let Some(step) = self.steps.get(number - 1) else {
            return false;
        };
        let missing = self.stage.play(step);
        let (chapter, steps, action) = (self.chapter, self.steps.len(), step.action);
        let own = env::var(SERVER_CMD).ok();
        let tested = own
            .as_ref()
            .map_or(String::new(), |command| format!(" with {command}"));
        // The transcript starts the milestone.
        let shown = own.filter(|_| action.starts_with('$'));
        let shown = shown.map_or(action.to_owned(), |command| format!("$ {command}"));
        self.frames.push(Frame {
            title: format!("Chapter {chapter}{tested}, step {number} of {steps}: {shown}"),
            sentence: sentence(chapter, action),
            panes: self.stage.panes.clone(),
            missing: missing.into_iter().map(str::to_owned).collect(),
        });
        true
    }

    /// Without a terminal: one step after the other, with what is new in each.
    fn print(&mut self, ended: &AtomicBool) -> Result<()> {
        let mut out = io::stdout();
        while !ended.load(Ordering::Relaxed) && self.go_on() {
            let frame = &self.frames[self.frames.len() - 1];
            writeln!(out, "{}\n{}\n", frame.title, frame.sentence)?;
            for pane in &frame.panes {
                for line in &pane.lines[pane.old..] {
                    writeln!(out, "  {:12}  {line}", pane.title)?;
                }
            }
            for line in &frame.missing {
                writeln!(out, "  expected, but it did not come: {line}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// What happens in a step.
fn sentence(chapter: usize, action: &str) -> String {
    let (name, verb, _) = split(action);
    let what = match (verb, chapter) {
        ("$", _) => "The server registers its listener for READABLE and sleeps in epoll_wait.",
        ("connects", 1) => {
            "The listener is readable: the server accepts until WouldBlock, and closes."
        }
        ("connects", _) => {
            "The listener is readable: the server accepts NAME and registers the socket."
        }
        (">", 2) => "One event for NAME. The server does not read: the bytes stay in the kernel.",
        (">", 3) => "The server reads until WouldBlock and queues NAME's line for the others.",
        (">", _) => "The server reads until WouldBlock and writes NAME's line to the others.",
        (">>", _) => "No newline came, so the server buffers NAME's bytes until one does.",
        ("leaves", 2) => "One event for NAME. The server does not read, so it sees no end of file.",
        ("leaves", _) => {
            "A read returns 0, end of file: the server deregisters and closes NAME's socket."
        }
        ("gets", _) => "The signal wakes epoll_wait: the server sends what is queued, and exits.",
        _ => "",
    };
    what.replace("NAME", name)
}
