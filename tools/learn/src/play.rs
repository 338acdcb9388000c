//! A tour under way: a chapter's transcript, played against a running server one step after the other.

use std::env;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Error, Result, anyhow};
use course::strace::Strace;
use course::transcript::{Cast, DEFAULT_ADDRESS, is_like, is_result, message_of, split};
use shared_testkit::env::SERVER_CMD;
use shared_testkit::{Program, Server, wait_until};

// The first two panes. The transcript calls the server by this name, too.
const SERVER: &str = "server";
const CALLS: &str = "system calls";

/// How much of a failed assertion is shown: what has failed, what was expected, and what came.
const FAILURE: usize = 3;

/// A tour under way.
pub(crate) struct Play<'a> {
    chapter: usize,
    /// The learner's own command, if it is not the milestone that is played with.
    command: Option<String>,
    /// Each is an action, and the lines with its results.
    steps: Vec<&'a [&'a str]>,
    cast: Cast<'a>,
    /// Where strace can be used.
    strace: Option<Strace>,
    /// The server's, its system calls, then each client's.
    panes: Vec<Pane>,
    /// Those of the steps taken so far.
    pub frames: Vec<Frame>,
}

/// What one party has done and seen so far.
#[derive(Clone)]
pub(crate) struct Pane {
    pub title: String,
    pub lines: Vec<String>,
    /// How many of them are older than the last step.
    pub old: usize,
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
    /// Starts the command in `SERVER_CMD`, or else our own binary, under strace if that is possible.
    pub(crate) fn start(
        chapter: usize,
        own_binary: &Path,
        transcript: &'a [&'a str],
    ) -> Result<Play<'a>> {
        let program = || Program::under_test(&own_binary.to_string_lossy());
        let (server, strace) = attempt(|| match Strace::start(Server::builder(program())) {
            Some((server, strace)) => (server, Some(strace)),
            None => (Server::start(program()), None),
        })?;
        let mut cast = Cast::default();
        cast.enter(SERVER, server, DEFAULT_ADDRESS);
        let mut panes = Vec::new();
        pane(&mut panes, SERVER);
        pane(&mut panes, CALLS);
        Ok(Play {
            chapter,
            command: env::var(SERVER_CMD).ok(),
            steps: transcript.chunk_by(|_, line| is_result(line)).collect(),
            cast,
            strace,
            panes,
            frames: Vec::new(),
        })
    }

    /// Plays the next step. Returns whether there was one.
    pub(crate) fn go_on(&mut self) -> bool {
        let number = self.frames.len() + 1;
        let Some([action, results @ ..]) = self.steps.get(number - 1).copied() else {
            return false;
        };
        let missing = self.take_step(action, results);
        let (chapter, steps) = (self.chapter, self.steps.len());
        let command = self.command.as_ref();
        let tested = command.map_or(String::new(), |command| format!(" with {command}"));
        // The transcript starts the milestone.
        let command = command.filter(|_| action.starts_with('$'));
        let shown = command.map_or((*action).to_owned(), |command| format!("$ {command}"));
        self.frames.push(Frame {
            title: format!("Chapter {chapter}{tested}, step {number} of {steps}: {shown}"),
            sentence: sentence(chapter, action),
            panes: self.panes.clone(),
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
                for line in pane.new_lines() {
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

    /// Returns what did not come about.
    fn take_step(&mut self, action: &'a str, results: &[&'a str]) -> Vec<&'a str> {
        for pane in &mut self.panes {
            pane.old = pane.lines.len();
        }
        if !self.frames.is_empty() {
            // What the server did while the viewer read.
            self.new_calls();
        }
        if let Err(e) = self.act(action) {
            self.show(split(action).0, summary(&e));
            return vec![action];
        }
        let mut due = results.to_vec();
        due.retain(|result| matches!(split(result), (SERVER, "|" | "!", _)));
        wait_until(|| {
            self.show_server();
            self.missing(&due).is_empty()
        });
        // One that is busy forever has no more lines to wait for either.
        let _ = attempt(|| self.cast.actor(SERVER).server.wait_until_asleep());
        self.show_clients();
        for result in results {
            if matches!(split(result).1, "closed" | "ends") {
                // If not, it is missing.
                let _ = self.act(result);
            }
        }
        self.show_server();
        let calls = self.new_calls();
        self.show(CALLS, calls);
        self.missing(results)
    }

    fn act(&mut self, line: &'a str) -> Result<()> {
        let (name, verb, _) = split(line);
        // The server has started already.
        if verb == "$" {
            return Ok(());
        }
        attempt(|| self.cast.act(line))?;
        self.show(name, vec![without_name(line).to_owned()]);
        Ok(())
    }

    fn show(&mut self, title: &str, lines: Vec<String>) {
        pane(&mut self.panes, title).lines.extend(lines);
    }

    fn show_server(&mut self) {
        let server = &self.cast.actor(SERVER).server;
        let streams = [("!", server.stderr_lines()), ("|", server.stdout_lines())];
        for (mark, lines) in streams {
            let pane = pane(&mut self.panes, SERVER);
            let shown = pane.lines.iter().filter(|line| line.starts_with(mark));
            let new = lines[shown.count()..].iter();
            pane.lines.extend(new.map(|line| format!("{mark} {line}")));
        }
    }

    fn show_clients(&mut self) {
        for (name, client) in &mut self.cast.clients {
            while client.unread_bytes() > 0 {
                let lines = match attempt(|| client.receive_line()) {
                    Ok(line) => vec![format!("< {}", String::from_utf8_lossy(&line))],
                    Err(e) => summary(&e),
                };
                pane(&mut self.panes, name).lines.extend(lines);
            }
        }
    }

    /// The server's system calls since the last time. Its log has a pane of its own.
    fn new_calls(&mut self) -> Vec<String> {
        let calls = self.strace.as_mut().map(Strace::new_calls);
        let mut calls = calls.unwrap_or_default();
        calls.retain(|call| call.name != "write" || !matches!(call.descriptor(), Some(1 | 2)));
        calls.iter().map(ToString::to_string).collect()
    }

    /// Those results that the last step has not shown.
    fn missing(&self, results: &[&'a str]) -> Vec<&'a str> {
        let mut missing = results.to_vec();
        missing.retain(|result| {
            let wanted = without_name(result).replace(":8080", ":xxxxx");
            let panes = self.panes.iter();
            let panes = panes.filter(|pane| pane.title == split(result).0);
            let mut lines = panes.flat_map(Pane::new_lines);
            !lines.any(|line| is_like(&wanted, line))
        });
        missing
    }
}

impl Pane {
    /// Those of the last step.
    fn new_lines(&self) -> &[String] {
        &self.lines[self.old..]
    }
}

fn pane<'p>(panes: &'p mut Vec<Pane>, title: &str) -> &'p mut Pane {
    let place = panes.iter().position(|pane| pane.title == title);
    let place = place.unwrap_or_else(|| {
        panes.push(Pane {
            title: title.to_owned(),
            lines: Vec::new(),
            old: 0,
        });
        panes.len() - 1
    });
    &mut panes[place]
}

/// What a line of the transcript says after the name.
fn without_name(line: &str) -> &str {
    let name = split(line).0;
    line[name.len()..].trim_start()
}

fn summary(error: &Error) -> Vec<String> {
    let text = error.to_string();
    text.lines().take(FAILURE).map(str::to_owned).collect()
}

/// Runs something of the testkit, whose assertions panic: the message is the error, and nothing is
/// printed.
pub(crate) fn attempt<T>(act: impl FnOnce() -> T) -> Result<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    panic::set_hook(hook);
    result.map_err(|panic| anyhow!(message_of(&*panic).to_owned()))
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
