//! What is known about a server when a test fails: from the kernel, the log and the talk.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDInfo, FDTarget, LimitValue, Process};

use crate::env::SERVER_ADDR;
use crate::failure::diff::Talk;
use crate::lines::{ACCEPTED, REGISTERED};
use crate::log::{Kind, Log, RUNS, describe_end};
use crate::proc::process::Thread;
use crate::proc::{epoll, process, socket};
use crate::wait::PAUSE;

/// `EPOLLET` of Linux's eventpoll.h.
const EDGE_TRIGGERED: u32 = 1 << 31;

/// How many looks find out whether the server runs without a pause.
const LOOKS: usize = 12;

/// So much CPU time without a line is work for nothing.
const BUSY: Duration = Duration::from_millis(50);

/// What a test expected that has seen the server run without a pause (`expect_idle`).
const AT_REST: &str = "a server at rest";

/// How long a look at a running server takes at most. A busy machine may not get that far.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// That many lines that no action of the test explains say nothing new.
const AGAIN: usize = 100;

/// An address of IPv4: its table of sockets has those of IPv6, too.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The server's end of a connection, or its listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Socket {
    pub descriptor: i32,
    pub blocking: bool,
    /// What epoll reports about it (`EPOLLIN` and so on).
    pub interest: Option<u32>,
    /// Bytes, or the listener's pending connections.
    pub unread: usize,
    pub unsent: usize,
    /// The client has sent end of file.
    pub has_ended: bool,
}

impl Socket {
    pub fn is_level_triggered(&self) -> bool {
        self.interest
            .is_some_and(|events| events & EDGE_TRIGGERED == 0)
    }

    /// WRITABLE alone: what the client sends is not reported.
    pub fn is_write_only(&self) -> bool {
        self.interest
            .is_some_and(|events| events & epoll::EPOLLIN == 0 && events & epoll::EPOLLOUT != 0)
    }

    pub fn wants_to_write(&self) -> bool {
        self.interest
            .is_some_and(|events| events & epoll::EPOLLOUT != 0)
    }
}

/// A client of the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub name: String,
    /// As the server has reported it, such as `Token(1)`.
    pub token: Option<String>,
    pub sent: Vec<u8>,
    /// `None` if the server has not accepted it, or has closed it.
    pub socket: Option<Socket>,
    /// The server has closed the connection, and the client has not.
    pub is_closed_first: bool,
}

/// Everything that a rule may look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub is_starting: bool,
    /// It should refuse its arguments, with an error that has these words.
    pub refusal: Option<Vec<String>>,
    /// Its argument has port 0.
    pub wants_free_port: bool,
    /// At 127.0.0.1:8080, which is never the port that the kernel chooses.
    pub listens_at_default: bool,
    pub has_ended: bool,
    pub is_killed_by: Option<i32>,
    /// Whether it still runs, or how it has ended.
    pub fate: String,
    /// Its lines.
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    /// Empty if it has printed something while it was looked at: nothing is certain then.
    pub threads: Vec<Thread>,
    /// It uses the CPU, and prints nothing new.
    pub spins: bool,
    /// The CPU time that it has used.
    pub used: Duration,
    /// It prints line after line, and the test does nothing.
    pub repeats: bool,
    pub listener: Option<Socket>,
    pub peers: Vec<Peer>,
    /// It has as many descriptors as it may have.
    pub is_at_limit: bool,
    /// Descriptors of connections that are over.
    pub dead_sockets: usize,
    pub expected: String,
    pub talk: Talk,
}

