//! A server under test: started, watched, and killed with the test.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use predicates::ord::eq;
use predicates::str::starts_with;
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{self, Expected, Look};
use crate::harness::client::Client;
use crate::lines::{ACCEPTED, LISTENING, REGISTERED};
use crate::log::{INDENT, Kind, Log, SERVER};
use crate::proc::{process, socket};
use crate::wait::{wait_at_most, wait_until};

/// How long the pipes of a killed server may stay open. The kernel has closed its own ends.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A running server. It is killed when this is dropped, and if the test fails, the log is shown.
///
/// An assertion on the server's lines takes the first matching line that no assertion has asked for
/// before, wherever it is in the log: between two actions the order of a server's lines is free.
pub struct Server {
    pub(super) child: Child,
    pub(super) log: Arc<Log>,
    _port: Option<File>,
}

impl Server {
    // Starting.

    /// Takes charge of a server that has just been started. What is left unread is read once.
    pub(crate) fn watch(mut child: Child, port: Option<File>, log: Log, unread: &[Kind]) -> Server {
        let log = Arc::new(log);
        failure::watch(&log);
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        let server = Server {
            child,
            log,
            _port: port,
        };
        for (kind, pipe) in [(Kind::Stdout, stdout), (Kind::Stderr, stderr)] {
            let pipe = pipe.expect("it is piped");
            server.log.add_pipe(kind, pipe, !unread.contains(&kind));
        }
        server
    }

    /// Waits until clients can connect: at the address that it prints, or at a fixed one.
    pub(crate) fn wait_until_ready(&self, fixed_address: Option<SocketAddr>) {
        let address = match fixed_address {
            None => self.printed_address(),
            Some(address) => self.wait_for_listener(address),
        };
        let _ = self.log.address.set(address);
    }

    fn printed_address(&self) -> SocketAddr {
        let streams = [Kind::Stderr, Kind::Stdout];
        let line = self.log.take_line(&streams, &starts_with(LISTENING));
        let printed = line.map(|line| line.trim_start_matches(LISTENING).to_owned());
        let address = printed.as_deref().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| {
            let title = "the server did not report where it listens";
            let wanted = format!("{LISTENING}ADDRESS, on stdout or stderr");
            self.fail(Expected::Listening(printed), title, &wanted)
        })
    }

    fn wait_for_listener(&self, address: SocketAddr) -> SocketAddr {
        let is_ready = || socket::is_listened_at(address);
        wait_until(|| is_ready() || !self.log.is_open());
        if !is_ready() {
            let wanted = format!("a listener on {address}");
            let expected = Expected::Listening(None);
            self.fail(expected, "the server does not listen", &wanted);
        }
        address
    }

    /// Logs from now on what was left unread until now.
    pub fn read_output(&self) {
        self.log.read_output();
    }

    /// Closes the read ends of what was left unread: writing there is an error now.
    pub fn close_output(&self) {
        self.note("loses the reader of its output");
        self.log.close_output();
    }

    /// Where the server listens, as it reports itself.
    ///
    /// # Panics
    ///
    /// If nothing has waited for that ([`Builder::spawn`](crate::Builder::spawn)).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let address = self.log.address.get();
        *address.expect("the server is ready")
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
        Client::connect(name, self.address(), None, Arc::clone(&self.log))
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
    /// socket(7)), and the segments of an Ethernet: little is in flight to a client that does not read.
    ///
    /// # Panics
    ///
    /// As [`Server::client`].
    #[must_use]
    #[track_caller]
    pub fn client_with_receive_buffer(&self, name: &str, bytes: usize) -> Client {
        let log = Arc::clone(&self.log);
        self.registered(Client::connect(name, self.address(), Some(bytes), log))
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
            let wanted = format!("| {accepted}\n{INDENT}| {REGISTERED}Token(…)");
            let expected = Expected::Registered(client.name().to_owned());
            self.fail(expected, &title, &wanted);
        };
        client.token = Some(line.trim_start_matches(REGISTERED).to_owned());
        client
    }

    // Ending.

    /// The server must still run.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[track_caller]
    pub fn expect_running(&mut self) {
        if self.log.ended().is_some() {
            self.fail(Expected::Other, "the server has ended", "a running server");
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
        self.holds_in_time(|| self.log.ended().is_some());
        let Some(end) = self.log.wait_for_end() else {
            self.fail(Expected::Exit, "the server did not exit", "its exit");
        };
        failure::looks(Some(Look::Exit(end.code())));
        end.code()
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
        // What it has printed until now is logged, too.
        self.wait_until("the server is stopped", || {
            self.log.is_at_rest(|| process::is_stopped(self.log.server))
        });
        self.note("is stopped");
    }

    /// Lets a stopped server continue (`SIGCONT`).
    ///
    /// # Panics
    ///
    /// If the server has ended, as for all signals.
    pub fn resume(&self) {
        self.note("continues");
        self.signal(Signal::CONT);
    }

    /// The process that was started. Under strace, it is the server still.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.log.server
    }

    /// Asks the server to exit (`SIGTERM`), as a service manager does.
    pub fn terminate(&self) {
        self.ask_to_end(Signal::TERM, "is asked to exit (SIGTERM)");
    }

    /// Asks the server to exit (`SIGINT`), as Ctrl-C does.
    pub fn interrupt(&self) {
        self.ask_to_end(Signal::INT, "is asked to exit (SIGINT)");
    }

    /// Tells the server that its terminal is gone (`SIGHUP`).
    pub fn hang_up(&self) {
        self.ask_to_end(Signal::HUP, "loses its terminal (SIGHUP)");
    }

    fn ask_to_end(&self, signal: Signal, note: &str) {
        self.note(note);
        self.log.is_asked_to_end.store(true, Relaxed);
        self.signal(signal);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.log.server, signal)
            .unwrap_or_else(|e| panic!("cannot signal the server: {e}"));
    }

    /// Kills the server and what it has started, and waits until its last lines are logged.
    pub fn kill(&mut self) {
        // Once is enough: afterwards its number may be another's.
        if self.log.end.get().is_some() {
            return;
        }
        // A wrapper's children would outlive it and hold its pipes open.
        let children = process::descendants(self.log.server);
        self.log.is_asked_to_end.store(true, Relaxed);
        // These fail only if the server has ended already.
        let _ = self.child.kill();
        let end = self.child.wait();
        let _ = end.map(|end| self.log.end.set(end));
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        // Not `wait_until`, which panics if the scale of the deadlines is faulty: a test that has
        // found that out is on its way out here. A process that the server has started may hold its
        // stdout or stderr open: that is no reason to wait forever.
        if !wait_at_most(LAST_PATIENCE, || !self.log.is_reading()) {
            eprintln!("a process that the server has started still holds its stdout or stderr");
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.log.add(SERVER, Kind::Done, text);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
