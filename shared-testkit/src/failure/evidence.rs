//! What is known about a server when a test fails: from the kernel, the log and the clients' bytes.

use std::collections::HashMap;
use std::iter;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{LimitValue, Process};
use rustix::process::Pid;

use crate::failure::diff::{self, Difference};
use crate::failure::runtime::{self, Runtime};
use crate::failure::{Expected, Look};
use crate::lines::{ACCEPTED, REGISTERED};
use crate::log::{Kind, Log, described};
use crate::proc::process::{Thread, is_socket};
use crate::proc::{epoll, process, socket};
use crate::wait::PAUSE;

/// How many looks find out whether the server runs without a pause.
const LOOKS: usize = 12;

/// So much CPU time without a line is work for nothing.
const BUSY: Duration = Duration::from_millis(100);

/// How long a look at a running server takes at most. A busy machine may not get that far.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// That many lines that no action of the test explains say nothing new.
const AGAIN: usize = 100;

/// The server's end of a connection, or its listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Socket {
    pub descriptor: i32,
    /// What epoll reports about it (`EPOLLIN` and so on).
    pub interest: Option<u32>,
    /// Bytes, or the listener's pending connections.
    pub unread: usize,
    pub unsent: usize,
    /// The client has sent end of file.
    pub has_ended: bool,
}

impl Socket {
    fn has(&self, events: u32) -> bool {
        self.interest.is_some_and(|mask| mask & events != 0)
    }

    pub fn is_level_triggered(&self) -> bool {
        self.interest.is_some() && !self.has(epoll::EPOLLET | epoll::EPOLLONESHOT)
    }

    pub fn is_readable(&self) -> bool {
        self.has(epoll::EPOLLIN)
    }

    pub fn wants_to_write(&self) -> bool {
        self.has(epoll::EPOLLOUT)
    }

    /// Its one event was reported, and it was not armed again.
    pub fn is_disarmed(&self) -> bool {
        self.has(epoll::EPOLLONESHOT) && !self.has(epoll::EPOLLIN | epoll::EPOLLOUT)
    }

    fn describe(&self, name: &str) -> String {
        let interest = match (self.is_level_triggered(), self.wants_to_write()) {
            _ if self.interest.is_none() => "is not registered with epoll",
            (true, true) => "is registered level-triggered, with WRITABLE",
            (true, false) => "is registered level-triggered for READABLE",
            (false, true) => "is registered edge-triggered, with WRITABLE",
            (false, false) => "is registered edge-triggered for READABLE",
        };
        let (unread, unsent) = (self.unread, self.unsent);
        format!("{unread} bytes of {name}'s are unread, {unsent} unsent; {name} {interest}")
    }
}

/// A client of the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub name: String,
    pub address: Option<SocketAddr>,
    /// As the server has reported it, such as `Token(1)`.
    pub token: Option<String>,
    pub sent: Vec<u8>,
    pub received: usize,
    /// What it has received is not what it should have.
    pub difference: Option<Difference>,
    /// `None` if the server has not accepted it, or has closed it.
    pub socket: Option<Socket>,
    /// The server has closed the connection, and the client has not.
    pub is_closed_first: bool,
}

impl Peer {
    /// Its token, or what no line names.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or("nobody")
    }
}

/// Everything that a rule may look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub expected: Expected,
    /// What the test has asked the kernel last, if that is what failed.
    pub look: Option<Look>,
    /// What the test makes fail, such as `accept fail with EINTR`.
    pub injected: Option<String>,
    pub is_starting: bool,
    /// Where it was to listen.
    pub wanted: Option<SocketAddr>,
    /// Some program listens there.
    pub is_taken: bool,
    /// Where it listens as it says, and as the kernel knows.
    pub printed: Option<SocketAddr>,
    pub listens_at: Option<SocketAddr>,
    pub end: Option<ExitStatus>,
    pub is_asked_to_end: bool,
    /// Its lines, those of strace left out.
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    /// Those that no assertion has asked for.
    pub unexpected: Vec<(Kind, String)>,
    pub runtime: Option<Runtime>,
    pub has_epoll: bool,
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
    /// Some bytes that clients have sent or received are not logged, so counts cannot be compared.
    pub is_partial: bool,
}

impl Evidence {
    pub fn collect(log: &Log, is_starting: bool, expected: Expected, look: Option<Look>) -> Self {
        let mut evidence = Evidence {
            look,
            injected: log.injection.clone(),
            is_starting,
            wanted: log.wanted,
            is_taken: log.wanted.is_some_and(socket::is_listened_at),
            printed: log.address.get().copied(),
            end: log.wait_for_end(),
            is_asked_to_end: log.is_asked_to_end.load(Relaxed),
            used: process::cpu_time(log.server).unwrap_or_default(),
            repeats: log.printed().1 >= AGAIN,
            ..Evidence::default()
        };
        let is_running = evidence.end.is_none();
        evidence.spins = is_running && (expected == Expected::Idle || spins(log));
        evidence.expected = expected;
        let printed = log.printed();
        evidence.add_lines(log);
        evidence.add_peers(log);
        if is_running {
            evidence.look_at_process(log);
        }
        // Nor is it while it is stopped.
        let is_stopped = process::is_stopped(log.server);
        if is_stopped || log.printed() != printed && !evidence.spins {
            evidence.threads.clear();
        }
        // Only now: a server may go on as soon as a client reads.
        evidence.compare_bytes(log);
        evidence
    }

