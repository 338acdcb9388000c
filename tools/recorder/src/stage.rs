//! Plays a scene with a real server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use course::call::Call;
use course::strace::Strace;
use course::test_runner;
use course::transcript::split;
use shared_testkit::{Server, wait_until};

use crate::state::State;
use crate::trace::{Step, Trace, cut};
use crate::{Line, Scene, kernel_check};

/// A run of more equal calls than this is one step.
const FOLDED: usize = 8;

/// The descriptor of stderr.
const STDERR: usize = 2;

/// How many calls of a server that never comes to rest are shown.
const SPINS: usize = 6;

/// Records a scene. `None` where `strace` is not installed or not allowed.
///
/// # Panics
///
/// If the program cannot be built, if what it does differs from the computed state, or if the script
/// names what does not happen.
pub fn record(scene: &Scene) -> Option<Trace> {
    let mut trace = scene.trace.clone();
    trace.steps = Stage::play(&trace.program, &scene.script)?.steps;
    Some(trace)
}

/// The system calls that a milestone's first thread makes while two clients connect, one sends a line, and
/// both disconnect, as [`Call`] shows them. Its lines on stderr are left out. `None` as for [`record`].
///
/// # Panics
///
/// As [`record`].
pub fn calls(milestone: &str) -> Option<Vec<String>> {
    let actions = [
        "alice connects",
        "bob connects",
        "alice sends Hello from A\\n",
        "alice leaves",
        "bob leaves",
    ];
    let script = actions.map(|action| Line {
        action: Some(action.to_owned()),
        ..Line::default()
    });
    let Stage { strace, calls, .. } = Stage::play(milestone, &script)?;
    let is_on_stderr = |call: &Call| call.name == "write" && call.descriptor() == Some(STDERR);
    let calls = calls.iter().filter(|call| call.thread == strace.pid);
    let calls = calls.filter(|call| !is_on_stderr(call));
    Some(calls.map(Call::to_string).collect())
}

/// How often a scene is played before its script counts as wrong. A script expects one order in which a
/// line is written to several clients, and a hash map has another one in each process.
const PLAYED: usize = 16;

struct Stage {
    server: Server,
    strace: Strace,
    is_stopped: bool,
    clients: BTreeMap<String, TcpStream>,
    state: State,
    calls: Vec<Call>,
    steps: Vec<Step>,
    /// Where the next caption is looked for.
    cursor: usize,
}

impl Stage {
    fn play(program: &str, script: &[Line]) -> Option<Stage> {
        let mut error = String::new();
        for _ in 0..PLAYED {
            let mut stage = Stage::start(program)?;
            match stage.follow(script) {
                Ok(()) => return Some(stage),
                Err(e) => error = e,
            }
        }
        panic!("{program}, {error}");
    }

    fn follow(&mut self, script: &[Line]) -> Result<(), String> {
        for (index, line) in script.iter().enumerate() {
            if let Some(action) = &line.action {
                self.cursor = self.steps.len();
                self.act(action);
                self.come_to_rest();
            }
            let result = self.annotate(line);
            result.map_err(|e| format!("line {index} of the script: {e}"))?;
        }
        Ok(())
    }

    fn start(program: &str) -> Option<Stage> {
        // The kernel remembers how well earlier connections to an address did (ip-tcp_metrics(8)), and sizes
        // buffers by that. Without the right to flush it, a recording after much traffic may differ.
        let flush = ["tcp_metrics", "flush", "127.0.0.1"];
        let _ = Command::new("ip").args(flush).output();
        let mut words = program.split(' ');
        let path = match words.next().unwrap_or_default() {
            "chat.c" => test_runner::server_in_c(),
            program => test_runner::program(program),
        };
        let builder = Server::builder(&path);
        let builder = words.fold(builder, |builder, word| builder.argument(word));
        let (server, mut strace) = Strace::start(builder)?;
        server.wait_until_asleep();
        Some(Stage {
            calls: strace.new_calls(),
            server,
            strace,
            is_stopped: false,
            clients: BTreeMap::new(),
            state: State::new(program),
            steps: Vec::new(),
            cursor: 0,
        })
    }

