//! A tour under way: a chapter's transcript, one step after the other.

use std::env;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use course::transcript::split;
use shared_testkit::env::SERVER_CMD;

use crate::stage::{Pane, Stage, Step};

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

impl<'a> Play<'a> {
    pub(crate) fn new(chapter: usize, stage: Stage<'a>, steps: Vec<Step<'a>>) -> Play<'a> {
        Play {
            chapter,
            stage,
            steps,
            frames: Vec::new(),
        }
    }

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
    pub(crate) fn print(&mut self, ended: &AtomicBool) -> Result<()> {
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
