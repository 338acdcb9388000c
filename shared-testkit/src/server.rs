//! A server under test: started, watched, and ended with the test.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use assert_cmd::assert::Assert;
use predicates::Predicate;
use predicates::ord::eq;
use predicates::str::starts_with;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::deadline::{patience, wait_at_most, wait_until};
use crate::environment::skip;
use crate::kernel::{self, Interest};
use crate::lessons;
use crate::port::{self, Turn};
use crate::program::Program;
use crate::timeline::{INDENT, Kind, READY, Timeline};

/// The name under which a server stands in the timeline.
const SERVER: &str = "server";

/// What a server says when it has registered a client, before the token.
const REGISTERED: &str = "Registered client with ";

/// How often [`Server::expect_idle`] looks.
const LOOKS: u32 = 50;

/// How long it waits before each look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How long the pipes of a server that was killed may stay open. The kernel has closed its own ends.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a program that is expected to end by itself, such as a server with a bad address.
///
/// The result has [`assert_cmd`]'s assertions on exit status, stdout and stderr. A program that
/// still runs at the deadline is killed, and counts as failed.
///
/// # Panics
///
/// If the program cannot be started.
pub fn run_to_exit<A>(program: impl Into<Program>, arguments: impl IntoIterator<Item = A>) -> Assert
where
    A: AsRef<OsStr>,
{
    lessons::teach();
    assert_cmd::Command::from_std(program.into().command())
        .args(arguments)
        .timeout(patience())
        .assert()
}

/// How to start a [`Server`], where [`Server::start`] does not say enough.
pub struct Builder {
    program: Program,
    address: String,
    descriptor_limit: Option<u32>,
    stdout_is_read: bool,
}

impl Builder {
    /// An argument to pass before the address.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Builder {
        self.program.arguments.push(argument.into());
        self
    }

    /// The address to pass as the last argument, instead of `127.0.0.1:0`.
    #[must_use]
    pub fn listen_on(mut self, address: impl Into<String>) -> Builder {
        self.address = address.into();
        self
    }

    /// How many file descriptors the server may have open at once (`RLIMIT_NOFILE`, getrlimit(2)).
    #[must_use]
    pub fn descriptor_limit(mut self, descriptors: u32) -> Builder {
        self.descriptor_limit = Some(descriptors);
        self
    }

    /// Leaves the server's stdout unread, a pipe that fills, until [`Server::read_stdout`] or
    /// [`Server::close_stdout`]. As long, no assertion on its lines can hold.
    #[must_use]
    pub fn leave_stdout_unread(mut self) -> Builder {
        self.stdout_is_read = false;
        self
    }

    /// Starts the server and waits until it says where it listens, on stderr or on stdout.
    ///
    /// With `SERVER_ADDR` set it waits for its turn first, and then until the kernel has a listener
    /// at that address.
    ///
    /// # Panics
    ///
    /// If the program cannot be started, ends, or is silent until the deadline; with `SERVER_ADDR`,
    /// if another program has that address.
    #[must_use]
    pub fn start(self) -> Server {
        lessons::server_starts();
        let turn = self.program.fixed_address.map(take_turn);
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.path.display()));

        let timeline = Arc::new(Timeline::new(2, Pid::from_child(&child)));
        lessons::watch(&timeline);
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut server = Server {
            readers: vec![log_lines(stderr, Kind::Stderr, &timeline)],
            unread_stdout: Some(stdout),
            pid: Pid::from_child(&child),
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            timeline,
            clients: Mutex::default(),
            _turn: turn,
        };
        if self.stdout_is_read {
            server.read_stdout();
        }
        server.address = match self.program.fixed_address {
            None => server.wait_until_ready(),
            Some(address) => server.wait_until_listening(address),
        };
        lessons::server_is_ready();
        server
    }

    fn command(&self) -> Command {
        let program = &self.program;
        let mut command = match self.descriptor_limit {
            None => Command::new(&program.path),
            // The shell lowers its own limit and then becomes the server.
            Some(limit) => {
                let mut shell = Command::new("sh");
                let become_the_server = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
                shell.arg("-c").arg(become_the_server).arg(&program.path);
                shell
            }
        };
        command.args(&program.arguments);
        if program.fixed_address.is_none() {
            command.arg(&self.address);
        }
        if let Some(directory) = &program.directory {
            command.current_dir(directory);
        }
        command
    }
}

