//! Milestone 5: the same server, fit to be left running.
//!
//! New here: no client, however greedy, slow or broken, takes more than its share of time or memory.

mod draining;
mod feed;
mod limits;
mod log;
mod pacing;

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::feed::Feed;
use crate::limits::{ACCEPT_BUDGET, HELP, HIGH_WATER, MAX_LINE, READ_BUDGET, STALL_TIME, is_due};
use crate::log::Log;
use crate::pacing::Pacing;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// A token is a number of our choice. Each event carries the token of the socket that it is about.
const LISTENER: Token = Token(0);

/// The clients' tokens count up from 1 and never get here.
const SIGNALS: Token = Token(usize::MAX);

/// The loop runs at least this often, even if nothing happens: a descriptor may have become free.
const TICK: Duration = Duration::from_millis(100);

fn main() -> Result<ExitCode> {
    if env::args_os().any(|argument| argument == "--help" || argument == "-h") {
        let printed = io::stdout().write_all(HELP.as_bytes());
        printed.context("cannot write to stdout")?;
        return Ok(ExitCode::SUCCESS);
    }
    Server::bind(listen_address()?)?.run()
}

/// The address to listen on: the first argument, or the default if there is none.
fn listen_address() -> Result<SocketAddr> {
    // `args_os`, because `args` panics on an argument that is not Unicode.
    let mut arguments = env::args_os().skip(1);
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
    /// While connections may be pending: how long the next `accept` may wait.
    accept_within: Option<Duration>,
    accept_reported: Option<Instant>,
    connections: BTreeMap<Token, ClientConnection>,
    /// Counts up and never repeats, so a late event cannot reach the wrong client.
    next_token: usize,
    pacing: Pacing,
    feed: Feed,
    /// Every client is read into it, one after the other.
    chunk: Box<[u8; READ_BUDGET]>,
    log: Log,
}

impl Server {
    fn bind(address: SocketAddr) -> Result<Server> {
        let poll = Poll::new().context("cannot create a poll")?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot register the listener")?;
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch signals")?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .context("cannot register the signals")?;

        // Port 0 lets the kernel choose: only the listener knows the real address.
        let address = listener.local_addr().context("cannot get the address")?;
        let mut log = Log::new().context("cannot start the log")?;
        writeln!(log.err, "Listening on {address}");
        log.end_turn();
        Ok(Server {
            poll,
            signals,
            signals_seen: 0,
            listener,
            accept_within: None,
            accept_reported: None,
            connections: BTreeMap::new(),
            next_token: LISTENER.0 + 1,
            pacing: Pacing::default(),
            feed: Feed::default(),
            chunk: Box::new([0; READ_BUDGET]),
            log,
        })
    }

    /// The event loop: turn after turn, until a signal comes.
    fn run(mut self) -> Result<ExitCode> {
        // Room for this many events at a time. The next `poll` returns any others.
        let mut events = Events::with_capacity(1024);
        while self.signals_seen == 0 {
            self.turn(&mut events)?;
        }
        self.drain(&mut events)
    }

    /// Waits until something is ready, and deals with it.
    fn turn(&mut self, events: &mut Events) -> Result<()> {
        for token in self.pacing.begin_turn() {
            self.write(token);
        }
        let written = self.feed.end();
        let time = match self.pacing.has_next() {
            true => Duration::ZERO,
            false => self.accept_within.unwrap_or(TICK),
        };
        wait(&mut self.poll, events, time)?;
        self.take_events(events);
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
        if self.accept_within.is_some() {
            self.accept();
        }
        self.log.end_turn();
        Ok(())
    }

