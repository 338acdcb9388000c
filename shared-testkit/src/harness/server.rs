//! A server under test: started, watched, and killed with the test.

use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use predicates::Predicate;
use predicates::ord::eq;
use predicates::str::starts_with;
use rustix::process::{Pid, Signal, kill_process};

use crate::failure;
use crate::harness::client::Client;
use crate::harness::port_lock::PortLock;
use crate::lines::{ACCEPTED, LISTENING, REGISTERED};
use crate::log::{INDENT, Kind, Log, SERVER};
use crate::proc::{Interest, epoll, process, socket};
use crate::skip::skip;
use crate::wait::{patience, wait_at_most, wait_until};

/// How often [`Server::expect_idle`] looks.
const LOOKS: u32 = 50;

/// How long it waits before each look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How long the pipes of a killed server may stay open. The kernel has closed its own ends.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A running server. It is killed when this is dropped, and if the test fails, the log is shown.
///
/// An assertion on the server's lines takes the first matching line that no assertion has asked for
/// before, wherever it is in the log: between two actions the order of a server's lines is free.
pub struct Server {
    child: Child,
    pid: Pid,
    address: SocketAddr,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    unread_stdout: Option<ChildStdout>,
    unread_stderr: Option<ChildStderr>,
    _lock: Option<PortLock>,
}

impl Server {
    // Starting.

    /// Takes charge of a server that has just been started.
    pub(crate) fn watch(mut child: Child, lock: Option<PortLock>, wants_free_port: bool) -> Server {
        let pid = Pid::from_child(&child);
        let log = Arc::new(Log::new(pid, wants_free_port));
        failure::watch(&log);
        Server {
            unread_stdout: child.stdout.take(),
            unread_stderr: child.stderr.take(),
            child,
            pid,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            readers: Vec::new(),
            log,
            _lock: lock,
        }
    }

    /// Waits until clients can connect: at the address that it prints, or at a fixed one.
    pub(crate) fn wait_until_ready(&mut self, fixed_address: Option<SocketAddr>) {
        self.address = match fixed_address {
            None => self.printed_address(),
            Some(address) => self.wait_for_listener(address),
        };
        self.log.set_address(self.address);
    }

    fn printed_address(&self) -> SocketAddr {
        let Some(line) = self
            .log
            .take_line(&[Kind::Stderr, Kind::Stdout], &starts_with(LISTENING))
        else {
            self.fail(
                "the server did not report where it listens",
                &format!("{LISTENING}ADDRESS, on stdout or stderr"),
            );
        };
        line.trim_start_matches(LISTENING)
            .parse()
            .unwrap_or_else(|e| panic!("the server printed {line:?}, which is no address: {e}"))
    }

    fn wait_for_listener(&self, address: SocketAddr) -> SocketAddr {
        wait_until(|| socket::is_listened_at(address) || !self.log.is_open());
        if !socket::is_listened_at(address) {
            let expected = format!("a listener on {address}");
            self.fail("the server does not listen", &expected);
        }
        address
    }

    /// Logs the server's stdout from now on, if it was left unread until now.
    pub fn read_stdout(&mut self) {
        if let Some(stdout) = self.unread_stdout.take() {
            self.readers.push(self.log.read_pipe(stdout, Kind::Stdout));
        }
    }

    /// The same for stderr.
    pub fn read_stderr(&mut self) {
        if let Some(stderr) = self.unread_stderr.take() {
            self.readers.push(self.log.read_pipe(stderr, Kind::Stderr));
        }
    }

    /// Logs the first line of a stderr that is left unread.
    pub(crate) fn read_line_of_stderr(&self) {
        if let Some(stderr) = &self.unread_stderr {
            self.log.read_line(stderr, Kind::Stderr);
        }
    }

    /// Closes the read end of a stdout that was left unread: writing to it is an error now.
    pub fn close_stdout(&mut self) {
        self.note("loses the reader of its stdout");
        if self.unread_stdout.take().is_some() {
            self.log.pipe_ended();
        }
    }

    /// The same for stderr.
    pub fn close_stderr(&mut self) {
        self.note("loses the reader of its stderr");
        if self.unread_stderr.take().is_some() {
            self.log.pipe_ended();
        }
    }

    /// Where the server listens, as it reports itself.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    // Clients.

