//! Plays a chapter's transcript against a running server, one step at a time.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use book_checks::transcript::{is_like, split};
use shared_testkit::predicates::function::function;
use shared_testkit::{Program, Server};

// The first two panes.
const SERVER: usize = 0;
const CALLS: usize = 1;

/// The marks and verbs of what follows from an action.
const RESULTS: [&str; 5] = ["|", "!", "<", "closed", "ends"];

/// How long a client waits for what the transcript says that it receives.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it looks for anything else: the server has nothing more to do by then.
const GLANCE: Duration = Duration::from_millis(20);

/// The system calls to show: those of event loops in any language, as far as this machine has them.
const TRACED: &str = "--trace=?epoll_create1,?epoll_ctl,?epoll_wait,?epoll_pwait,?socket,?bind,?listen,\
    ?accept,?accept4,?read,?recvfrom,?recvmsg,?write,?writev,?sendto,?sendmsg,?shutdown,?close";

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

pub(crate) struct Stage {
    server: Server,
    /// Where strace writes.
    calls: File,
    /// What was read of a line that strace has not ended.
    trace: Vec<u8>,
    /// The beginnings of calls, by thread.
    unfinished: BTreeMap<String, String>,
    clients: BTreeMap<String, TcpStream>,
    /// The server's, then its system calls, then each client's.
    pub panes: Vec<Pane>,
    shown_stdout: usize,
    shown_stderr: usize,
}

/// Divides a transcript into its steps.
pub(crate) fn steps<'a>(transcript: &[&'a str]) -> Vec<Step<'a>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in transcript {
        let is_result = RESULTS.contains(&split(line).1);
        match steps.last_mut().filter(|_| is_result) {
            Some(step) => step.results.push(line),
            None => steps.push(Step {
                action: line,
                results: Vec::new(),
            }),
        }
    }
    steps
}

impl Stage {
    /// Starts the command in `SERVER_CMD`, or else our own binary, under strace if that is possible.
    pub(crate) fn start(own_binary: &Path) -> Result<Stage> {
        let program = || Program::under_test(&own_binary.to_string_lossy());
        // Not on stderr, where strace and the server would cut each other's lines.
        let path = env::temp_dir().join(format!("learn-{}.strace", process::id()));
        let calls = File::create_new(&path).and_then(|_| File::open(&path))?;
        let output = format!("--output={}", path.display());
        let options = ["--string-limit=40", TRACED, &output];
        let server = attempt(|| match Server::builder(program()).under_strace(&options) {
            Some(builder) => builder.start(),
            None => Server::start(program()),
        });
        // Both have it open, and nothing is left behind.
        fs::remove_file(&path)?;
        Ok(Stage {
            server: server?,
            calls,
            trace: Vec::new(),
            unfinished: BTreeMap::new(),
            clients: BTreeMap::new(),
            panes: vec![Pane::new("server"), Pane::new("system calls")],
            shown_stdout: 0,
            shown_stderr: 0,
        })
    }