    /// Notes which clients to read, and writes to those that have room again.
    fn take_events(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                LISTENER => self.accept_within = Some(Duration::ZERO),
                SIGNALS => self.signals_seen += self.signals.pending().count(),
                client => {
                    // End of file and errors count as readable: `read` finds out which.
                    if event.is_readable() {
                        self.pacing.add(client, false);
                    }
                    // One event can report both.
                    if event.is_writable() {
                        self.write(client);
                    }
                }
            }
        }
    }

    /// Accepts pending connections, up to [`ACCEPT_BUDGET`].
    ///
    /// At the descriptor limit (`ulimit -n`) `accept` fails, and no event reports that a descriptor
    /// has become free. So this is called in each turn until `WouldBlock`: none is pending.
    fn accept(&mut self) {
        self.accept_within = None;
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    writeln!(self.log.out, "Accepted connection from {address}");
                    if let Err(e) = self.register(stream) {
                        writeln!(self.log.err, "Failed to register {address}: {e}");
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // This client gave up while its connection was pending. Go on with the next one.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    if is_due(&mut self.accept_reported) {
                        writeln!(self.log.err, "Failed to accept: {e}");
                    }
                    self.accept_within = Some(TICK);
                    return;
                }
            }
        }
        self.accept_within = Some(Duration::ZERO);
    }

    /// Gives a client its token, registers it for READABLE, and keeps it.
    fn register(&mut self, mut stream: TcpStream) -> io::Result<()> {
        // Send small lines at once. Without this, a line waits until the client has acknowledged
        // the one before, which may take 40 ms.
        stream.set_nodelay(true)?;

        let token = Token(self.next_token);
        self.next_token += 1;
        // epoll knows the descriptor, not the variable: the stream may move into the map.
        self.poll
            .registry()
            .register(&mut stream, token, Interest::READABLE)?;

        let connection = ClientConnection {
            stream,
            token,
            interest: Interest::READABLE,
            read_buf: Vec::new(),
            sent: self.feed.end(),
            own: VecDeque::new(),
            ended_at: None,
            last_heard: None,
        };
        self.connections.insert(token, connection);
        writeln!(self.log.out, "Registered client with {token:?}");
        Ok(())
    }

    /// Reads what a client has sent, its complete lines into the feed. Returns the client if it has
    /// sent its last byte.
    fn read(&mut self, token: Token, budget: usize) -> Option<Token> {
        // The client may have been closed since its event: skip it.
        let connection = self.connections.get_mut(&token)?;

        let buffered = connection.read_buf.len();
        let start = self.feed.end();
        let outcome = connection.read_lines(&mut self.chunk[..budget], &mut self.feed);

        let bytes = self.feed.end() - start;
        if bytes > 0 {
            // A client does not receive its own lines.
            connection.own.push_back(start..start + bytes);
            connection.advance(0);
            self.pacing.spend(bytes);
            writeln!(self.log.out, "Broadcast {bytes} bytes from {token:?}");
        } else if connection.read_buf.len() > buffered {
            writeln!(self.log.out, "Buffering partial message from {token:?}");
        }

        match outcome {
            Ok(ReadEnd::WouldBlock) => {}
            Ok(ReadEnd::BudgetSpent) => self.pacing.add(token, true),
            // The client may have closed only its sending half: send what is queued for it.
            Ok(ReadEnd::EndOfFile) => {
                connection.ended_at = Some(self.feed.end());
                return Some(token);
            }
            Ok(ReadEnd::LineTooLong) => {
                let reason = format!("a line of more than {MAX_LINE} bytes");
                self.fail(token, "Closing", reason);
            }
            Err(e) => self.fail(token, "Read error from", e.to_string()),
        }
        None
    }

    /// Sends the lines of this turn to every client except their sender.
    fn broadcast(&mut self) {
        let registry = self.poll.registry();
        let mut needed = self.feed.end();
        let mut failed = Vec::new();
        for (&token, connection) in &mut self.connections {
            // If WRITABLE is on, the socket is full, and an event will report room.
            if !connection.interest.is_writable()
                && let Err(e) = connection.flush(&self.feed, registry, &mut self.log)
            {
                failed.push((token, e));
            }
            needed = needed.min(connection.sent);
            let unsent = self.feed.end() - connection.sent;
            self.pacing.note_unsent(token, unsent);
        }
        self.feed.forget_before(needed);

        // Only now: nothing may leave the map while it is being iterated.
        for (token, e) in failed {
            self.fail(token, "Write error for", e.to_string());
        }
    }

    /// Sends the bytes queued for a client. Closes it if that fails, if it has been slow for too long,
    /// or if it has ended and has received everything up to its end.
    fn write(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if let Err(e) = connection.flush(&self.feed, self.poll.registry(), &mut self.log) {
            return self.fail(token, "Write error for", e.to_string());
        }

        let sent = connection.sent;
        let unsent = self.feed.end() - sent;
        if connection.ended_at.is_some_and(|end| sent >= end) {
            self.disconnect(token);
        } else if self.pacing.note_unsent(token, unsent) {
            let limit = format!("{HIGH_WATER} for {} s", STALL_TIME.as_secs());
            let reason = format!("{unsent} bytes queued, more than {limit}");
            self.fail(token, "Closing", reason);
        }
    }

    /// Reports why a client is closed, and closes it.
    fn fail(&mut self, token: Token, what: &str, reason: String) {
        writeln!(self.log.err, "{what} {token:?}: {reason}");
        self.disconnect(token);
    }

    /// The one way out for a client: out of the map, and closed, which removes it from epoll too
    /// (epoll(7)).
    fn disconnect(&mut self, token: Token) {
        if self.connections.remove(&token).is_some() {
            self.pacing.note_unsent(token, 0);
            writeln!(self.log.out, "Client {token:?} disconnected");
        }
    }
}

