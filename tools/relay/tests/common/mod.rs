//! NATS, servers and relays as processes.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the tests and the benchmark use them, each not all of them"
)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use course::test_runner::is_installed;
use rustix::process::{Pid, Signal, kill_process};
use shared_testkit::{skip, wait_until};
use socket2::{Domain, Socket, Type};

pub const RELAY: &str = env!("CARGO_BIN_EXE_relay");

/// A program that prints to stderr. It is killed when this is dropped.
pub struct Process {
    child: Child,
    /// What it has printed, and no call of [`Process::expect`] has returned.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn start(program: impl AsRef<Path>, arguments: &[impl AsRef<OsStr>]) -> Process {
        let mut child = Command::new(program.as_ref())
            .args(arguments)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let all = Arc::clone(&lines);
        // It ends with the process.
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                all.lock().unwrap().push(line);
            }
        });
        Process { child, lines }
    }

    pub fn relay(server: SocketAddr, urls: &str) -> Process {
        let relay = Process::start(RELAY, &[&server.to_string(), urls]);
        relay.expect("Relaying ");
        relay
    }

    /// Waits for a line that has this part, and that no call has returned before.
    #[track_caller]
    pub fn expect(&self, part: &str) -> String {
        let mut found = None;
        wait_until(|| {
            let mut lines = self.lines.lock().unwrap();
            let index = lines.iter().position(|line| line.contains(part));
            found = index.map(|index| lines.remove(index));
            found.is_some()
        });
        let others = self.lines.lock().unwrap();
        found.unwrap_or_else(|| panic!("no {part:?}, but {others:#?}"))
    }

    /// How many lines a relay has reported as lost at this place.
    pub fn lost(&self, place: &str) -> usize {
        let report = format!("Lines lost {place}: ");
        let lines = self.lines.lock().unwrap();
        let counts = lines.iter().filter_map(|line| line.strip_prefix(&report));
        counts.map(|count| count.parse::<usize>().unwrap()).sum()
    }

    /// Waits until a relay has reported so many lines as lost at this place.
    #[track_caller]
    pub fn expect_lost(&self, place: &str, lines: usize) {
        let is_reported = wait_until(|| self.lost(place) == lines);
        let reported = self.lost(place);
        assert!(is_reported, "{lines} lost {place}, {reported} reported");
    }

    /// The CPU time that all its threads have used, as the scheduler counts it.
    pub fn cpu_time(&self) -> Duration {
        let process = procfs::process::Process::new(self.child.id() as i32).unwrap();
        let tasks = process.tasks().unwrap().map_while(Result::ok);
        let nanoseconds = tasks.map(|task| task.schedstat().unwrap().sum_exec_runtime);
        Duration::from_nanos(nanoseconds.sum())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills it, and waits until it has ended.
    pub fn kill(&mut self) {
        // Either fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has exited by itself, and returns its status.
    pub fn expect_exit(&mut self) -> Option<i32> {
        wait_until(|| self.child.try_wait().unwrap().is_some());
        let status = self.child.try_wait().unwrap();
        status.expect("it still runs").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that the kernel has chosen and keeps for us: a server can listen there, end, and come back. No
/// other program gets it meanwhile, because a socket of ours is bound to it, and does not listen.
pub struct Port {
    pub address: SocketAddr,
    _socket: Socket,
}

impl Port {
    pub fn new() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        Port {
            address: socket.local_addr().unwrap().as_socket().unwrap(),
            _socket: socket,
        }
    }
}

/// A NATS server.
pub struct Nats {
    port: Port,
    arguments: Vec<String>,
    pub process: Process,
    monitor: String,
}

impl Nats {
    /// `None` if there is none on this machine: the calling test is reported as skipped.
    pub fn start(arguments: &[&str]) -> Option<Nats> {
        if !is_installed("nats-server") {
            skip("there is no nats-server");
            return None;
        }
        let port = Port::new();
        let ours = format!("-a 127.0.0.1 -p {} -m -1", port.address.port());
        let arguments = ours.split(' ').chain(arguments.iter().copied());
        let arguments: Vec<_> = arguments.map(str::to_owned).collect();
        let mut nats = Nats {
            process: Process::start("nats-server", &arguments),
            port,
            arguments,
            monitor: String::new(),
        };
        nats.wait_until_ready();
        Some(nats)
    }

    /// Starts it again on the same port. It has been killed or ends now.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = Process::start("nats-server", &self.arguments);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let line = self.process.expect("Starting http monitor on ");
        self.monitor = line.rsplit(' ').next().unwrap().to_owned();
        self.process.expect("Server is ready");
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address)
    }

    /// Waits until there are so many subscriptions: of relays (`connz`), or of other servers of the cluster
    /// that have asked for what is published here (`routez`).
    #[track_caller]
    pub fn expect_subscriptions(&self, name: &str, count: usize) {
        let mut page = String::new();
        let is_reached = wait_until(|| {
            page.clear();
            let mut monitor = TcpStream::connect(&self.monitor).unwrap();
            write!(monitor, "GET /{name}?subs=1 HTTP/1.0\r\n\r\n").unwrap();
            monitor.read_to_string(&mut page).unwrap();
            page.matches("\"chat\"").count() == count
        });
        assert!(is_reached, "{count} subscriptions were expected: {page}");
    }

    /// Waits until it tells its clients of another server of the cluster.
    #[track_caller]
    pub fn expect_peer(&self, other: &Nats) {
        let address = other.port.address.to_string();
        let mut info = String::new();
        let is_known = wait_until(|| {
            info.clear();
            BufReader::new(self.connect()).read_line(&mut info).unwrap();
            info.contains(&address)
        });
        assert!(is_known, "{address} is not in {info}");
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.port.address).unwrap()
    }

    /// Publishes lines as any program can, each with the subject of an answer, or none.
    pub fn publish<'a>(&self, lines: impl IntoIterator<Item = (String, &'a str)>) {
        let mut commands = "CONNECT {\"verbose\":false}\r\n".to_owned();
        for (answer, line) in lines {
            commands += &format!("PUB chat {answer} {}\r\n{line}\r\n", line.len());
        }
        let mut publisher = self.connect();
        // The answer to this comes when all of them have arrived.
        write!(publisher, "{commands}PING\r\n").unwrap();
        let lines = BufReader::new(publisher).lines().map(Result::unwrap);
        assert!(lines.into_iter().any(|line| line == "PONG"));
    }
}
