//! Plays a chapter's transcript against a running server, one step at a time.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use book_checks::transcript::{is_like, split};
use shared_testkit::{Program, Server, wait_until};

use crate::trace::Trace;

// The first two panes. The transcript calls the server by this name, too.
const SERVER: &str = "server";
const CALLS: &str = "system calls";

/// The marks and verbs of what follows from an action.
const RESULTS: [&str; 5] = ["|", "!", "<", "closed", "ends"];

/// How long to look at a client's socket: the server is at rest, so what it has sent is there.
const GLANCE: Duration = Duration::from_millis(20);

/// The system calls of event loops in any language, as far as this machine has them.
const TRACED: &str = "--trace=?epoll_create1,?epoll_ctl,?epoll_wait,?epoll_pwait,?socket,?bind,?listen,\
    ?accept,?accept4,?read,?recvfrom,?recvmsg,?write,?writev,?sendto,?sendmsg,?shutdown,?close";

/// Those whose structures are shown. Of the others, they are long and say little.
const DECODED: &str = "--verbose=?epoll_ctl,?epoll_wait,?epoll_pwait";

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
pub(crate) struct Stage {
    server: Server,
    trace: Trace,
    clients: BTreeMap<String, TcpStream>,
    /// The server's, its system calls, then each client's.
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
        let file = File::create_new(&path).and_then(|_| File::open(&path));
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        let output = format!("--output={}", path.display());
        let options = ["--string-limit=40", TRACED, DECODED, &output];
        let server = attempt(|| match Server::builder(program()).under_strace(&options) {
            Some(builder) => builder.start(),
            None => Server::start(program()),
        });
        // Both have it open, and nothing is left behind.
        fs::remove_file(&path)?;
        Ok(Stage {
            server: server?,
            trace: Trace::new(file),
            clients: BTreeMap::new(),
            panes: vec![Pane::new(SERVER), Pane::new(CALLS)],
            shown_stdout: 0,
            shown_stderr: 0,
        })
    }

    /// Takes a step. Returns what did not come about.
    pub(crate) fn play<'a>(&mut self, step: &Step<'a>) -> Vec<&'a str> {
        for pane in &mut self.panes {
            pane.old = pane.lines.len();
        }
        if !self.pane(CALLS).lines.is_empty() {
            // The iterations in which nothing happened while the viewer read.
            self.trace.new_calls();
        }
        if let Err(e) = self.act(step.action) {
            self.show(split(step.action).0, &e.to_string());
            return vec![step.action];
        }
        let mut due = step.results.clone();
        due.retain(|result| split(result).0 == SERVER);
        wait_until(|| {
            self.show_server();
            self.missing(&due).is_empty()
        });
        // One that is busy forever has no more lines to wait for either.
        let _ = attempt(|| self.server.wait_until_asleep());
        self.show_server();
        let calls = self.trace.new_calls();
        self.pane(CALLS).lines.extend(calls);
        self.show_clients();
        self.missing(&step.results)
    }

    fn act(&mut self, action: &str) -> Result<()> {
        let (name, verb, text) = split(action);
        match (verb, text) {
            // The server has started already.
            ("$", _) => return Ok(()),
            ("gets", "SIGINT") => {
                attempt(|| self.server.interrupt())?;
                let status = attempt(|| self.server.expect_exit())?;
                let status = status.context("it was killed by the signal")?;
                self.show(SERVER, &format!("ends with {status}"));
                return Ok(());
            }
            ("connects", _) => {
                let client = attempt(|| self.server.connect(name))?;
                self.clients.insert(name.to_owned(), client.into_stream());
            }
            (">", _) => self
                .client(name)?
                .write_all(format!("{text}\n").as_bytes())?,
            (">>", _) => self.client(name)?.write_all(text.as_bytes())?,
            ("leaves", _) => drop(self.clients.remove(name)),
            _ => bail!("the tour cannot play this"),
        }
        self.show(name, without_name(action));
        Ok(())
    }

    fn client(&mut self, name: &str) -> Result<&mut TcpStream> {
        let client = self.clients.get_mut(name);
        client.context("its connection is closed")
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

    fn show_server(&mut self) {
        let stderr = self.server.stderr_lines().split_off(self.shown_stderr);
        let stdout = self.server.stdout_lines().split_off(self.shown_stdout);
        self.shown_stderr += stderr.len();
        self.shown_stdout += stdout.len();
        let errors = stderr.iter().map(|line| format!("! {line}"));
        let lines = errors.chain(stdout.iter().map(|line| format!("| {line}")));
        self.pane(SERVER).lines.extend(lines);
    }

    fn show_clients(&mut self) {
        for (name, mut stream) in mem::take(&mut self.clients) {
            let mut bytes = Vec::new();
            let is_set = stream.set_read_timeout(Some(GLANCE));
            let end = is_set.and_then(|()| stream.read_to_end(&mut bytes));
            for line in String::from_utf8_lossy(&bytes).lines() {
                self.show(&name, &format!("< {line}"));
            }
            match end {
                Ok(_) => self.show(&name, "closed"),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    drop(self.clients.insert(name, stream))
                }
                Err(e) => self.show(&name, &e.to_string()),
            }
        }
    }

    /// Those results that the last step has not shown.
    fn missing<'a>(&mut self, results: &[&'a str]) -> Vec<&'a str> {
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
    result.map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        anyhow!(message.unwrap_or("a panic").to_owned())
    })
}
