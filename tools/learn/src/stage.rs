//! Plays a chapter's transcript against a running server, one step at a time.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use anyhow::{Error, Result, anyhow};
use course::call::Call;
use course::strace::Strace;
use course::transcript::{Cast, DEFAULT_ADDRESS, is_like, is_result, message_of, split};
use shared_testkit::{Program, Server, wait_until};

// The first two panes. The transcript calls the server by this name, too.
const SERVER: &str = "server";
const CALLS: &str = "system calls";

/// How much of a failed assertion is shown: what has failed, what was expected, and what came.
const FAILURE: usize = 3;

/// An action of the transcript, and the lines with its results.
pub(crate) struct Step<'a> {
    pub action: &'a str,
    pub results: Vec<&'a str>,
}

/// What one party has done and seen so far.
#[derive(Clone)]
pub(crate) struct Pane {
    pub title: String,
    pub lines: Vec<String>,
    /// How many of them are older than the last step.
    pub old: usize,
}

/// The server, its clients, and what they have done.
pub(crate) struct Stage<'a> {
    cast: Cast<'a>,
    /// Where strace can be used.
    strace: Option<Strace>,
    /// The server's, its system calls, then each client's.
    pub panes: Vec<Pane>,
    shown_stdout: usize,
    shown_stderr: usize,
}

/// Divides a transcript into its steps.
pub(crate) fn steps<'a>(transcript: &[&'a str]) -> Vec<Step<'a>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in transcript {
        match steps.last_mut().filter(|_| is_result(line)) {
            Some(step) => step.results.push(line),
            None => steps.push(Step {
                action: line,
                results: Vec::new(),
            }),
        }
    }
    steps
}

impl<'a> Stage<'a> {
    /// Starts the command in `SERVER_CMD`, or else our own binary, under strace if that is possible.
    pub(crate) fn start(own_binary: &Path) -> Result<Stage<'a>> {
        let program = || Program::under_test(&own_binary.to_string_lossy());
        let (server, strace) = attempt(|| match Strace::start(Server::builder(program())) {
            Some((server, strace)) => (server, Some(strace)),
            None => (Server::start(program()), None),
        })?;
        let mut cast = Cast::default();
        cast.enter(SERVER, server, DEFAULT_ADDRESS);
        Ok(Stage {
            cast,
            strace,
            panes: vec![Pane::new(SERVER), Pane::new(CALLS)],
            shown_stdout: 0,
            shown_stderr: 0,
        })
    }

    /// Takes a step. Returns what did not come about.
    pub(crate) fn play(&mut self, step: &Step<'a>) -> Vec<&'a str> {
        for pane in &mut self.panes {
            pane.old = pane.lines.len();
        }
        if !self.pane(CALLS).lines.is_empty() {
            // What the server did while the viewer read.
            self.new_calls();
        }
        if let Err(e) = self.act(step.action) {
            self.show_failure(split(step.action).0, &e);
            return vec![step.action];
        }
        let mut due = step.results.clone();
        due.retain(|result| matches!(split(result), (SERVER, "|" | "!", _)));
        wait_until(|| {
            self.show_server();
            self.missing(&due).is_empty()
        });
        // One that is busy forever has no more lines to wait for either.
        let _ = attempt(|| self.cast.actor(SERVER).server.wait_until_asleep());
        self.show_clients();
        for result in &step.results {
            if matches!(split(result).1, "closed" | "ends") {
                // If not, it is missing.
                let _ = self.act(result);
            }
        }
        self.show_server();
        let calls = self.new_calls();
        self.pane(CALLS).lines.extend(calls);
        self.missing(&step.results)
    }

    fn act(&mut self, line: &'a str) -> Result<()> {
        let (name, verb, _) = split(line);
        // The server has started already.
        if verb == "$" {
            return Ok(());
        }
        attempt(|| self.cast.act(line))?;
        self.show(name, without_name(line));
        Ok(())
    }

    fn pane(&mut self, title: &str) -> &mut Pane {
        let place = self.panes.iter().position(|pane| pane.title == title);
        let place = place.unwrap_or_else(|| {
            self.panes.push(Pane::new(title));
            self.panes.len() - 1
        });
        &mut self.panes[place]
    }

    fn show(&mut self, title: &str, line: &str) {
        self.pane(title).lines.push(line.to_owned());
    }

    fn show_failure(&mut self, title: &str, error: &Error) {
        let text = error.to_string();
        let lines = text.lines().take(FAILURE).map(str::to_owned);
        self.pane(title).lines.extend(lines);
    }

    fn show_server(&mut self) {
        let server = &self.cast.actor(SERVER).server;
        let stderr = server.stderr_lines().split_off(self.shown_stderr);
        let stdout = server.stdout_lines().split_off(self.shown_stdout);
        self.shown_stderr += stderr.len();
        self.shown_stdout += stdout.len();
        let errors = stderr.iter().map(|line| format!("! {line}"));
        let lines = errors.chain(stdout.iter().map(|line| format!("| {line}")));
        self.pane(SERVER).lines.extend(lines);
    }

    /// The server's system calls since the last time. Its log has a pane of its own.
    fn new_calls(&mut self) -> Vec<String> {
        let calls = self.strace.as_mut().map(Strace::new_calls);
        let mut calls = calls.unwrap_or_default();
        calls.retain(|call| call.name != "write" || !matches!(call.descriptor(), Some(1 | 2)));
        calls.iter().map(Call::to_string).collect()
    }

    fn show_clients(&mut self) {
        for (name, mut client) in mem::take(&mut self.cast.clients) {
            while client.unread_bytes() > 0 {
                match attempt(|| client.receive_line()) {
                    Ok(line) => self.show(name, &format!("< {}", String::from_utf8_lossy(&line))),
                    Err(e) => self.show_failure(name, &e),
                }
            }
            self.cast.clients.insert(name, client);
        }
    }

    /// Those results that the last step has not shown.
    fn missing(&mut self, results: &[&'a str]) -> Vec<&'a str> {
        let mut missing = results.to_vec();
        missing.retain(|result| {
            let wanted = without_name(result).replace(":8080", ":xxxxx");
            let pane = self.pane(split(result).0);
            !pane.lines[pane.old..]
                .iter()
                .any(|line| is_like(&wanted, line))
        });
        missing
    }
}

/// What a line of the transcript says after the name.
fn without_name(line: &str) -> &str {
    let name = split(line).0;
    line[name.len()..].trim_start()
}

impl Pane {
    fn new(title: &str) -> Pane {
        Pane {
            title: title.to_owned(),
            lines: Vec::new(),
            old: 0,
        }
    }
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
