//! Plays a scene with a real server.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::Duration;

use shared_testkit::{Server, wait_until};

use crate::record::calls::{Call, TRACED};
use crate::record::source::Source;
use crate::record::state::State;
use crate::record::trace::{Step, Trace, cut};
use crate::record::{Line, Scene, proof};
use crate::suite;
use crate::workspace::root;

/// A run of more equal calls than this is one step.
const FOLDED: usize = 8;

/// How many calls of a server that never comes to rest are shown.
const SPINS: usize = 6;

/// How long a client waits for the server.
const PATIENCE: Duration = Duration::from_secs(20);

/// Records a scene. `None` where `strace` is not installed or not allowed.
///
/// # Panics
///
/// If the program cannot be built, if what it does differs from the computed state, or if the script
/// names what does not happen.
#[must_use]
pub fn record(scene: &Scene) -> Option<Trace> {
    let source = Source::of(&scene.program);
    let mut stage = Stage::start(scene)?;
    for (index, line) in scene.script.iter().enumerate() {
        if let Some(action) = &line.action {
            let from = stage.steps.len();
            stage.act(action);
            stage.come_to_rest(from);
            stage.cursor = from;
        }
        stage
            .annotate(line)
            .unwrap_or_else(|e| panic!("{}, line {index} of the script: {e}", scene.name));
    }
    let mut steps = std::mem::take(&mut stage.steps);
    for step in steps.iter_mut().filter(|step| step.does.is_none()) {
        step.line = Some(source.line(step).unwrap_or_else(|e| panic!("{e}")));
    }
    Some(Trace {
        scene: scene.name.clone(),
        title: scene.title.clone(),
        program: scene.program.clone(),
        source: source.path,
        kernel: kernel_release(),
        clients: scene.clients.clone(),
        steps,
    })
}

struct Stage {
    server: Server,
    /// The file that strace writes, and how much of it has been read.
    calls: PathBuf,
    seen: usize,
    /// The beginning of a call that has not returned, after which another thread's call follows.
    unfinished: String,
    is_stopped: bool,
    clients: BTreeMap<String, TcpStream>,
    state: State,
    steps: Vec<Step>,
    /// Where the next caption is looked for.
    cursor: usize,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nothing depends on it: it is in the folder for temporary files.
        let _ = fs::remove_file(&self.calls);
    }
}

impl Stage {
    fn start(scene: &Scene) -> Option<Stage> {
        let name = format!("trace-{}-{}", process::id(), scene.name);
        let calls = env::temp_dir().join(name);
        let output = format!("--output={}", calls.display());
        let (kind, arguments) = scene
            .program
            .split_once(' ')
            .unwrap_or((&scene.program, ""));
        let program = match kind {
            "mistaken" => suite::program("book-checks"),
            "chat.c" => compiled("chat.c"),
            milestone => suite::program(milestone),
        };
        let mut builder = Server::builder(&program);
        for argument in arguments.split_whitespace() {
            builder = builder.argument(argument);
        }
        let builder = builder.under_strace(&[TRACED, &output, "--string-limit=200"])?;
        let mut stage = Stage {
            server: builder.start(),
            calls,
            seen: 0,
            unfinished: String::new(),
            is_stopped: false,
            clients: BTreeMap::new(),
            state: State::default(),
            steps: Vec::new(),
            cursor: 0,
        };
        stage.server.wait_until_asleep();
        let start = stage
            .new_lines()
            .iter()
            .filter_map(|line| Call::parse(line))
            .collect::<Vec<_>>();
        stage.state = State::new(&start, &scene.program);
        Some(stage)
    }

    fn act(&mut self, action: &str) {
        let words: Vec<_> = action.splitn(3, ' ').collect();
        let step = match words[..] {
            ["server", "stops"] => self.signal("STOP", "stopped"),
            ["server", "spins"] => self.spin(),
            ["server", "continues"] => self.signal("CONT", "continued"),
            [name, "connects"] => self.connect(name),
            // As long as it does not call `read`, it has stopped.
            [name, "stops", "reading"] => did(name, "stops reading"),
            [name, "sends", text] => self.send(name, text),
            [name, "receives"] => self.receive(name),
            [name, "leaves"] => self.leave(name),
            _ => panic!("{action:?} is no action"),
        };
        self.push(step);
    }