fn take_turn(address: SocketAddr) -> Turn {
    let turn = port::wait_for_turn(address);
    if let Some(holder) = port::holder(address) {
        panic!("no server can be started at {address}: {holder} has it already");
    }
    turn
}

/// Moves what comes through a pipe into the timeline, line by line, so that the pipe never fills.
fn log_lines(
    pipe: impl Read + Send + 'static,
    kind: Kind,
    timeline: &Arc<Timeline>,
) -> JoinHandle<()> {
    let timeline = Arc::clone(timeline);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            timeline.add(SERVER, kind, text.trim_end_matches('\n'));
            line.clear();
        }
        timeline.pipe_ended();
    })
}

/// A running server. It is killed when this is dropped, and if the test fails, the log is shown.
///
/// An assertion on the server's lines takes the first such line that no assertion has asked for
/// before, wherever it stands: between two actions the order of a server's lines is free.
pub struct Server {
    child: Child,
    pid: Pid,
    address: SocketAddr,
    timeline: Arc<Timeline>,
    readers: Vec<JoinHandle<()>>,
    unread_stdout: Option<ChildStdout>,
    /// By the tokens that the server has said.
    clients: Mutex<HashMap<String, Registered>>,
    _turn: Option<Turn>,
}

/// What is known of a client that the server has registered.
struct Registered {
    address: SocketAddr,
    /// The number of the server's end of the connection. Looked up only once, because the kernel's
    /// table of sockets may be long.
    socket: Option<u64>,
}

impl Server {
    /// Starts a program with `127.0.0.1:0` as its only argument, so that the kernel chooses a free
    /// port, and waits until it says where it listens, on stderr or on stdout.
    ///
    /// # Panics
    ///
    /// If the program cannot be started, ends, or is silent until the deadline.
    #[must_use]
    pub fn start(program: impl Into<Program>) -> Server {
        Server::builder(program).start()
    }

    /// Starts with the defaults of [`Server::start`], to change some of them.
    #[must_use]
    pub fn builder(program: impl Into<Program>) -> Builder {
        Builder {
            program: program.into(),
            address: "127.0.0.1:0".to_owned(),
            descriptor_limit: None,
            stdout_is_read: true,
        }
    }

    /// Starts a server whose calls of `epoll_ctl(2)` are written to the file `calls`, a line each and
    /// each before the server goes on. `None` where there is no `strace`, or it is not
    /// allowed: the test is passed over then.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    #[must_use]
    pub fn start_traced(program: impl Into<Program>, calls: &Path) -> Option<Server> {
        let try_out = Command::new("strace")
            .args(["--daemonize", "--output", "/dev/null", "true"])
            .output();
        if !try_out.is_ok_and(|output| output.status.success()) {
            skip("strace is not installed, or not allowed");
            return None;
        }
        // `--daemonize` makes strace a child of the server, which stays the process we started.
        let arguments = ["--daemonize", "--trace=epoll_ctl", "--output"].map(OsString::from);
        let mut arguments = Vec::from(arguments);
        arguments.push(calls.into());
        let traced = program.into().started_by("strace", arguments);
        Some(Server::start(traced))
    }

    /// Reads the server's stdout from now on, if it was left unread until now.
    pub fn read_stdout(&mut self) {
        if let Some(stdout) = self.unread_stdout.take() {
            self.readers
                .push(log_lines(stdout, Kind::Stdout, &self.timeline));
        }
    }

    /// Closes the reading end of a stdout that was left unread: to write to it is an error now.
    pub fn close_stdout(&mut self) {
        self.note("has nobody who reads its stdout");
        if self.unread_stdout.take().is_some() {
            self.timeline.pipe_ended();
        }
    }

    fn wait_until_ready(&self) -> SocketAddr {
        let ready = starts_with(READY);
        let Some(line) = self.timeline.take_line_of_either_stream(&ready) else {
            self.fail(
                "the server did not say where it listens",
                "Listening on ADDRESS, on stdout or stderr",
            );
        };
        line.trim_start_matches(READY)
            .parse()
            .unwrap_or_else(|e| panic!("the server said {line:?}, which is no address: {e}"))
    }

    fn wait_until_listening(&self, address: SocketAddr) -> SocketAddr {
        let mut is_there = false;
        wait_until(|| {
            is_there = port::is_listened_at(address);
            is_there || !self.timeline.is_open()
        });
        if !is_there {
            self.fail(
                "the server does not listen",
                &format!("a listener on {address}"),
            );
        }
        address
    }

