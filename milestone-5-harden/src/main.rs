//! Milestone 5: the same server, fit to be left running.
//!
//! New here: no client, however greedy, slow or broken, takes more than its share of time or memory.

mod draining;
mod feed;
mod limits;
mod log;
mod pacing;
mod strangers;

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::net::{listen, sockopt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::feed::Feed;
use crate::log::Log;
use crate::pacing::Pacing;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// A token is a number of our choice. Each event carries the token of the socket that it is about.
const LISTENER: Token = Token(0);

/// The clients' tokens count up from 1 and never get here.
const SIGNALS: Token = Token(usize::MAX);

/// While something is due that no event reports, the loop runs at least this often.
const TICK: Duration = Duration::from_millis(100);

fn main() -> Result<ExitCode> {
    if env::args_os().any(|argument| argument == "--help" || argument == "-h") {
        let printed = io::stdout().write_all(limits::HELP.as_bytes());
        printed.context("cannot write to stdout")?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_quiet = env::args_os().any(|argument| argument == "--quiet");
    Server::bind(listen_address()?, is_quiet)?.run()
}

/// The address to listen on: the first argument, or the default if there is none.
fn listen_address() -> Result<SocketAddr> {
    // `args_os`, because `args` panics on an argument that is not Unicode.
    let arguments = env::args_os().filter(|argument| argument != "--quiet");
    let mut arguments = arguments.skip(1);
    let address = match arguments.next() {
        Some(argument) => argument.to_string_lossy().into_owned(),
        None => DEFAULT_ADDRESS.to_owned(),
    };
    if let Some(extra) = arguments.next() {
        bail!("expected at most one address, but {extra:?} follows {address:?}");
    }
    address
        .parse()
        .with_context(|| format!("{address:?} is not an address such as {DEFAULT_ADDRESS:?}"))
}

struct Server {
    poll: Poll,
    signals: Signals,
    signals_seen: usize,
    listener: TcpListener,
    accepting: Accepting,
    /// A descriptor to give up: only an accepted connection shows where it comes from.
    spare: Option<File>,
    connections: BTreeMap<Token, ClientConnection>,
    /// Counts up and never repeats, so a late event cannot reach the wrong client.
    next_token: usize,
    pacing: Pacing,
    feed: Feed,
    /// Every client is read into it, one after the other.
    chunk: Box<[u8; limits::READ_BUDGET]>,
    log: Log,
}

/// What is left to do about connections that are pending.
#[derive(Default)]
struct Accepting {
    pending: Pending,
    reported: Option<Instant>,
    /// Since when no descriptor is free.
    full_since: Option<Instant>,
}

/// Whether connections may be pending that no event will report.
#[derive(Default, PartialEq, Eq)]
enum Pending {
    #[default]
    No,
    /// Accept them in this turn, or in the next one.
    Yes,
    /// There was no descriptor. Try again after a tick.
    AfterTick,
}

impl Server {
    fn bind(address: SocketAddr, is_quiet: bool) -> Result<Server> {
        let poll = Poll::new().context("cannot create a poll")?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listen(&listener, limits::BACKLOG).context("cannot set the backlog")?;
        strangers::ask_for_signs_of_life(&listener).context("cannot set keepalive")?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot register the listener")?;
        let signals = catch_signals(&poll)?;

        // Port 0 lets the kernel choose: only the listener knows the real address.
        let address = listener.local_addr().context("cannot get the address")?;
        let mut log = Log::new(is_quiet).context("cannot start the log")?;
        writeln!(log.err, "Listening on {address}");
        Ok(Server {
            poll,
            signals,
            signals_seen: 0,
            listener,
            accepting: Accepting::default(),
            spare: File::open("/dev/null").ok(),
            connections: BTreeMap::new(),
            next_token: LISTENER.0 + 1,
            pacing: Pacing::default(),
            feed: Feed::default(),
            chunk: Box::new([0; limits::READ_BUDGET]),
            log,
        })
    }

    /// The event loop: turn after turn, until a signal comes.
    fn run(mut self) -> Result<ExitCode> {
        // Room for this many events at a time. The next `poll` returns any others.
        let mut events = Events::with_capacity(1024);
        let start = Instant::now();
        while self.signals_seen == 0 {
            self.turn(&mut events, start)?;
        }
        self.drain(&mut events)
    }

    /// Waits until something is ready, and deals with it.
    fn turn(&mut self, events: &mut Events, start: Instant) -> Result<()> {
        // What the last turn has logged is written while this one waits.
        self.log.end_turn();
        let time = self.wait_time();
        wait(&mut self.poll, events, time)?;
        for token in self.pacing.begin_turn(start.elapsed()) {
            self.write(token);
        }
        self.take_events(events);
        let written = self.feed.end();
        let mut ended = Vec::new();
        while let Some((token, budget)) = self.pacing.next() {
            ended.extend(self.read(token, budget));
        }
        if self.feed.end() > written {
            self.broadcast();
        }
        // Only now, because to close a socket takes time, and the lines should not wait for it.
        for token in ended {
            self.write(token);
        }
        // Last, because each client that was closed has left a descriptor.
        if self.accepting.pending != Pending::No {
            self.accept();
        }
        Ok(())
    }

    /// How long `poll` may wait: without an end if nothing is due.
    fn wait_time(&self) -> Option<Duration> {
        let accept = match self.accepting.pending {
            Pending::No => None,
            Pending::Yes => Some(Duration::ZERO),
            Pending::AfterTick => Some(TICK),
        };
        let times = [accept, self.pacing.wait_time()];
        times.into_iter().flatten().min()
    }

    /// Notes which clients to read, and writes to those that have room again.
    fn take_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                LISTENER => self.accepting.pending = Pending::Yes,
                SIGNALS => self.signals_seen += self.signals.pending().count(),
                client => {
                    // `read` would find out, but nobody knows when its turn comes.
                    if event.is_error() && self.pacing.is_bulk(&client) {
                        self.fail(client, "Closing", "its connection is broken");
                    }
                    // End of file and errors count as readable: `read` finds out which.
                    if event.is_readable() {
                        self.pacing.add(client);
                    }
                    // One event can report both.
                    if event.is_writable() {
                        self.write(client);
                    }
                }
            }
        }
    }

    /// Accepts pending connections, up to [`limits::ACCEPT_BUDGET`].
    ///
    /// At the descriptor limit (`ulimit -n`) `accept` fails, and no event reports that a descriptor
    /// has become free. So this is called in each turn until `WouldBlock`: none is pending.
    fn accept(&mut self) {
        self.accepting.pending = Pending::No;
        for _ in 0..limits::ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    self.accepting.full_since = None;
                    self.welcome(stream, address);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // This client gave up while its connection was pending. Go on with the next one.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    if limits::is_due(&mut self.accepting.reported) {
                        writeln!(self.log.err, "Failed to accept: {e}");
                    }
                    return self.make_room();
                }
            }
        }
        self.accepting.pending = Pending::Yes;
    }

    /// Gives a client its token, registers it for READABLE, and keeps it.
    fn welcome(&mut self, mut stream: TcpStream, address: SocketAddr) {
        writeln!(self.log.out, "Accepted connection from {address}");
        let token = Token(self.next_token);
        self.next_token += 1;
        let registry = self.poll.registry();
        // Send small lines at once. Without this, a line waits until the client has acknowledged
        // the one before, which may take 40 ms.
        let outcome = stream.set_nodelay(true);
        // epoll knows the descriptor, not the variable: the stream may move into the map.
        let registered = registry.register(&mut stream, token, Interest::READABLE);
        if let Err(e) = outcome.and(registered) {
            return writeln!(self.log.err, "Failed to register {address}: {e}");
        }
        let connection = ClientConnection {
            stream,
            token,
            address,
            interest: Interest::READABLE,
            read_buf: Vec::new(),
            sent: self.feed.end(),
            own: VecDeque::new(),
            ended_at: None,
            last_heard: None,
        };
        self.connections.insert(token, connection);
        self.pacing.join(token);
        writeln!(self.log.out, "Registered client with {token:?}");
    }

    /// Reads once from a client. Returns the client if it has sent its last byte.
    fn read(&mut self, token: Token, budget: usize) -> Option<Token> {
        // The client may have been closed since its event: skip it.
        let connection = self.connections.get_mut(&token)?;
        match connection.stream.read(&mut self.chunk[..budget]) {
            Ok(0) => {
                // Lines that come later are not for it. This is reported again with each event.
                connection.ended_at.get_or_insert(self.feed.end());
                return Some(token);
            }
            Ok(bytes) => self.take(token, bytes),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.pacing.add(token),
            Err(e) => self.fail(token, "Read error from", e),
        }
        None
    }

    /// Takes bytes that were read from a client, its complete lines into the feed.
    fn take(&mut self, token: Token, bytes: usize) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let start = self.feed.end();
        if !connection.take_lines(&self.chunk[..bytes], &mut self.feed) {
            let reason = format!("a line of more than {} bytes", limits::MAX_LINE);
            return self.fail(token, "Closing", reason);
        }
        let lines = self.feed.end() - start;
        if lines > 0 {
            // A client does not receive its own lines.
            connection.own.push_back(start..start + lines);
            connection.advance(0);
            writeln!(self.log, "Broadcast {lines} bytes from {token:?}");
        } else {
            writeln!(self.log, "Buffering partial message from {token:?}");
        }
        let unfinished = connection.read_buf.len() as u64;
        if let Some(longest) = self.pacing.note_read(token, bytes as u64, unfinished) {
            let reason = "the longest of too many unfinished lines";
            self.fail(longest, "Closing", reason);
        }
        // More may have arrived, and no event will report it.
        self.pacing.add(token);
    }

    /// Sends the lines of this turn to every client except their sender. Closes those to whom that fails,
    /// and those that are too far behind.
    fn broadcast(&mut self) {
        let registry = self.poll.registry();
        let mut needed = self.feed.end();
        let mut failed = Vec::new();
        for (&token, connection) in &mut self.connections {
            // If WRITABLE is on, the socket is full, and an event will report room.
            if !connection.interest.is_writable() {
                let flushed = connection.flush(&self.feed, registry, &mut self.log);
                if let Err(e) = flushed {
                    failed.push((token, "Write error for", e.to_string()));
                }
            }
            let (sent, unsent) = (connection.sent, connection.unsent(&self.feed));
            needed = needed.min(sent);
            self.pacing.note_sent(token, sent, unsent);
            let own = connection.own.len() as u64;
            let behind = self.feed.end() - sent + limits::OWN_COST * own;
            if behind > limits::MAX_BEHIND {
                failed.push((token, "Closing", format!("{behind} bytes behind")));
            }
        }
        self.feed.forget_before(needed);

        // Only now: nothing may leave the map while it is being iterated.
        for (token, what, reason) in failed {
            self.fail(token, what, reason);
        }
    }

    /// Sends the bytes queued for a client. Closes it if that fails, if it has stalled, or if it has
    /// ended and has received everything up to its end.
    fn write(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if let Err(e) = connection.flush(&self.feed, self.poll.registry(), &mut self.log) {
            return self.fail(token, "Write error for", e);
        }

        let (sent, unsent) = (connection.sent, connection.unsent(&self.feed));
        let is_stalled = self.pacing.note_sent(token, sent, unsent);
        if connection.ended_at == Some(sent) {
            self.disconnect(token);
        } else if is_stalled {
            let time = limits::STALL_TIME.as_secs();
            let reason = format!("{unsent} bytes queued, nothing received for {time} s");
            self.fail(token, "Closing", reason);
        }
    }

    /// Reports why a client is closed, and closes it by a reset: the kernel would keep what it has not
    /// received, some MiB, for minutes.
    fn fail(&mut self, token: Token, what: &str, reason: impl Display) {
        if let Some(connection) = self.disconnect(token) {
            let address = connection.address;
            writeln!(self.log.err, "{what} {token:?}: {reason} ({address})");
            // If this fails, the connection is broken already.
            let _ = sockopt::set_socket_linger(&connection.stream, Some(Duration::ZERO));
        }
    }

    /// The one way out for a client: out of the map, and closed, which removes it from epoll too
    /// (epoll(7)).
    fn disconnect(&mut self, token: Token) -> Option<ClientConnection> {
        let connection = self.connections.remove(&token)?;
        self.pacing.leave(token);
        writeln!(self.log.out, "Client {token:?} disconnected");
        Some(connection)
    }
}