    /// What is known about a program that was to refuse its arguments. One that went on was killed at the
    /// deadline.
    pub fn of_refusal(output: &Output, words: &[&str]) -> Evidence {
        let lines = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().map(str::to_owned).collect()
        };
        Evidence {
            expected: Expected::Refusal(words.iter().map(|word| (*word).to_owned()).collect()),
            end: Some(output.status).filter(|end| end.signal() != Some(libc::SIGKILL)),
            stdout: lines(&output.stdout),
            stderr: lines(&output.stderr),
            ..Evidence::default()
        }
    }

    fn add_lines(&mut self, log: &Log) {
        self.stdout = log.lines(Kind::Stdout);
        self.stderr = log.lines(Kind::Stderr);
        self.stderr.retain(|line| !is_of_strace(line));
        self.unexpected = log.unexpected_lines();
        self.unexpected.retain(|(_, line)| !is_of_strace(line));
    }

    fn add_peers(&mut self, log: &Log) {
        for conversation in log.conversations() {
            let token = self.token_of(conversation.address);
            self.peers.push(Peer {
                name: conversation.name,
                address: Some(conversation.address),
                token: token.filter(|_| !log.is_flooding()),
                sent: conversation.sent,
                is_closed_first: conversation.stream.strong_count() > 0
                    && !conversation.has_half_closed,
                ..Peer::default()
            });
        }
    }

    fn compare_bytes(&mut self, log: &Log) {
        log.receive_all();
        let conversations = log.conversations();
        // What is not logged to its end cannot be compared.
        let is_cut = conversations.iter().any(|conversation| conversation.is_cut);
        self.is_partial = log.is_flooding() || log.has_bare_client.load(Relaxed) || is_cut;
        for (peer, conversation) in self.peers.iter_mut().zip(&conversations) {
            peer.received = conversation.received.len();
            let compare = || diff::compare(conversation, &conversations);
            peer.difference = (!self.is_partial).then(compare).flatten();
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
        let table = socket::table();
        let pid = owner(log.server, &table);
        let descriptors = process::descriptors(pid);
        let epoll: HashMap<_, _> = epoll::registered(pid, &descriptors).into_iter().collect();
        self.threads = process::threads(pid);
        self.runtime = runtime::of(pid);
        self.has_epoll = descriptors.iter().any(epoll::is_epoll);
        self.is_at_limit = is_at_limit(pid, descriptors.len());
        self.add_sockets(&table, |entry| {
            let descriptor = descriptors.iter().find(|d| is_socket(d, entry.inode))?;
            Some(Socket {
                descriptor: descriptor.fd,
                interest: epoll.get(&descriptor.fd).copied(),
                unread: entry.rx_queue as usize,
                unsent: entry.tx_queue as usize,
                has_ended: entry.state == TcpState::CloseWait,
            })
        });
    }

    /// The server's listener, and its ends of the connections.
    fn add_sockets(
        &mut self,
        table: &[TcpNetEntry],
        look: impl Fn(&TcpNetEntry) -> Option<Socket>,
    ) {
        let printed = self.printed.map(|printed| printed.port());
        let listeners = table.iter().filter(|entry| entry.state == TcpState::Listen);
        let own = listeners.filter_map(|entry| Some((entry.local_address, look(entry)?)));
        let listener = own.max_by_key(|(address, _)| Some(address.port()) == printed);
        (self.listens_at, self.listener) = listener.unzip();
        for peer in &mut self.peers {
            let is_its = |address| Some(address) == peer.address;
            let ends = table.iter().filter(|entry| is_its(entry.remote_address));
            peer.socket = ends.filter(|entry| entry.inode != 0).find_map(&look);
            let mut own = table.iter().filter(|entry| is_its(entry.local_address));
            let is_open = own.any(|entry| entry.state == TcpState::Established);
            peer.is_closed_first &= !is_open;
        }
    }

    // What follows from it.

    /// Whether every thread waits, one of them for events.
    pub fn is_asleep(&self) -> bool {
        let waits = |thread: &Thread| matches!(thread.call, Some("epoll_wait" | "poll" | "select"));
        let threads = &self.threads;
        !self.spins && threads.iter().any(waits) && !threads.iter().any(|thread| thread.runs)
    }

    /// The socket call that the only thread waits in which works with sockets at all, and its descriptor.
    pub fn blocked_in(&self) -> Option<(&'static str, i32)> {
        let threads = self.threads.iter();
        let calls = threads.filter_map(|thread| Some((thread.call?, thread.descriptor)));
        let mut calls = calls.filter(|(call, _)| *call != "nanosleep");
        let call = calls.next()?;
        let is_of_socket = ["accept", "read", "write"].contains(&call.0);
        (calls.next().is_none() && is_of_socket).then_some(call)
    }

    /// Nothing more will happen by itself: the server waits for the clients, or is gone.
    pub fn is_final(&self) -> bool {
        self.end.is_some() || self.is_asleep() || self.blocked_in().is_some()
    }

    /// Each client that is connected, with the server's end of it.
    pub fn open(&self) -> impl Iterator<Item = (&Peer, &Socket)> {
        let peers = self.peers.iter();
        peers.filter_map(|peer| Some((peer, peer.socket.as_ref()?)))
    }

    /// The numbers of bytes that the server has reported as broadcast from a client.
    pub fn broadcasts_from(&self, peer: &Peer) -> Vec<usize> {
        self.counts("Broadcast ", &format!(" bytes from {}", peer.token()))
    }

    pub fn broadcast_from(&self, peer: &Peer) -> usize {
        self.broadcasts_from(peer).iter().sum()
    }

    /// The numbers of bytes that the server has reported as written to a client.
    pub fn writes_to(&self, peer: &Peer) -> Vec<usize> {
        self.counts("Wrote ", &format!(" bytes to {}", peer.token()))
    }

    fn counts(&self, start: &str, end: &str) -> Vec<usize> {
        let lines = self.stdout.iter();
        let counts = lines.filter_map(|line| line.strip_prefix(start)?.strip_suffix(end));
        counts.filter_map(|count| count.parse().ok()).collect()
    }

    /// Whether a line was expected that begins so.
    pub fn expects(&self, start: &str) -> bool {
        matches!(&self.expected, Expected::Line(_, line) if line.starts_with(start))
    }

    /// Whether a line on stdout begins so.
    pub fn has_printed(&self, start: &str) -> bool {
        self.stdout.iter().any(|line| line.starts_with(start))
    }

    /// The place of the last line with this beginning and end.
    pub fn last(&self, start: &str, end: &str) -> Option<usize> {
        let mut lines = self.stdout.iter();
        lines.rposition(|line| line.starts_with(start) && line.ends_with(end))
    }

    /// Where the server is, in one line of meaning.
    pub fn server_state(&self) -> String {
        if let Some(end) = self.end {
            return format!("has ended, {}", described(end));
        }
        let state = match self.threads.iter().find_map(|thread| thread.call) {
            _ if self.spins => "runs without a pause".to_owned(),
            Some(call) => format!("asleep in {call}"),
            None => "still runs".to_owned(),
        };
        let listener = self.listener.iter().filter(|listener| listener.unread > 0);
        let pending = listener.map(|listener| format!("connections pending: {}", listener.unread));
        let is_worth_it = |s: &Socket| s.unread + s.unsent > 0 || s.wants_to_write();
        let open = self.open().filter(|(_, socket)| is_worth_it(socket));
        let open = open.take(3).map(|(peer, s)| s.describe(&peer.name));
        let facts = [state].into_iter().chain(pending).chain(open);
        facts.collect::<Vec<_>>().join("; ")
    }
}