    fn act(&mut self, action: &str) {
        let (name, verb, text) = split(action);
        match (name, verb) {
            ("server", "stops") => self.stop(),
            ("server", "spins") => self.spin(),
            ("server", "continues") => self.resume(),
            (_, "connects") => self.connect(name),
            (_, "sends") => self.send(name, text),
            (_, "receives") => self.receive(name),
            // As long as it does not call `read`, it has stopped.
            (_, "stops") => self.did(name, "stops reading", None),
            (_, "leaves") => self.leave(name),
            _ => panic!("{action:?} is no action"),
        }
    }

    fn connect(&mut self, name: &str) {
        let client = self.server.connect(name);
        self.state.connects(name, client.address().port());
        self.clients.insert(name.to_owned(), client.into_stream());
        self.did(name, "connects", None);
    }

    /// Sends a text with `\n` for a newline, or `N bytes` or `N lines` of 64,000 bytes.
    fn send(&mut self, name: &str, text: &str) {
        let line = |bytes: usize| "x".repeat(bytes - 1) + "\n";
        let (count, what) = text.split_once(' ').unwrap_or_default();
        let text = match (count.parse(), what) {
            (Ok(count), "bytes") => line(count),
            (Ok(count), "lines") => line(64_000).repeat(count),
            _ => text.replace("\\n", "\n"),
        };
        // It blocks until all is in the kernel's buffers, and so may last until the server reads.
        let sent = (&self.clients[name]).write_all(text.as_bytes());
        sent.expect("the server reads");
        self.state.client(name).sends(text.as_bytes());
        self.did(name, "sends", Some(text.as_bytes()));
    }

    /// Receives everything that the server has written.
    fn receive(&mut self, name: &str) {
        let mut bytes = vec![0; self.state.clients[name].socket.unsent];
        let received = (&self.clients[name]).read_exact(&mut bytes);
        received.expect("it is on its way");
        self.state.client(name).receives();
        self.did(name, "receives", Some(&bytes));
    }

    fn leave(&mut self, name: &str) {
        // It fails only if the server has closed the connection.
        let _ = self.clients[name].shutdown(Shutdown::Write);
        self.state.client(name).ends();
        self.did(name, "leaves", None);
    }

    /// Stopped by strace, it is not in the state for which the testkit's `stop` waits.
    fn stop(&mut self) {
        let kill = ["-s", "STOP", &self.strace.pid];
        let status = Command::new("kill").args(kill).status();
        assert!(status.is_ok_and(|status| status.success()), "it runs");
        self.is_stopped = true;
        self.did("server", "stopped", None);
    }

    fn resume(&mut self) {
        self.server.resume();
        self.is_stopped = false;
        self.did("server", "continued", None);
    }

    /// Continues, and stops it again after some calls: it would never come to rest.
    fn spin(&mut self) {
        self.resume();
        let mut calls = Vec::new();
        let spins = wait_until(|| {
            calls.extend(self.strace.new_calls());
            calls.len() > 2 * SPINS
        });
        assert!(spins, "the server does not spin");
        calls.truncate(SPINS);
        self.take(calls);
        self.stop();
        // The calls until then are left out.
        wait_until(|| self.strace.new_calls().is_empty() && self.strace.is_stopped);
    }

    fn did(&mut self, actor: &str, does: &str, bytes: Option<&[u8]>) {
        self.push(Step {
            actor: actor.to_owned(),
            does: Some(does.to_owned()),
            bytes: bytes.map(<[u8]>::len),
            text: bytes.map(cut),
            ..Step::default()
        });
    }

    fn take(&mut self, calls: Vec<Call>) {
        for call in calls {
            if let Some(step) = self.state.call(&call) {
                let actor = "server".to_owned();
                self.push(Step { actor, ..step });
            }
            self.calls.push(call);
        }
    }