    fn connect(&mut self, name: &str) -> Step {
        let client = TcpStream::connect(self.server.address()).expect("the server listens");
        let port = client.local_addr().expect("it is connected").port();
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&client, Some(PATIENCE)).expect("the timeout is not zero");
        }
        self.clients.insert(name.to_owned(), client);
        self.state.connects(name, port);
        did(name, "connects")
    }

    /// Sends a text with `\n` for a newline, or `N bytes` or `N lines` of 64,000 bytes.
    fn send(&mut self, name: &str, text: &str) -> Step {
        let line = |bytes: usize| "x".repeat(bytes - 1) + "\n";
        let text = match text
            .split_once(' ')
            .map(|(count, what)| (count.parse(), what))
        {
            Some((Ok(count), "bytes")) => line(count),
            Some((Ok(count), "lines")) => line(64_000).repeat(count),
            _ => text.replace("\\n", "\n"),
        };
        // It blocks until all is in the kernel's buffers, and so may last until the server reads.
        self.socket(name)
            .write_all(text.as_bytes())
            .expect("the server reads");
        self.state.sends(name, text.as_bytes());
        moved(name, "sends", text.as_bytes())
    }

    /// Receives everything that the server has written.
    fn receive(&mut self, name: &str) -> Step {
        let mut bytes = vec![0; self.state.clients[name].on_the_way()];
        self.socket(name)
            .read_exact(&mut bytes)
            .expect("it is on its way");
        self.state.receives(name, bytes.len());
        moved(name, "receives", &bytes)
    }

    fn leave(&mut self, name: &str) -> Step {
        self.socket(name)
            .shutdown(Shutdown::Write)
            .expect("it is connected");
        self.state.ends(name);
        did(name, "leaves")
    }

    fn socket(&mut self, name: &str) -> &mut TcpStream {
        let socket = self.clients.get_mut(name);
        socket.expect("there is a client of this name")
    }

    /// Stopped by strace, it is not in the state for which the testkit waits.
    fn signal(&mut self, signal: &str, does: &str) -> Step {
        let kill = Command::new("kill")
            .args(["-s", signal, &self.pid()])
            .status();
        assert!(kill.is_ok_and(|status| status.success()), "the server runs");
        self.is_stopped = signal == "STOP";
        did("server", does)
    }

    /// Continues, and stops it again after some calls: it would never come to rest.
    fn spin(&mut self) -> Step {
        let step = self.signal("CONT", "continued");
        self.push(step);
        let calls = |stage: &Stage| stage.trace()[stage.seen..].matches(" = ").count();
        assert!(
            wait_until(|| calls(self) > 2 * SPINS),
            "the server does not spin"
        );
        let step = self.signal("STOP", "stopped");
        assert!(
            wait_until(|| self.has_stopped()),
            "the server does not stop"
        );
        let lines = self.new_lines();
        for call in lines
            .iter()
            .filter_map(|line| Call::parse(line))
            .take(SPINS)
        {
            let step = self.state.call(&call);
            step.into_iter().for_each(|step| self.push(step));
        }
        step
    }

    fn has_stopped(&self) -> bool {
        let (trace, pid) = (self.trace(), self.pid());
        let mut own = trace.lines().filter(|line| line.starts_with(&pid));
        own.next_back()
            .is_some_and(|line| line.ends_with("--- stopped by SIGSTOP ---"))
    }

    fn pid(&self) -> String {
        let calls = self.trace();
        calls
            .split(' ')
            .next()
            .expect("the server has made a call")
            .to_owned()
    }

    fn trace(&self) -> String {
        fs::read_to_string(&self.calls).expect("strace writes it")
    }

    /// The lines that strace has completed since the last time, of the first thread. Milestone 5 has
    /// others, which print.
    fn new_lines(&mut self) -> Vec<String> {
        let (trace, pid) = (self.trace(), self.pid());
        let end = trace.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = Vec::new();
        for line in trace[self.seen..end].lines() {
            if !line.starts_with(&pid) {
                continue;
            }
            if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
                self.unfinished = beginning.to_owned();
            } else if let Some((_, rest)) = line.split_once(" resumed>") {
                lines.push(std::mem::take(&mut self.unfinished) + rest);
            } else {
                lines.push(line.to_owned());
            }
        }
        self.seen = end;
        lines
    }

    fn push(&mut self, mut step: Step) {
        step.kernel = self.state.kernel();
        step.server = self.state.program();
        self.steps.push(step);
    }

    /// Takes the server's calls until it is at rest and the kernel agrees, then completes the steps
    /// since the last time.
    fn come_to_rest(&mut self, from: usize) {
        let mut difference = String::new();
        let mut is_at_rest = || match self.compare() {
            Ok(()) => true,
            Err(e) => {
                difference = e;
                false
            }
        };
        assert!(
            wait_until(&mut is_at_rest),
            "the server is not at rest: {difference}"
        );
        let mut steps = self.steps.split_off(from);
        for step in &mut steps {
            for (name, socket) in &mut step.kernel.sockets {
                let on_the_way = socket.unsent + socket.at_client;
                let room = self.state.clients[name].room_at_client;
                socket.at_client = on_the_way.min(room.unwrap_or(on_the_way));
                socket.unsent = on_the_way - socket.at_client;
            }
        }
        self.steps.extend(match self.state.is_hardened {
            true => fold_turns(steps),
            false => fold(steps),
        });
    }

    fn compare(&mut self) -> Result<(), String> {
        if !self.is_stopped {
            self.server.wait_until_asleep();
        }
        for line in self.new_lines() {
            let call = Call::parse(&line);
            if let Some(step) = call.and_then(|call| self.state.call(&call)) {
                self.push(step);
            }
        }
        if self.is_stopped && !self.has_stopped() {
            return Err("it is not stopped".to_owned());
        }
        if !self.is_stopped && !self.state.is_at_rest() {
            return Err("an event is on the ready list".to_owned());
        }
        let (pid, port) = (self.pid(), self.server.address().port());
        proof::compare(&mut self.state, &pid, port)
    }

    /// Gives the next step that is meant its caption and its question.
    fn annotate(&mut self, line: &Line) -> Result<(), String> {
        let wanted = line.see.as_deref().unwrap_or_default();
        let mut rest = self.steps.iter().skip(self.cursor);
        let Some(offset) = rest.position(|step| step.label().starts_with(wanted)) else {
            let labels = self.steps[self.cursor..].iter().map(Step::label);
            return Err(format!(
                "no {wanted:?} in {:#?}",
                labels.collect::<Vec<_>>()
            ));
        };
        let step = &mut self.steps[self.cursor + offset];
        self.cursor += offset + 1;
        step.caption = line.say.clone().or(step.caption.take());
        step.ask = line.ask.clone().or(step.ask.take());
        Ok(())
    }
}