impl Evidence {
    pub fn collect(log: &Log, is_starting: bool, expected: &str, talk: Talk) -> Evidence {
        let (has_ended, is_killed_by) = log.end();
        let mut evidence = Evidence {
            is_starting,
            wants_free_port: env::var_os(SERVER_ADDR).is_none() && log.wants_free_port(),
            listens_at_default: log.address().is_some_and(|address| address.port() == 8080),
            has_ended,
            is_killed_by,
            fate: log.fate(),
            used: process::cpu_time(log.server()).unwrap_or_default(),
            repeats: log.printed().1 >= AGAIN,
            expected: expected.to_owned(),
            talk,
            ..Evidence::default()
        };
        evidence.spins = !has_ended && (expected == AT_REST || spins(log));
        let printed = log.printed();
        evidence.stdout = log.lines(Kind::Stdout);
        evidence.stderr = log.lines(Kind::Stderr);
        evidence.add_peers(log);
        if !has_ended {
            evidence.look_at_process(log);
        }
        if log.printed() != printed && !evidence.spins {
            evidence.threads.clear();
        }
        evidence
    }

    /// What is known about a program that was to refuse its arguments. One that went on was killed at the
    /// deadline.
    pub fn of_refusal(output: &Output, words: &[&str]) -> Evidence {
        let lines = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().map(str::to_owned).collect()
        };
        let signal = output.status.signal();
        let has_ended = signal != Some(libc::SIGKILL);
        Evidence {
            refusal: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            has_ended,
            is_killed_by: signal.filter(|_| has_ended),
            fate: match has_ended {
                true => describe_end(output.status.code(), signal),
                false => RUNS.to_owned(),
            },
            stdout: lines(&output.stdout),
            stderr: lines(&output.stderr),
            ..Evidence::default()
        }
    }

    fn add_peers(&mut self, log: &Log) {
        for (name, address, sent) in log.peers() {
            // A flood is not logged to its end: nothing can be counted.
            let token = self.token_of(address).filter(|_| !log.is_flooding());
            self.peers.push(Peer {
                name,
                token,
                sent,
                ..Peer::default()
            });
        }
    }

    /// The token in the next line after that of the accepted connection.
    fn token_of(&self, address: SocketAddr) -> Option<String> {
        let accepted = format!("{ACCEPTED}{address}");
        let mut lines = self.stdout.iter().skip_while(|line| **line != accepted);
        let token = lines.find_map(|line| line.strip_prefix(REGISTERED));
        token.map(str::to_owned)
    }

    fn look_at_process(&mut self, log: &Log) {
        self.threads = process::threads(log.server());
        let server = log.address();
        let descriptors = process::descriptors(log.server());
        let limits = Process::new(log.server().as_raw_pid()).and_then(|process| process.limits());
        let limit = limits.map(|limits| limits.max_open_files.soft_limit);
        let is_reached = |limit: LimitValue| matches!(limit, LimitValue::Value(n) if n <= descriptors.len() as u64);
        self.is_at_limit = limit.is_ok_and(is_reached);
        let table = socket::table(server.unwrap_or(ANY));
        let epoll = epoll::registered(log.server(), &descriptors);
        let look = |entry: &TcpNetEntry| {
            let descriptor = descriptors.iter().find(|d| is_socket(d, entry.inode))?;
            Some(Socket {
                descriptor: descriptor.fd,
                blocking: !process::is_nonblocking(log.server(), descriptor.fd),
                interest: epoll.iter().find(|e| e.0 == descriptor.fd).map(|e| e.1),
                unread: entry.rx_queue as usize,
                unsent: entry.tx_queue as usize,
                has_ended: entry.state == TcpState::CloseWait,
            })
        };
        let listeners = table.iter().filter(|entry| entry.state == TcpState::Listen);
        self.listener = listeners
            .filter(|entry| server.is_none_or(|s| entry.local_address.port() == s.port()))
            .find_map(look);
        for (peer, (_, address, _)) in self.peers.iter_mut().zip(log.peers()) {
            let ends = table.iter().filter(|entry| entry.remote_address == address);
            peer.socket = ends.filter(|entry| entry.inode != 0).find_map(look);
            let mut own = table.iter().filter(|entry| entry.local_address == address);
            peer.is_closed_first = own.any(|entry| entry.state == TcpState::CloseWait);
        }
        let is_known = |fd: i32| {
            let target = descriptors.iter().find(|d| d.fd == fd);
            target.is_none_or(|d| {
                !matches!(d.target, FDTarget::Socket(_))
                    || table.iter().any(|e| is_socket(d, e.inode))
            })
        };
        self.dead_sockets = epoll.iter().filter(|(fd, _)| !is_known(*fd)).count();
    }

    // What follows from it.

    /// Whether every thread sleeps, and one of them waits for events.
    pub fn is_asleep(&self) -> bool {
        let waits = |thread: &Thread| thread.call.is_some_and(|call| call.contains("epoll"));
        !self.spins && self.threads.iter().any(waits)
    }

    /// The call in which a thread waits for this socket.
    pub fn blocked_in(&self, socket: &Socket) -> Option<&'static str> {
        let is_here = |thread: &&Thread| thread.descriptor == socket.descriptor;
        let mut calls = self
            .threads
            .iter()
            .filter(is_here)
            .filter_map(|thread| thread.call);
        calls.find(|call| ["accept", "read", "write"].contains(call))
    }

    /// Each client that is connected, with the server's end of it.
    pub fn open(&self) -> impl Iterator<Item = (&Peer, &Socket)> {
        self.peers
            .iter()
            .filter_map(|peer| Some((peer, peer.socket.as_ref()?)))
    }

    /// The numbers of bytes that the server has reported as broadcast from a client.
    pub fn broadcasts_from(&self, peer: &Peer) -> Vec<usize> {
        let Some(token) = &peer.token else {
            return Vec::new();
        };
        let end = format!(" bytes from {token}");
        self.counts("Broadcast ", &end)
    }

    /// The numbers of bytes that the server has reported as written to a client.
    pub fn writes_to(&self, peer: &Peer) -> Vec<usize> {
        let Some(token) = &peer.token else {
            return Vec::new();
        };
        self.counts("Wrote ", &format!(" bytes to {token}"))
    }

    fn counts(&self, start: &str, end: &str) -> Vec<usize> {
        let lines = self.stdout.iter();
        let counts = lines.filter_map(|line| line.strip_prefix(start)?.strip_suffix(end));
        counts.filter_map(|count| count.parse().ok()).collect()
    }

    /// The place of the last line with this beginning and end.
    pub fn last(&self, start: &str, end: &str) -> Option<usize> {
        self.stdout
            .iter()
            .rposition(|line| line.starts_with(start) && line.ends_with(end))
    }

    /// Whether the last lines on stderr of a server that has ended have one of these words.
    pub fn ended_with(&self, words: &[&str]) -> bool {
        let lines = self
            .stderr
            .iter()
            .rev()
            .filter(|line| !line.contains("(INJECTED)"))
            // These it has survived.
            .filter(|line| !line.starts_with("Read error from "))
            .filter(|line| !line.starts_with("Write error for "));
        let mut lines = lines.take(6).map(|line| line.to_lowercase());
        self.has_ended && lines.any(|line| words.iter().any(|word| line.contains(word)))
    }
}

/// Whether the server uses the CPU and prints nothing new.
fn spins(log: &Log) -> bool {
    let used = || process::cpu_time(log.server());
    let (start, end) = (used(), Instant::now() + LONGEST_LOOK);
    let (lines, _) = log.printed();
    while runs(log) {
        if used() >= start.map(|start| start + BUSY) {
            // A flood is not logged any more.
            return log.printed().0 == lines;
        }
        if Instant::now() > end {
            return false;
        }
    }
    false
}

fn runs(log: &Log) -> bool {
    let looks = (0..LOOKS).filter(|_| {
        thread::sleep(PAUSE);
        process::is_running(log.server())
    });
    looks.count() * 4 >= LOOKS * 3
}

fn is_socket(descriptor: &FDInfo, inode: u64) -> bool {
    matches!(descriptor.target, FDTarget::Socket(socket) if socket == inode)
}