/// The process that has a listener: the command, or one that it has started.
fn owner(command: Pid, table: &[TcpNetEntry]) -> Pid {
    let listens = |pid: &Pid| {
        let descriptors = process::descriptors(*pid);
        let mut listeners = table.iter().filter(|entry| entry.state == TcpState::Listen);
        listeners.any(|l| descriptors.iter().any(|d| is_socket(d, l.inode)))
    };
    let mut all = iter::once(command).chain(process::descendants(command));
    all.find(listens).unwrap_or(command)
}

fn is_at_limit(pid: Pid, open: usize) -> bool {
    let limits = Process::new(pid.as_raw_pid()).and_then(|process| process.limits());
    let limit = limits.map(|limits| limits.max_open_files.soft_limit);
    limit.is_ok_and(|limit| matches!(limit, LimitValue::Value(n) if n <= open as u64))
}

/// A system call, a signal or an end, as strace prints it.
fn is_of_strace(line: &str) -> bool {
    let starts = ["[pid ", "strace: ", "+++ ", "--- "];
    let is_call = line.contains(") = ") || line.contains(" <unfinished ...>");
    starts.iter().any(|start| line.starts_with(start)) || is_call
}

/// Whether the server uses the CPU and prints nothing new.
fn spins(log: &Log) -> bool {
    let used = || process::cpu_time(log.server);
    let (start, end) = (used(), Instant::now() + LONGEST_LOOK);
    let (lines, _) = log.printed();
    while Instant::now() <= end && runs(log) {
        if used() >= start.map(|start| start + BUSY) {
            // A flood is not logged any more.
            return log.printed().0 == lines;
        }
    }
    false
}

fn runs(log: &Log) -> bool {
    let looks = (0..LOOKS).filter(|_| {
        thread::sleep(PAUSE);
        process::is_running(log.server)
    });
    looks.count() * 4 >= LOOKS * 3
}