    /// Connects a client, and does not wait until the server notices.
    ///
    /// # Panics
    ///
    /// If the connection is refused or the deadline passes.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, name: &str) -> Client {
        Client::connect(name, self.address, None, Arc::clone(&self.log))
    }

    /// Connects a client and waits until the server has reported it as accepted and registered.
    ///
    /// Being connected is not enough for a test that goes on at once: the kernel connects a client
    /// before the server has accepted it, and a line sent now would not reach it.
    ///
    /// # Panics
    ///
    /// If the connection is refused, or the server does not report it until the deadline.
    #[must_use]
    #[track_caller]
    pub fn client(&self, name: &str) -> Client {
        self.registered(self.connect(name))
    }

    /// The same as [`Server::client`], with a receive buffer of about this many bytes (`SO_RCVBUF`,
    /// socket(7)): little is in flight to a client that does not read.
    ///
    /// # Panics
    ///
    /// As [`Server::client`].
    #[must_use]
    #[track_caller]
    pub fn client_with_receive_buffer(&self, name: &str, bytes: usize) -> Client {
        let log = Arc::clone(&self.log);
        self.registered(Client::connect(name, self.address, Some(bytes), log))
    }

    /// Waits until the server has registered a connected client.
    #[track_caller]
    fn registered(&self, mut client: Client) -> Client {
        let accepted = format!("{ACCEPTED}{}", client.address());
        // Other clients may connect at the same time: its token is in the next such line.
        let stdout = &[Kind::Stdout];
        let line = self.log.take(0, stdout, &eq(accepted.as_str()));
        let line =
            line.and_then(|(place, _)| self.log.take(place, stdout, &starts_with(REGISTERED)));
        let Some((_, line)) = line else {
            let title = format!("the server did not register {}", client.name());
            let expected = format!("| {accepted}\n{INDENT}| {REGISTERED}Token(…)");
            self.fail(&title, &expected);
        };
        client.token = Some(line.trim_start_matches(REGISTERED).to_owned());
        client
    }

    // What it prints.

    /// Waits for exactly this line on stdout.
    ///
    /// # Panics
    ///
    /// If it does not come until the deadline.
    #[track_caller]
    pub fn expect_line(&self, line: &str) {
        self.take(Kind::Stdout, &eq(line), line);
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

    /// Waits for a line on stdout that matches the predicate, and returns it.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[track_caller]
    pub fn expect_match(&self, wanted: impl Predicate<str>) -> String {
        self.take_match(Kind::Stdout, &wanted)
    }

    /// Waits for a line on stderr that matches the predicate, and returns it.
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
        // A predicate shows itself as a condition on `var`.
        let condition = wanted.to_string().replace("var", "line");
        self.take(kind, wanted, &format!("a line, where {condition}"))
    }

    #[track_caller]
    fn take(&self, kind: Kind, wanted: &impl Predicate<str>, expected: &str) -> String {
        self.log.take_line(&[kind], wanted).unwrap_or_else(|| {
            let title = "the server did not print what was expected";
            self.fail(title, &format!("{} {expected}", kind.mark()))
        })
    }

    /// Waits until the server is at rest: every line that it has printed by then, on stdout and
    /// stderr, must have been expected.
    ///
    /// # Panics
    ///
    /// If one was not, or if the server is busy until the deadline.
    #[track_caller]
    pub fn expect_no_more_lines(&self) {
        self.wait_until_asleep();
        if !self.log.unexpected_lines().is_empty() {
            self.fail("the server printed more than was expected", "nothing more");
        }
    }

    /// The same for stderr alone.
    ///
    /// # Panics
    ///
    /// As [`Server::expect_no_more_lines`].
    #[track_caller]
    pub fn expect_no_errors(&self) {
        self.wait_until_asleep();
        let mut lines = self.log.unexpected_lines().into_iter();
        if let Some(error) = lines.find(|line| line.starts_with(Kind::Stderr.mark())) {
            let title = "the server printed an error";
            failure::fail(&self.log, title, "nothing more on stderr", &error);
        }
    }

    /// Everything that the server has printed on stdout, asked for or not.
    #[must_use]
    pub fn stdout_lines(&self) -> Vec<String> {
        self.log.lines(Kind::Stdout)
    }

    /// Everything that the server has printed on stderr, asked for or not.
    #[must_use]
    pub fn stderr_lines(&self) -> Vec<String> {
        self.log.lines(Kind::Stderr)
    }

    /// How many bytes the server has reported as written to a client so far.
    #[must_use]
    pub fn bytes_written_to(&self, token: &str) -> usize {
        let after = format!(" bytes to {token}");
        let lines = self.stdout_lines();
        let counts = lines
            .iter()
            .filter_map(|line| line.strip_prefix("Wrote ")?.strip_suffix(&after));
        counts.filter_map(|count| count.parse::<usize>().ok()).sum()
    }

    // What it does.

    /// Waits until the server is at rest: every thread of it sleeps until something comes, and
    /// everything that it has printed is logged. Or until it has ended.
    ///
    /// # Panics
    ///
    /// If the server is busy until the deadline.
    #[track_caller]
    pub fn wait_until_asleep(&self) {
        if !wait_until(|| {
            self.log.is_flooding()
                || !self.log.is_open()
                || self.log.is_at_rest(|| process::is_asleep(self.pid))
        }) || self.log.is_flooding()
        {
            let received = format!("it was busy for {} s", patience().as_secs_f32());
            let expected = "that it sleeps until something comes";
            failure::fail(
                &self.log,
                "the server does not come to rest",
                expected,
                &received,
            );
        }
    }

    /// The server has nothing to do, and must sleep instead of looking for work all the time.
    ///
    /// Looks fifty times in half a second. A loop that spins is never asleep, whether it gets the
    /// CPU or has to wait for it, and uses all that it gets; one that sleeps wakes up now and then.
    /// The bounds are wide: asleep half of the times, and using less than half the time.
    ///
    /// # Panics
    ///
    /// If it does not sleep, or has ended.
    #[track_caller]
    pub fn expect_idle(&self) {
        let before = self.cpu_time();
        let mut asleep = 0;
        for _ in 0..LOOKS {
            // The one place with a clock: that nothing happens is no fact that can be waited for.
            thread::sleep(BETWEEN_LOOKS);
            asleep += u32::from(process::is_asleep(self.pid));
        }
        let used = self.cpu_time() - before;
        // On a busy machine one that wants to sleep may wait for the CPU first, and uses none.
        let is_awake = asleep < LOOKS / 2 && !used.is_zero();
        if is_awake || used > BETWEEN_LOOKS * LOOKS / 2 {
            let received = format!(
                "asleep {asleep} times of {LOOKS}, {} ms of CPU time",
                used.as_millis()
            );
            failure::fail(
                &self.log,
                "the server does not sleep",
                "a server at rest",
                &received,
            );
        }
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
            let received = format!("its end, with {status}");
            failure::fail(
                &self.log,
                "the server has ended",
                "a running server",
                &received,
            );
        }
    }

    /// Waits until the server has exited by itself, and returns its exit status. `None` if a signal
    /// has killed it.
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
            self.fail("the server did not exit", "its exit");
        }
        self.wait_for_readers();
        status.and_then(|status| status.code())
    }

    /// Until the server's last lines are logged. A process that it has started may hold its stdout or
    /// stderr open: that is no reason to wait forever.
    fn wait_for_readers(&self) {
        // Not `wait_until`, which panics if the scale of the deadlines is faulty: a test that has
        // found that out is on its way out here.
        let are_finished = || self.readers.iter().all(JoinHandle::is_finished);
        if !wait_at_most(LAST_PATIENCE, are_finished) {
            eprintln!("a process that the server has started still holds its stdout or stderr");
        }
    }

    /// Whether strace has made a system call of the server fail by now, as `--inject` asked it to. If
    /// not, because the server uses another call, reports the calling test as skipped.
    ///
    /// # Panics
    ///
    /// As [`Server::wait_until_asleep`] and [`skip`].
    #[must_use]
    #[track_caller]
    pub fn was_injected(&self) -> bool {
        self.wait_until_asleep();
        let was_injected = self
            .stderr_lines()
            .iter()
            .any(|call| call.contains("(INJECTED)"));
        if !was_injected {
            skip("this server uses another system call for that");
        }
        was_injected
    }

    /// Waits for a fact that nothing announces.
    ///
    /// # Panics
    ///
    /// If it does not hold until the deadline.
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !wait_until(condition) {
            self.fail("what was waited for did not happen", what);
        }
    }

    // Signals.

    /// Stops the server (`SIGSTOP`), so that whatever happens until [`Server::resume`] reaches it
    /// as one batch of events.
    ///
    /// # Panics
    ///
    /// If the server has ended, or does not stop until the deadline.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.wait_until("the server is stopped", || process::is_stopped(self.pid));
        self.note("is stopped");
    }

    /// Lets a stopped server continue (`SIGCONT`).
    ///
    /// # Panics
    ///
    /// If the server has ended.
    pub fn resume(&self) {
        self.note("continues");
        self.signal(Signal::CONT);
    }

    /// Asks the server to exit (`SIGTERM`), as a service manager does.
    ///
    /// # Panics
    ///
    /// If the server has ended.
    pub fn terminate(&self) {
        self.note("is asked to exit (SIGTERM)");
        self.signal(Signal::TERM);
    }

    /// Asks the server to exit (`SIGINT`), as Ctrl-C does.
    ///
    /// # Panics
    ///
    /// If the server has ended.
    pub fn interrupt(&self) {
        self.note("is asked to exit (SIGINT)");
        self.signal(Signal::INT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap_or_else(|e| panic!("cannot signal the server: {e}"));
    }

    /// Kills the server, which closes all its connections, and waits until it has ended.
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

    fn end(&mut self) {
        // A wrapper's children would outlive it and hold its pipes open. The number of a process
        // that has ended may be another's by now.
        let children = match self.child.try_wait() {
            Ok(None) => process::descendants(self.pid),
            _ => Vec::new(),
        };
        // These fail only if the server has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        self.wait_for_readers();
    }

    // What the kernel knows about it.

    /// The CPU time that the server has used so far, in steps of a clock tick (10 ms on Linux).
    ///
    /// # Panics
    ///
    /// If the server has ended.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        process::cpu_time(self.pid).expect("the server runs")
    }

    /// The server's resident memory, in bytes.
    ///
    /// # Panics
    ///
    /// If the server has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        process::memory(self.pid).expect("the server runs")
    }

    /// How many descriptors the server has open.
    ///
    /// # Panics
    ///
    /// If the server has ended.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        let descriptors = process::descriptors(self.pid).len();
        assert!(descriptors > 0, "the server runs");
        descriptors
    }

    /// The interest registered for a client, as the kernel has it, whatever library the server uses.
    /// `None` if the client's socket is closed or not registered.
    ///
    /// # Panics
    ///
    /// If the server has ended, or has no epoll instance.
    #[must_use]
    pub fn interest(&self, client: &Client) -> Option<Interest> {
        epoll::interest(self.pid, client.server_socket()?)
    }

    /// How many bytes are in the server's socket for a client and have not been read.
    ///
    /// # Panics
    ///
    /// If there is no such socket.
    #[must_use]
    pub fn unread_bytes(&self, client: &Client) -> usize {
        let connection = socket::connection(self.address, client.address());
        connection.expect("the connection is open").rx_queue as usize
    }

    // Failures.

    fn note(&self, text: &str) {
        self.log.add(SERVER, Kind::Done, text);
    }

    /// Fails with the server's lines that no assertion has asked for as what came instead.
    #[track_caller]
    fn fail(&self, title: &str, expected: &str) -> ! {
        let unexpected = self.log.unexpected_lines();
        let mut received = unexpected.iter().take(3).cloned().collect::<Vec<_>>();
        if unexpected.len() > received.len() {
            received.push(format!("(and {} more)", unexpected.len() - received.len()));
        }
        if received.is_empty() {
            received.push(self.silence());
        }
        let received = received.join(&format!("\n{INDENT}"));
        failure::fail(&self.log, title, expected, &received);
    }

    fn silence(&self) -> String {
        if !self.log.is_open() {
            return "nothing more: it has ended".to_owned();
        }
        let silence = format!("nothing more in {} s", patience().as_secs_f32());
        let is_read = self.unread_stdout.is_none();
        if is_read && self.stdout_lines().is_empty() {
            return format!("{silence}, and no line on stdout yet: does it flush them?");
        }
        silence
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