    /// Where the server listens, as it says itself.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects a client, and does not wait for the server to notice.
    ///
    /// # Panics
    ///
    /// If the connection is refused or the deadline passes.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, name: &str) -> Client {
        Client::connect(name, self.address, None, Arc::clone(&self.timeline))
    }

    /// Connects a client and waits until the server has said that it is accepted and registered.
    ///
    /// To be connected is not enough for a test that goes on at once: the kernel connects a client
    /// before the server has accepted it, and a line sent now would not reach it.
    ///
    /// # Panics
    ///
    /// If the connection is refused, or the server does not say so until the deadline.
    #[must_use]
    #[track_caller]
    pub fn client(&self, name: &str) -> Client {
        self.registered(self.connect(name))
    }

    /// The same as [`Server::client`], with a receive buffer of about so many bytes (`SO_RCVBUF`,
    /// socket(7)): little is on its way to a client that does not read.
    ///
    /// # Panics
    ///
    /// As [`Server::client`].
    #[must_use]
    #[track_caller]
    pub fn client_with_receive_buffer(&self, name: &str, bytes: usize) -> Client {
        let timeline = Arc::clone(&self.timeline);
        self.registered(Client::connect(name, self.address, Some(bytes), timeline))
    }

    /// Waits until the server has registered a client that is connected.
    #[track_caller]
    fn registered(&self, mut client: Client) -> Client {
        let accepted = format!("Accepted connection from {}", client.address());
        // The one follows the other at once: one thread says both.
        let lines = self
            .timeline
            .take_lines_in_order(&eq(accepted.as_str()), &starts_with(REGISTERED));
        let Some((_, line)) = lines else {
            let title = format!("the server did not register {}", client.name());
            let wanted = format!("| {accepted}\n{INDENT}| {REGISTERED}Token(…)");
            self.fail(&title, &wanted);
        };
        let token = line.trim_start_matches(REGISTERED);
        client.set_token(token);
        let registered = Registered {
            address: client.address(),
            socket: None,
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.insert(token.to_owned(), registered);
        drop(clients);
        client
    }

    /// Waits for exactly this line on stdout.
    ///
    /// # Panics
    ///
    /// If it does not come until the deadline.
    #[track_caller]
    pub fn expect_line(&self, line: &str) {
        if self.timeline.take_line(Kind::Stdout, &eq(line)).is_none() {
            self.fail(
                "the server did not say what was expected",
                &format!("| {line}"),
            );
        }
    }

    /// Waits for these lines on stdout, in any order.
    ///
    /// # Panics
    ///
    /// If one of them does not come until the deadline.
    #[track_caller]
    pub fn expect_lines<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        for line in lines {
            self.expect_line(line.as_ref());
        }
    }

    /// Waits for a line on stdout that the predicate holds for, and returns it.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[track_caller]
    pub fn expect_match(&self, wanted: impl Predicate<str>) -> String {
        self.take_match(Kind::Stdout, &wanted)
    }

    /// Waits for a line on stderr that the predicate holds for, and returns it.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[track_caller]
    pub fn expect_stderr(&self, wanted: impl Predicate<str>) -> String {
        self.take_match(Kind::Stderr, &wanted)
    }

    #[track_caller]
    fn take_match(&self, kind: Kind, wanted: &impl Predicate<str>) -> String {
        let line = self.timeline.take_line(kind, wanted);
        line.unwrap_or_else(|| {
            let expected = format!("{} a line with {wanted}", kind.mark());
            self.fail("the server did not say what was expected", &expected)
        })
    }

    /// Every line that the server has said so far must have been expected.
    ///
    /// # Panics
    ///
    /// If one was not.
    #[track_caller]
    pub fn expect_no_more_lines(&self) {
        if !self.timeline.unexpected_lines().is_empty() {
            self.fail("the server said more than was expected", "nothing more");
        }
    }

    /// Every line on stderr so far, `Listening on` aside, must have been expected.
    ///
    /// # Panics
    ///
    /// If one was not.
    #[track_caller]
    pub fn expect_no_errors(&self) {
        let lines = self.timeline.unexpected_lines();
        if let Some(line) = lines
            .iter()
            .find(|line| line.starts_with(Kind::Stderr.mark()))
        {
            self.fail_with("the server complains", "nothing more on stderr", line);
        }
    }

    /// All that the server has said on stdout, asked for or not.
    #[must_use]
    pub fn stdout_lines(&self) -> Vec<String> {
        self.timeline.lines(Kind::Stdout)
    }

    /// All that the server has said on stderr, asked for or not.
    #[must_use]
    pub fn stderr_lines(&self) -> Vec<String> {
        self.timeline.lines(Kind::Stderr)
    }

    /// How many bytes the server says that it has written to a client so far.
    #[must_use]
    pub fn bytes_written_to(&self, token: &str) -> usize {
        let after = format!(" bytes to {token}");
        let lines = self.stdout_lines();
        let counts = lines
            .iter()
            .filter_map(|line| line.strip_prefix("Wrote ")?.strip_suffix(&after));
        counts.filter_map(|count| count.parse::<usize>().ok()).sum()
    }

    /// Stops the server (`SIGSTOP`), so that whatever happens until [`Server::resume`] reaches it
    /// as one batch of events.
    ///
    /// # Panics
    ///
    /// If the server is gone, or does not stop until the deadline.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.wait_until("the server is stopped", || kernel::is_stopped(self.pid));
        self.note("is stopped");
    }

    /// Waits until the server sleeps: it has nothing to do until something comes.
    ///
    /// # Panics
    ///
    /// If the server is gone, or is busy until the deadline.
    #[track_caller]
    pub fn wait_until_asleep(&self) {
        self.wait_until("the server sleeps", || kernel::is_asleep(self.pid));
    }

    /// The server has nothing to do, and must sleep instead of looking for work all the time.
    ///
    /// Looks fifty times in half a second. A loop that spins is never asleep, whether it gets the
    /// CPU or has to wait for it, and uses all that it gets; one that sleeps wakes up now and then.
    /// The bounds are wide: it must be asleep half of the times, and use less than half the time.
    ///
    /// # Panics
    ///
    /// If it does not sleep, or is gone.
    #[track_caller]
    pub fn expect_idle(&self) {
        let before = self.cpu_time();
        let mut asleep = 0;
        for _ in 0..LOOKS {
            // The one place with a clock: that nothing goes on is no fact that can be waited for.
            thread::sleep(BETWEEN_LOOKS);
            asleep += u32::from(kernel::is_asleep(self.pid));
        }
        let used = self.cpu_time() - before;
        if asleep < LOOKS / 2 || used > BETWEEN_LOOKS * LOOKS / 2 {
            let received = format!(
                "asleep {asleep} times of {LOOKS}, {} ms of CPU time",
                used.as_millis()
            );
            self.fail_with("the server does not sleep", "a server at rest", &received);
        }
    }

    /// Lets a stopped server go on (`SIGCONT`).
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn resume(&self) {
        self.note("goes on");
        self.signal(Signal::CONT);
    }

    /// Asks the server to end (`SIGTERM`), as a service manager does.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn terminate(&self) {
        self.note("is asked to end (SIGTERM)");
        self.signal(Signal::TERM);
    }

    /// Asks the server to end (`SIGINT`), as Ctrl-C does.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn interrupt(&self) {
        self.note("is asked to end (SIGINT)");
        self.signal(Signal::INT);
    }

    /// Waits until the server has ended by itself, and returns its exit status. `None` if a signal
    /// has ended it.
    ///
    /// # Panics
    ///
    /// If it still runs at the deadline.
    #[track_caller]
    pub fn expect_exit(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let mut status = None;
        if !wait_until(|| {
            status = child.try_wait().expect("the server is our child");
            status.is_some()
        }) {
            self.fail("the server has not ended", "its end");
        }
        // What it said last is read before anybody asks for it.
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status.and_then(|status| status.code())
    }

    /// Sends the server a signal.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap_or_else(|e| panic!("cannot signal the server: {e}"));
    }

    /// Kills the server, which closes all its connections, and waits for its end.
    ///
    /// # Panics
    ///
    /// If the server had ended before.
    #[track_caller]
    pub fn kill(&mut self) {
        self.expect_running();
        self.note("is killed");
        self.end();
    }

    /// The server must still run.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[track_caller]
    pub fn expect_running(&mut self) {
        let status = self.child.try_wait().expect("the server is our child");
        if let Some(status) = status {
            self.fail_with(
                "the server has ended",
                "a running server",
                &format!("its end, with {status}"),
            );
        }
    }

    /// The CPU time that the server has used so far, in steps of a clock tick (10 ms on Linux).
    ///
    /// # Panics
    ///
    /// If the server is gone.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        kernel::cpu_time(self.pid)
    }

    /// The memory that the server has in use, in bytes (its resident set).
    ///
    /// # Panics
    ///
    /// If the server is gone.
    #[must_use]
    pub fn memory(&self) -> u64 {
        kernel::memory(self.pid)
    }

    /// How many descriptors the server has open.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        kernel::descriptors(self.pid)
    }

    /// What the server's epoll instance waits for on behalf of a client: the interest as the kernel
    /// has it. `None` if the client's socket is closed or not registered.
    ///
    /// A client of [`Server::client`] is looked up by its socket, whatever library the server uses.
    /// Where the server has not said the token, because its stdout is not read, it must use mio.
    ///
    /// # Panics
    ///
    /// If the server is gone, or has no epoll instance.
    #[must_use]
    pub fn interest(&self, token: &str) -> Option<Interest> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = clients.get_mut(token) else {
            return kernel::interest_under_token(self.pid, token);
        };
        if client.socket.is_none() {
            client.socket = kernel::socket(self.address, client.address);
        }
        kernel::interest_in_socket(self.pid, client.socket?)
    }

    /// Whether the server's socket for a client sends small pieces at once (`TCP_NODELAY`, tcp(7)).
    /// `None` where the kernel does not let us look (`pidfd_getfd(2)`, as in many containers): the
    /// test is passed over then.
    ///
    /// # Panics
    ///
    /// If the server has no connection with this client.
    #[must_use]
    pub fn has_nodelay(&self, client: &Client) -> Option<bool> {
        match kernel::has_nodelay(self.pid, client.address()) {
            Ok(nodelay) => Some(nodelay),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                skip(&format!("the server's socket cannot be looked at: {e}"));
                None
            }
            Err(e) => panic!("the server's socket for {}: {e}", client.name()),
        }
    }

    /// How many bytes wait in the server's socket for a client and were not read.
    ///
    /// # Panics
    ///
    /// If there is no such socket, or it is not IPv4.
    #[must_use]
    pub fn unread_bytes(&self, client: &Client) -> usize {
        kernel::unread_bytes(self.address, client.address())
    }

    /// Waits until a condition holds that nobody announces.
    ///
    /// # Panics
    ///
    /// If it does not hold until the deadline.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !wait_until(condition) {
            self.fail("what was waited for did not come about", what);
        }
    }

    fn note(&self, text: &str) {
        self.timeline.add(SERVER, Kind::Done, text);
    }

    /// Fails with the server's lines that nobody has asked for as what came instead.
    #[track_caller]
    fn fail(&self, title: &str, expected: &str) -> ! {
        let unexpected = self.timeline.unexpected_lines();
        let mut received = unexpected.iter().take(3).cloned().collect::<Vec<_>>();
        if unexpected.len() > received.len() {
            received.push(format!("(and {} more)", unexpected.len() - received.len()));
        }
        if received.is_empty() {
            received.push(self.silence());
        }
        self.fail_with(title, expected, &received.join(&format!("\n{INDENT}")));
    }

    fn silence(&self) -> String {
        if !self.timeline.is_open() {
            return "nothing more: it has ended".to_owned();
        }
        let silence = format!("nothing more in {} s", patience().as_secs_f32());
        let is_read = self.unread_stdout.is_none();
        if is_read && self.timeline.lines(Kind::Stdout).is_empty() {
            return format!("{silence}, and no line on stdout yet: does it flush them?");
        }
        silence
    }

    #[track_caller]
    fn fail_with(&self, title: &str, expected: &str, received: &str) -> ! {
        self.timeline.fail(title, expected, received);
    }

    fn end(&mut self) {
        // A wrapper's children would outlive it, and hold its pipes open. The number of a process that
        // has ended may be another's by now.
        let children = match self.child.try_wait() {
            Ok(None) => kernel::descendants(self.pid),
            _ => Vec::new(),
        };
        // What fails here, fails because the server has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        // Not `wait_until`, which panics where the scale of the deadlines is wrong: a test that has
        // found that out is on its way out here.
        let are_finished = || self.readers.iter().all(JoinHandle::is_finished);
        if !wait_at_most(LAST_PATIENCE, are_finished) {
            eprintln!("a process that the server has started still holds its stdout or stderr");
            return;
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