/// Makes events of the signals that end the server.
fn catch_signals(poll: &Poll) -> Result<Signals> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;
    poll.registry()
        .register(&mut signals, SIGNALS, Interest::READABLE)
        .context("cannot register the signals")?;
    Ok(signals)
}

/// Waits for events. A signal that interrupts the wait (Ctrl-Z, then `fg`) is no error.
fn wait(poll: &mut Poll, events: &mut Events, time: Option<Duration>) -> Result<()> {
    match poll.poll(events, time) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        outcome => outcome.context("cannot poll for events"),
    }
}

struct ClientConnection {
    stream: TcpStream,
    token: Token,
    address: SocketAddr,
    /// What epoll reports. WRITABLE is on only while the socket is full.
    interest: Interest,
    /// The bytes since the last newline: the beginning of a line.
    read_buf: Vec<u8>,
    /// A position in the feed: all before it was sent. What follows is the client's queue.
    sent: u64,
    /// The client's own lines in its queue, which are not sent to it.
    own: VecDeque<Range<u64>>,
    /// The end of the feed when the client had sent its last byte. What follows is not for it.
    ended_at: Option<u64>,
    /// At the end of the server: when it last sent something, once it has received everything.
    last_heard: Option<Instant>,
}

impl ClientConnection {
    /// Splits a chunk after its last newline. Only the new bytes are searched: the bytes kept
    /// before have no newline. Returns whether the lines are short enough.
    fn take_lines(&mut self, chunk: &[u8], feed: &mut Feed) -> bool {
        // Only the first line can be too long: a chunk is no longer than the limit.
        let room = limits::MAX_LINE - self.read_buf.len();
        if chunk.len() > room && !chunk[..=room].contains(&b'\n') {
            return false;
        }
        let Some(newline) = chunk.iter().rposition(|&byte| byte == b'\n') else {
            self.read_buf.extend(chunk);
            return true;
        };
        let (whole, rest) = chunk.split_at(newline + 1);
        feed.push(&self.read_buf);
        feed.push(whole);
        // A new buffer: an emptied one would keep its memory.
        self.read_buf = rest.to_vec();
        true
    }

