//! The clients of one server, and the rounds they play with it.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::protocol::{Greeting, Ping, Protocol};
use crate::workload::Workload;

/// How long all clients together may take to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// How long a round may last: far longer than any does.
const ROUND_PATIENCE: Duration = Duration::from_secs(20);

/// What one read can take.
const BUFFER: usize = 64 * 1024;

/// All clients of one server: first the readers, then the senders.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    senders: Range<usize>,
    /// How many lines each sender sends in a round.
    lines: usize,
    /// Those lines, as they are sent.
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// What became of a round.
pub(crate) struct Round {
    /// From the first write until the last client had everything.
    pub(crate) time: Duration,
    /// How many messages were received.
    pub(crate) deliveries: usize,
}

impl Load {
    /// Connects all clients of a workload. Returns when each has received a first line, or sent it.
    pub(crate) fn connect(
        address: SocketAddr,
        protocol: Protocol,
        workload: &Workload,
    ) -> Result<Load> {
        // The newline is the line's last byte.
        let text = "x".repeat(workload.line_bytes - 1);
        let messages = Rc::new(Pattern::new(&protocol.received(&text), protocol.ping()));
        let replies = protocol.reply(workload.readers);
        let replies = Rc::new(Pattern::new(&replies, protocol.ping()));

        let poll = Poll::new().context("cannot create a poll")?;
        let deadline = Instant::now() + CONNECT_PATIENCE;
        let mut clients = Vec::with_capacity(workload.clients());
        for index in 0..workload.clients() {
            let sender = index >= workload.readers;
            let receives = protocol.receives(sender);
            let stream = open(address, protocol.greeting(sender), deadline)
                .and_then(|stream| register(stream, &poll, Token(index), sender))
                .with_context(|| format!("client {index} cannot connect"))?;
            let pattern = if receives { &messages } else { &replies };
            clients.push(Client::new(stream, receives, Rc::clone(pattern)));
        }

        let mut load = Load {
            poll,
            events: Events::with_capacity(1024),
            clients,
            senders: workload.readers..workload.clients(),
            lines: workload.lines,
            request: protocol.sent(&text).repeat(workload.lines).into_bytes(),
            buffer: vec![0; BUFFER],
        };
        load.greet()?;
        Ok(load)
    }

    /// The client that connected last sends one line. A server accepts in turn, so when it reads
    /// this line it knows everybody, and everybody gets it.
    fn greet(&mut self) -> Result<()> {
        let last = self.senders.end - 1..self.senders.end;
        self.exchange(last, 1)
            .context("the first line, sent when all were connected, did not come through")?;
        Ok(())
    }

    /// Each sender sends its lines, and everybody receives them.
    pub(crate) fn round(&mut self) -> Result<Round> {
        self.exchange(self.senders.clone(), self.lines)
    }

    /// Fails if anything comes that nobody has sent.
    pub(crate) fn expect_silence(&mut self) -> Result<()> {
        // Nobody is waited for, so the first look is the last.
        self.turn(Duration::ZERO, 0, &mut 0)
    }

    fn exchange(&mut self, senders: Range<usize>, lines: usize) -> Result<Round> {
        let (mut waiting, deliveries) = self.set_targets(&senders, lines);
        let everybody = waiting;
        let size = self.request.len() / self.lines * lines;

        let start = Instant::now();
        for client in &mut self.clients[senders] {
            client.unsent = size;
            client.send(&self.request[..size])?;
        }
        while waiting > 0 {
            let Some(left) = ROUND_PATIENCE.checked_sub(start.elapsed()) else {
                bail!(
                    "{waiting} of {everybody} clients did not receive all that they wait for in \
                     {ROUND_PATIENCE:?}"
                );
            };
            self.turn(left, size, &mut waiting)?;
        }
        Ok(Round {
            time: start.elapsed(),
            deliveries,
        })
    }

    /// Tells each client up to where it must receive. Returns how many have to wait for something,
    /// and how many messages are to come.
    fn set_targets(&mut self, senders: &Range<usize>, lines: usize) -> (usize, usize) {
        let mut waiting = 0;
        let mut deliveries = 0;
        for (index, client) in self.clients.iter_mut().enumerate() {
            let own = usize::from(senders.contains(&index));
            let messages = if client.receives {
                (senders.len() - own) * lines
            } else {
                own * lines
            };
            let bytes = messages * client.pattern.period;
            client.target += bytes as u64;
            waiting += usize::from(bytes > 0);
            if client.receives {
                deliveries += messages;
            }
        }
        (waiting, deliveries)
    }

    /// Waits for events once and deals with them. Each client that has all it waits for is taken
    /// off `waiting`.
    fn turn(&mut self, timeout: Duration, size: usize, waiting: &mut usize) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e).context("cannot poll for events"),
        }
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            if event.is_writable() {
                client.send(&self.request[..size])?;
            }
            if event.is_readable() && client.receive(&mut self.buffer)? {
                *waiting -= 1;
            }
        }
        Ok(())
    }
}