    /// Takes a step. Returns what did not come about.
    pub(crate) fn play<'a>(&mut self, step: &Step<'a>) -> Vec<&'a str> {
        for pane in &mut self.panes {
            pane.old = pane.lines.len();
        }
        // The iterations in which nothing happened while the viewer read.
        if !self.panes[CALLS].lines.is_empty() {
            self.new_calls();
        }
        let mut missing = Vec::new();
        if let Err(e) = self.act(step.action) {
            let problem = e.to_string().lines().next().unwrap_or_default().to_owned();
            self.pane(split(step.action).0).lines.push(problem);
            missing.push(step.action);
        }
        missing.extend(self.missing_lines(&step.results));
        // One that is busy forever has no more lines to wait for either.
        let _ = attempt(|| self.server.wait_until_asleep());
        self.show_server();
        missing.extend(self.show_clients(&step.results));
        missing
    }

    fn act(&mut self, action: &str) -> Result<()> {
        let (name, verb, text) = split(action);
        match (verb, text) {
            // The server has started already.
            ("$", _) => return Ok(()),
            ("gets", "SIGINT") => return attempt(|| self.server.interrupt()),
            ("connects", _) => {
                let client = attempt(|| self.server.connect(name))?;
                self.clients.insert(name.to_owned(), client.into_stream());
            }
            (">", _) => self
                .client(name)?
                .write_all(format!("{text}\n").as_bytes())?,
            (">>", _) => self.client(name)?.write_all(text.as_bytes())?,
            ("leaves", _) => drop(self.clients.remove(name)),
            _ => bail!("the tour does not know how to play {action:?}"),
        }
        let said = action.strip_prefix(name).unwrap_or(action).trim();
        self.pane(name).lines.push(said.to_owned());
        Ok(())
    }

    fn client(&mut self, name: &str) -> Result<&mut TcpStream> {
        let client = self.clients.get_mut(name);
        client.ok_or_else(|| anyhow!("{name} is not connected"))
    }

    fn pane(&mut self, title: &str) -> &mut Pane {
        let place = self.panes.iter().position(|pane| pane.title == title);
        let place = place.unwrap_or_else(|| {
            self.panes.push(Pane::new(title));
            self.panes.len() - 1
        });
        &mut self.panes[place]
    }

    /// Waits for the server's lines.
    fn missing_lines<'a>(&mut self, results: &[&'a str]) -> Vec<&'a str> {
        let server = &mut self.server;
        let mut results = results.to_vec();
        results.retain(|line| {
            let (_, verb, text) = split(line);
            let wanted = function(|line: &str| is_like(text, line));
            match verb {
                "|" => attempt(|| drop(server.expect_match(wanted))).is_err(),
                "ends" => {
                    let status = attempt(|| server.expect_exit());
                    status
                        .ok()
                        .flatten()
                        .map(|code| format!("with {code}"))
                        .as_deref()
                        != Some(text)
                }
                // `Listening on` was waited for at the start.
                _ => false,
            }
        });
        results
    }

    /// Shows what the server has printed and called since the last step.
    fn show_server(&mut self) {
        let stdout = self.server.stdout_lines().split_off(self.shown_stdout);
        self.shown_stdout += stdout.len();
        let stderr = self.server.stderr_lines().split_off(self.shown_stderr);
        self.shown_stderr += stderr.len();
        let errors = stderr.iter().map(|line| format!("! {line}"));
        let lines = errors.chain(stdout.iter().map(|line| format!("| {line}")));
        self.panes[SERVER].lines.extend(lines);
        let calls = self.new_calls();
        self.panes[CALLS]
            .lines
            .extend(calls.iter().map(|call| abridge(call)));
    }

    /// The calls that have ended since the last time.
    fn new_calls(&mut self) -> Vec<String> {
        // It fails only if strace does not run.
        let _ = self.calls.read_to_end(&mut self.trace);
        let complete = self
            .trace
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let text: Vec<u8> = self.trace.drain(..complete).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut calls: Vec<_> = text
            .lines()
            .filter_map(|line| self.ended_call(line))
            .collect();
        let is_first =
            |call: &String| call.starts_with("socket(") || call.starts_with("epoll_create");
        if self.panes[CALLS].lines.is_empty() {
            // What precedes is the start of the language's own runtime.
            calls.drain(..calls.iter().position(is_first).unwrap_or(0));
        }
        calls.retain(|call| !is_noise(call));
        calls
    }

    /// A call that strace has written in one line, or the whole of one with this as its second line:
    /// another thread's call may come between them.
    fn ended_call(&mut self, line: &str) -> Option<String> {
        let (thread, call) = line.split_once(' ')?;
        let call = call.trim_start();
        if let Some(beginning) = call.strip_suffix("<unfinished ...>") {
            self.unfinished
                .insert(thread.to_owned(), beginning.to_owned());
            return None;
        }
        let Some((_, end)) = call.split_once(" resumed>") else {
            return Some(call.to_owned());
        };
        let beginning = self.unfinished.remove(thread).unwrap_or_default();
        Some(beginning + end)
    }

    /// Shows what the clients have received. Returns what did not come.
    fn show_clients<'a>(&mut self, results: &[&'a str]) -> Vec<&'a str> {
        let mut missing = Vec::new();
        let names: Vec<_> = self.clients.keys().cloned().collect();
        for name in names {
            let due = results.iter().copied().filter(|line| split(line).0 == name);
            let due: Vec<_> = due.collect();
            let received = self.receive(&name, due.len());
            missing.extend(due.into_iter().filter(|line| {
                let result = line.strip_prefix(&name).unwrap_or(line).trim();
                !received.iter().any(|received| received == result)
            }));
            self.pane(&name).lines.extend(received);
        }
        missing
    }

    /// What a client receives: `< line` for each line, and `closed` for end of file.
    fn receive(&mut self, name: &str, due: usize) -> Vec<String> {
        let Some(stream) = self.clients.get_mut(name) else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let last = loop {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            let patience = if lines < due { PATIENCE } else { GLANCE };
            let is_set = stream.set_read_timeout(Some(patience));
            match is_set.and_then(|()| stream.read(&mut chunk)) {
                Ok(n) if n > 0 => bytes.extend(&chunk[..n]),
                end => break end,
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut received: Vec<_> = text.lines().map(|line| format!("< {line}")).collect();
        if last.is_ok() {
            self.clients.remove(name);
            received.push("closed".to_owned());
        }
        received
    }
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

/// The log, which has a pane of its own, and iterations in which nothing happened.
fn is_noise(call: &str) -> bool {
    let is_log = call.starts_with("write(1,") || call.starts_with("write(2,");
    is_log || call.starts_with("epoll_") && call.contains("wait(") && call.ends_with(" = 0")
}

/// A call without the details that push its result out of sight: socket addresses and the second
/// form of a token.
fn abridge(call: &str) -> String {
    let mut call = call.replace(" (Resource temporarily unavailable)", "");
    call = call.replace("data={u32=", "data=");
    for (start, end, left) in [(", u64=", "}", ""), ("{sa_family=", "}", "{…}")] {
        let mut done = 0;
        while let Some(place) = call[done..].find(start) {
            let from = done + place;
            let Some(length) = call[from..].find(end) else {
                break;
            };
            call.replace_range(from..from + length + end.len(), left);
            done = from + left.len();
        }
    }
    call.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs something of the testkit, whose assertions panic: the message is the error, and nothing is
/// printed.
pub(crate) fn attempt<T>(act: impl FnOnce() -> T) -> Result<T> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    panic::set_hook(hook);
    result.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        anyhow!(message.unwrap_or("a panic").to_owned())
    })
}
