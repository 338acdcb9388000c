//! What only the kernel knows about a running server, and waiting for it.

use std::thread;
use std::time::Duration;

use procfs::net::TcpNetEntry;

use crate::failure::{self, Expected, Look};
use crate::harness::client::Client;
use crate::harness::server::Server;
use crate::log::Deadline;
use crate::proc::{Interest, epoll, process, socket};
use crate::skip::skip;
use crate::wait::{PAUSE, patience};

/// How often [`Server::expect_idle`] looks.
const LOOKS: usize = 50;

/// How long it waits before each look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The start of a runtime takes less CPU time, with the compiling of what has run.
const MOST_OF_A_START: Duration = Duration::from_secs(2);

impl Server {
    /// Waits until the server is at rest: every thread of it sleeps until something comes, and
    /// everything that it has printed is logged. Or until it has ended.
    ///
    /// # Panics
    ///
    /// If the server is busy until the deadline.
    #[track_caller]
    pub fn wait_until_asleep(&self) {
        let is_at_rest = || self.log.is_at_rest(|| process::is_asleep(self.log.server));
        let is_done = || self.log.is_flooding() || !self.log.is_open() || is_at_rest();
        if !self.holds_in_time(is_done) || self.log.is_flooding() {
            let received = format!("it was busy for {} s", patience().as_secs_f32());
            let title = "the server does not come to rest";
            let wanted = "that it sleeps until something comes";
            failure::fail(&self.log, Expected::Other, title, wanted, &received);
        }
    }

    /// The server has nothing to do, and must sleep instead of looking for work all the time.
    ///
    /// Looks fifty times in half a second, and again until it sleeps at half of them: a runtime may compile
    /// for a while what has run, and a busy machine lets it wait for the CPU. A loop that spins is never
    /// asleep, whether it gets the CPU or not.
    ///
    /// # Panics
    ///
    /// If it does not sleep until the deadline, uses more CPU time than any start takes, or has ended.
    #[track_caller]
    pub fn expect_idle(&self) {
        let cpu_time = || process::cpu_time(self.log.server).expect("the server runs");
        let (mut deadline, before) = (Deadline::new(), cpu_time());
        loop {
            let looks = (0..LOOKS).filter(|_| {
                // The one place with a clock: that nothing happens is no fact that can be waited for.
                thread::sleep(BETWEEN_LOOKS);
                process::is_asleep(self.log.server)
            });
            let asleep = looks.count();
            if asleep >= LOOKS / 2 {
                return;
            }
            let used = cpu_time() - before;
            if used > MOST_OF_A_START || deadline.left(&self.log).is_none() {
                let used = used.as_millis();
                let received = format!("asleep {asleep} times of {LOOKS}, {used} ms of CPU time");
                let (title, wanted) = ("the server does not sleep", "a server at rest");
                failure::fail(&self.log, Expected::Idle, title, wanted, &received);
            }
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
        let calls = self.stderr_lines();
        let was_injected = calls.iter().any(|call| call.contains("(INJECTED)"));
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
        failure::looks(None);
        if !self.holds_in_time(condition) {
            self.fail(Expected::Fact, "what was waited for did not happen", what);
        }
    }

    pub(super) fn holds_in_time(&self, mut condition: impl FnMut() -> bool) -> bool {
        let mut deadline = Deadline::new();
        while !condition() {
            if deadline.left(&self.log).is_none() {
                return false;
            }
            thread::sleep(PAUSE);
        }
        true
    }

    /// The server's resident memory, in bytes.
    ///
    /// # Panics
    ///
    /// If the server has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        process::memory(self.log.server).expect("the server runs")
    }

    /// How many TCP sockets the server has open, its listener included. Other descriptors say nothing
    /// about its clients: a runtime opens files whenever it likes.
    #[must_use]
    pub fn tcp_sockets(&self) -> usize {
        let mut processes = process::descendants(self.log.server);
        processes.push(self.log.server);
        let sockets = processes.into_iter().map(socket::open_tcp).sum();
        failure::looks(Some(Look::Sockets(sockets)));
        sockets
    }

    /// The interest registered for a client, as the kernel has it, whatever library the server uses.
    /// `None` if the client's socket is closed or not registered.
    ///
    /// # Panics
    ///
    /// If the server has ended, or has no epoll instance.
    #[must_use]
    pub fn interest(&self, client: &Client) -> Option<Interest> {
        let descriptors = process::descriptors(self.log.server);
        let socket = socket::connection(self.address(), client.address());
        let interest = socket.and_then(|socket| epoll::interest(self.log.server, socket.inode));
        failure::looks(Some(Look::Interest(client.name().to_owned(), interest)));
        if !descriptors.iter().any(epoll::is_epoll) {
            let title = "the server has no epoll instance";
            self.fail(Expected::Fact, title, "what is registered there");
        }
        interest
    }

    /// How many bytes are in the server's socket for a client and have not been read.
    ///
    /// # Panics
    ///
    /// If there is no such socket.
    #[must_use]
    pub fn unread_bytes(&self, client: &Client) -> usize {
        let unread = self.connection_of(client).rx_queue as usize;
        failure::looks(Some(Look::Unread(unread)));
        unread
    }

    /// How many bytes are in the server's socket for a client, on their way or waiting for room.
    ///
    /// # Panics
    ///
    /// If there is no such socket.
    #[must_use]
    pub fn unsent_bytes(&self, client: &Client) -> usize {
        self.connection_of(client).tx_queue as usize
    }

    fn connection_of(&self, client: &Client) -> TcpNetEntry {
        let connection = socket::connection(self.address(), client.address());
        connection.expect("the connection is open")
    }
}