/// Connects, says what must be said and waits for the answer.
fn open(
    address: SocketAddr,
    greeting: Option<Greeting>,
    deadline: Instant,
) -> Result<net::TcpStream> {
    let stream = net::TcpStream::connect_timeout(&address, time_until(deadline)?)?;
    stream.set_nodelay(true)?;
    if let Some(greeting) = greeting {
        introduce(&stream, &greeting, deadline)?;
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn introduce(mut stream: &net::TcpStream, greeting: &Greeting, deadline: Instant) -> Result<()> {
    stream.write_all(greeting.hello.as_bytes())?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    while !received.ends_with(greeting.answer.as_bytes()) {
        stream.set_read_timeout(Some(time_until(deadline)?))?;
        let n = stream
            .read(&mut chunk)
            .with_context(|| format!("no {:?} came", greeting.answer))?;
        ensure!(n > 0, "the server closed it");
        received.extend(&chunk[..n]);
    }
    Ok(())
}

fn time_until(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    ensure!(!left.is_zero(), "{CONNECT_PATIENCE:?} were over");
    Ok(left)
}

fn register(stream: net::TcpStream, poll: &Poll, token: Token, sender: bool) -> Result<TcpStream> {
    let mut stream = TcpStream::from_std(stream);
    let interest = if sender {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::READABLE
    };
    poll.registry()
        .register(&mut stream, token, interest)
        .context("cannot register it")?;
    Ok(stream)
}

/// The stream that a client must receive: one message over and over.
struct Pattern {
    /// The length of the message.
    period: usize,
    /// The message, repeated until a whole buffer can be compared with it from any place in it.
    bytes: Vec<u8>,
    /// What may stand between two messages.
    ping: Option<Ping>,
}

impl Pattern {
    fn new(message: &str, ping: Option<Ping>) -> Pattern {
        let period = message.len();
        // A client that gets nothing has an empty pattern.
        let times = BUFFER.checked_div(period).map_or(0, |times| times + 2);
        Pattern {
            period,
            bytes: message.repeat(times).into_bytes(),
            ping,
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Whether it receives what others send, or only replies.
    receives: bool,
    pattern: Rc<Pattern>,
    /// How many bytes of the pattern have come, pings not counted.
    received: u64,
    /// How many must have come when the round is over.
    target: u64,
    /// The place in the pattern of the byte to come: the remainder of `received`.
    place: usize,
    /// How many bytes of a ping have come.
    ping_place: usize,
    /// How many bytes at the end of the request wait for the socket to take them.
    unsent: usize,
}

impl Client {
    fn new(stream: TcpStream, receives: bool, pattern: Rc<Pattern>) -> Client {
        Client {
            stream,
            receives,
            pattern,
            received: 0,
            target: 0,
            place: 0,
            ping_place: 0,
            unsent: 0,
        }
    }

    /// Sends what is left of the request, as far as the socket takes it.
    fn send(&mut self, request: &[u8]) -> Result<()> {
        while self.unsent > 0 {
            match self.stream.write(&request[request.len() - self.unsent..]) {
                Ok(n) => self.unsent -= n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("a client cannot send"),
            }
        }
        Ok(())
    }

    /// Reads all that has come. Returns whether this was what the client waited for.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let waited = self.received < self.target;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed the connection of a client"),
                Ok(n) => {
                    self.verify(&buffer[..n])?;
                    // The socket had no more: what comes next is a new event.
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("a client cannot receive"),
            }
        }
        Ok(waited && self.received == self.target)
    }

    /// Compares what has come with what must come.
    fn verify(&mut self, chunk: &[u8]) -> Result<()> {
        let expected = self.pattern.bytes.get(self.place..self.place + chunk.len());
        if self.ping_place == 0 && expected == Some(chunk) {
            self.advance(chunk.len());
        } else {
            self.verify_bytes(chunk)?;
        }
        ensure!(
            self.received <= self.target,
            "a client received {} bytes more than were sent to it",
            self.received - self.target
        );
        Ok(())
    }

    /// The slow way, for a chunk in which there may be a ping.
    fn verify_bytes(&mut self, chunk: &[u8]) -> Result<()> {
        for byte in chunk {
            if self.ping_place == 0 && self.pattern.bytes.get(self.place) == Some(byte) {
                self.advance(1);
                continue;
            }
            self.verify_ping(*byte)?;
        }
        Ok(())
    }

    fn verify_ping(&mut self, byte: u8) -> Result<()> {
        let pattern = Rc::clone(&self.pattern);
        let Some(Ping { ping, pong }) = &pattern.ping else {
            bail!("a client received {byte:#04x} instead of what was sent");
        };
        ensure!(
            self.place == 0 && ping.get(self.ping_place) == Some(&byte),
            "a client received {byte:#04x}, which is neither what was sent nor part of a ping"
        );
        self.ping_place += 1;
        if self.ping_place == ping.len() {
            self.ping_place = 0;
            // A few bytes: if there is no room for them, something is wrong indeed.
            self.stream
                .write_all(pong)
                .context("a client cannot answer a ping")?;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.received += bytes as u64;
        self.place = (self.place + bytes)
            .checked_rem(self.pattern.period)
            .unwrap_or(0);
    }
}