/// Waits for events. A signal that interrupts the wait (Ctrl-Z, then `fg`) is no error.
fn wait(poll: &mut Poll, events: &mut Events, time: Duration) -> Result<()> {
    match poll.poll(events, Some(time)) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
        outcome => outcome.context("cannot poll for events"),
    }
}

/// Why a client's read loop stopped, if not for an error.
enum ReadEnd {
    /// Everything that had arrived was read.
    WouldBlock,
    /// More may have arrived, and no event will report it.
    BudgetSpent,
    /// The client has sent its last byte.
    EndOfFile,
    /// A line is longer than [`MAX_LINE`].
    LineTooLong,
}

struct ClientConnection {
    stream: TcpStream,
    token: Token,
    /// What epoll reports. WRITABLE is on only while the socket is full.
    interest: Interest,
    /// The bytes since the last newline: the beginning of a line.
    read_buf: Vec<u8>,
    /// A position in the feed: all before it was sent. What follows is the client's queue.
    sent: u64,
    /// The client's own lines in its queue, which are not sent to it.
    own: VecDeque<Range<u64>>,
    /// Where the feed ended when the client had sent its last byte.
    ended_at: Option<u64>,
    /// At the end of the server: when it was last heard, once it has received everything.
    last_heard: Option<Instant>,
}

impl ClientConnection {
    /// Reads until `WouldBlock`, or until the chunk is full: its length is the client's budget.
    /// Complete lines go to the feed; the rest waits in `read_buf` for its newline.
    fn read_lines(&mut self, chunk: &mut [u8], feed: &mut Feed) -> io::Result<ReadEnd> {
        let mut filled = 0;
        while filled < chunk.len() {
            match self.stream.read(&mut chunk[filled..]) {
                Ok(0) => return Ok(ReadEnd::EndOfFile),
                Ok(n) => {
                    if !self.take_lines(&chunk[filled..filled + n], feed) {
                        return Ok(ReadEnd::LineTooLong);
                    }
                    filled += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ReadEnd::WouldBlock),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(ReadEnd::BudgetSpent)
    }

    /// Splits a chunk after its last newline. Only the new bytes are searched: the bytes kept
    /// before have no newline. Returns whether the lines are short enough.
    fn take_lines(&mut self, chunk: &[u8], feed: &mut Feed) -> bool {
        // Only the first line can be too long: a chunk is no longer than the limit.
        let first = chunk.iter().position(|&byte| byte == b'\n');
        if self.read_buf.len() + first.unwrap_or(chunk.len()) > MAX_LINE {
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

    /// That many bytes were sent. What follows them is skipped if it is the client's own.
    fn advance(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        while let Some(own) = self.own.front()
            && self.sent >= own.start
        {
            self.sent += own.end - own.start;
            self.own.pop_front();
        }
        self.own.shrink_to_fit();
    }

    /// Writes until the queue is empty or the socket is full.
    fn flush(&mut self, feed: &Feed, registry: &Registry, log: &mut Log) -> io::Result<()> {
        while self.sent < feed.end() {
            match self.write_some(feed) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    // The most frequent line: `{:?}` would take longer.
                    writeln!(log.out, "Wrote {n} bytes to Token({})", self.token.0);
                    self.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    writeln!(log.out, "Write would block for {:?}", self.token);
                    return self.ask_for(Interest::READABLE | Interest::WRITABLE, registry);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.ask_for(Interest::READABLE, registry)
    }

    /// One write of the queue, up to the second of the client's own lines.
    fn write_some(&mut self, feed: &Feed) -> io::Result<usize> {
        let end = feed.end();
        let Some(own) = self.own.front() else {
            return self.stream.write(feed.get(self.sent..end));
        };
        let next = self.own.get(1).map_or(end, |own| own.start);
        let pieces = [self.sent..own.start, own.end..next];
        self.stream
            .write_vectored(&pieces.map(|piece| IoSlice::new(feed.get(piece))))
    }

    fn ask_for(&mut self, interest: Interest, registry: &Registry) -> io::Result<()> {
        if self.interest == interest {
            return Ok(());
        }
        self.interest = interest;
        registry.reregister(&mut self.stream, self.token, interest)
    }
}