    /// The bytes in its queue that will be sent.
    fn unsent(&self, feed: &Feed) -> u64 {
        let own: u64 = self.own.iter().map(|own| own.end - own.start).sum();
        self.ended_at.unwrap_or(feed.end()) - self.sent - own
    }

    /// That many bytes were sent. Its own lines that precede or follow them are skipped.
    fn advance(&mut self, mut bytes: u64) {
        while let Some(own) = self.own.front() {
            let before = own.start - self.sent;
            if bytes < before {
                break;
            }
            bytes -= before;
            self.sent = own.end;
            self.own.pop_front();
        }
        self.sent += bytes;
        // An emptied list would keep its memory.
        self.own.shrink_to_fit();
    }

    /// Writes until the queue is empty, the socket is full, or the budget is spent.
    fn flush(&mut self, feed: &Feed, registry: &Registry, log: &mut Log) -> io::Result<()> {
        let end = self.ended_at.unwrap_or(feed.end());
        let goal = end.min(self.sent + limits::WRITE_BUDGET);
        while self.sent < goal {
            match self.write_some(feed, goal) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    // The most frequent line: `{:?}` would take longer.
                    writeln!(log, "Wrote {n} bytes to Token({})", self.token.0);
                    self.advance(n as u64);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    writeln!(log, "Write would block for {:?}", self.token);
                    return self.ask_for(Interest::READABLE | Interest::WRITABLE, registry);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.sent < end {
            // There is room: asked anew, the kernel reports it at once, and the next turn goes on.
            self.interest = Interest::READABLE;
            return self.ask_for(Interest::READABLE | Interest::WRITABLE, registry);
        }
        self.ask_for(Interest::READABLE, registry)
    }

    /// One write of the queue up to a position, without the client's own lines.
    fn write_some(&mut self, feed: &Feed, goal: u64) -> io::Result<usize> {
        if self.own.is_empty() {
            return self.stream.write(feed.get(self.sent..goal));
        }
        let mut lines = Vec::new();
        let mut start = self.sent;
        for own in self.own.iter().filter(|own| own.start < goal) {
            lines.extend(feed.get(start..own.start));
            start = own.end;
        }
        lines.extend(feed.get(start..goal.max(start)));
        self.stream.write(&lines)
    }

    fn ask_for(&mut self, interest: Interest, registry: &Registry) -> io::Result<()> {
        if self.interest != interest {
            self.interest = interest;
            registry.reregister(&mut self.stream, self.token, interest)?;
        }
        Ok(())
    }
}