/// Compiles an example and returns its path, next to the workspace's own programs.
fn compiled(example: &str) -> PathBuf {
    let program = suite::program("book-checks").with_file_name(example.replace('.', "-"));
    let source = root().join("docs/examples").join(example);
    let gcc = Command::new("gcc")
        .args(["-std=c11", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(
        gcc.is_ok_and(|status| status.success()),
        "gcc compiles {example}"
    );
    program
}

/// The version of the running kernel without its patches: `Linux 6.18`.
pub(super) fn kernel_release() -> String {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel says its release");
    let parts: Vec<_> = release.split('.').take(2).collect();
    format!("Linux {}", parts.join("."))
}

fn did(actor: &str, does: &str) -> Step {
    Step {
        actor: actor.to_owned(),
        does: Some(does.to_owned()),
        ..Step::default()
    }
}

fn moved(actor: &str, does: &str, bytes: &[u8]) -> Step {
    Step {
        bytes: Some(bytes.len()),
        text: Some(cut(bytes)),
        ..did(actor, does)
    }
}

/// Makes one step of a long run of equal calls that moved bytes.
fn fold(steps: Vec<Step>) -> Vec<Step> {
    let is_equal = |a: &Step, b: &Step| {
        let moves = |step: &Step| step.result.as_ref().is_some_and(serde_json::Value::is_u64);
        a.call == b.call && a.on == b.on && moves(a) && moves(b)
    };
    let mut folded = Vec::new();
    for run in steps.chunk_by(is_equal) {
        match run.len() > FOLDED {
            true => folded.push(sum_of(run)),
            false => folded.extend_from_slice(run),
        }
    }
    folded
}

/// The same for milestone 5, which reads and writes in turn: of a run of both, one step for the reads
/// from each client and one for the writes to each, all with the states after the whole run. How the
/// kernel divides a flood into pieces is not the same each time.
fn fold_turns(steps: Vec<Step>) -> Vec<Step> {
    let moves = |step: &Step| {
        step.result
            .as_ref()
            .is_some_and(|result| result.as_u64() > Some(0))
    };
    let mut folded = Vec::new();
    for run in steps.chunk_by(|a, b| moves(a) && moves(b)) {
        let mut kinds: Vec<Vec<Step>> = Vec::new();
        for step in run {
            let mut known = kinds.iter_mut();
            match known.find(|kind| (&kind[0].call, &kind[0].on) == (&step.call, &step.on)) {
                Some(kind) => kind.push(step.clone()),
                None => kinds.push(vec![step.clone()]),
            }
        }
        let is_folded = kinds.len() < run.len();
        let last = &run[run.len() - 1];
        for kind in kinds {
            folded.push(match is_folded {
                false => kind[0].clone(),
                true => Step {
                    kernel: last.kernel.clone(),
                    server: last.server.clone(),
                    ..sum_of(&kind)
                },
            });
        }
    }
    folded
}

/// One step for a run of equal calls that moved bytes.
fn sum_of(run: &[Step]) -> Step {
    let counts = run.iter().filter_map(|step| step.result.as_ref()?.as_u64());
    let sum: u64 = counts.clone().sum();
    let largest = counts.max().expect("there is a run");
    Step {
        // How many there really were depends on how fast the bytes came.
        times: (run.len() > 1).then_some(sum.div_ceil(largest) as usize),
        result: Some(sum.into()),
        text: run[0].text.clone(),
        ..run[run.len() - 1].clone()
    }
}