    fn push(&mut self, mut step: Step) {
        step.kernel = self.state.kernel();
        step.server = self.state.program();
        self.steps.push(step);
    }

    /// Takes the server's calls until it is at rest and the kernel agrees, then completes the steps
    /// since the last time.
    fn come_to_rest(&mut self) {
        let mut compared = Ok(());
        let is_at_rest = wait_until(|| {
            compared = self.compare();
            compared.is_ok()
        });
        assert!(is_at_rest, "the server is not at rest: {compared:?}");
        let mut steps = self.steps.split_off(self.cursor);
        let sockets = steps.iter_mut().flat_map(|step| &mut step.kernel.sockets);
        for (name, socket) in sockets {
            let room = self.state.clients[name].room_at_client;
            socket.at_client = socket.unsent.min(room.unwrap_or(usize::MAX));
            socket.unsent -= socket.at_client;
        }
        self.steps.extend(fold(&steps, self.state.is_hardened));
    }

    fn compare(&mut self) -> Result<(), String> {
        if !self.is_stopped {
            self.server.wait_until_asleep();
        }
        let mut calls = self.strace.new_calls();
        // Milestone 5 has other threads, which print.
        calls.retain(|call| call.thread == self.strace.pid);
        self.take(calls);
        if self.is_stopped && !self.strace.is_stopped {
            return Err("it is not stopped".to_owned());
        }
        if !self.is_stopped && !self.state.ready().is_empty() {
            return Err("an event is on the ready list".to_owned());
        }
        let port = self.server.address().port();
        kernel_check::compare(&mut self.state, &self.strace.pid, port)
    }

    /// Gives the next step that is meant its caption, its mark and its question.
    fn annotate(&mut self, line: &Line) -> Result<(), String> {
        let wanted = line.see.as_deref().unwrap_or_default();
        let mut steps = self.steps.iter_mut().skip(self.cursor);
        let Some(offset) = steps.position(|step| step.label().starts_with(wanted)) else {
            let labels: Vec<_> = self.steps[self.cursor..].iter().map(Step::label).collect();
            return Err(format!("no {wanted:?} in {labels:#?}"));
        };
        let step = &mut self.steps[self.cursor + offset];
        self.cursor += offset + 1;
        step.caption.clone_from(&line.say);
        step.mark.clone_from(&line.mark);
        step.ask.clone_from(&line.ask);
        Ok(())
    }
}

/// Makes one step of a long run of equal calls that moved bytes. Milestone 5 reads and writes in turn:
/// of a run of both, however long, one step for the reads from each client and one for the writes to
/// each. How the kernel divides a flood into pieces is not the same each time.
fn fold(steps: &[Step], takes_turns: bool) -> Vec<Step> {
    let is_alike = |a: &Step, b: &Step| (&a.call, &a.on) == (&b.call, &b.on);
    let is_run =
        |a: &Step, b: &Step| a.moved() > 0 && b.moved() > 0 && (takes_turns || is_alike(a, b));
    let mut folded = Vec::new();
    for run in steps.chunk_by(is_run) {
        let mut sorted: Vec<_> = run.iter().collect();
        sorted.sort_by_key(|step| run.iter().position(|first| is_alike(first, step)));
        let kinds: Vec<_> = sorted.chunk_by(|a, b| is_alike(a, b)).collect();
        let most = if takes_turns { kinds.len() } else { FOLDED };
        if run.len() <= most {
            folded.extend_from_slice(run);
            continue;
        }
        for kind in kinds {
            let sum: usize = kind.iter().map(|step| step.moved()).sum();
            let largest = kind.iter().map(|step| step.moved()).max();
            // How many there really were depends on how fast the bytes came.
            let times = largest.map(|largest| sum.div_ceil(largest));
            folded.push(Step {
                times: times.filter(|_| !takes_turns),
                result: Some(sum.into()),
                kernel: run[run.len() - 1].kernel.clone(),
                server: run[run.len() - 1].server.clone(),
                ..kind[0].clone()
            });
        }
    }
    folded
}
