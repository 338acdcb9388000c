//! The clients of one server, and the rounds that they play with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

use crate::protocol::{PING, PONG, Protocol};
use crate::workload::Workload;

/// How long a client may take to connect, and a round to finish: far longer than either takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that one read takes.
const BUFFER: usize = 64 * 1024;

/// All clients of one server: first the readers, then the senders.
pub(crate) struct Load {
    /// Level-triggered: what is still ready is reported again, so one call per event is enough, and
    /// the sockets may be blocking.
    epoll: OwnedFd,
    events: Vec<Event>,
    clients: Vec<Client>,
    /// The first clients, which receive what others send.
    receivers: usize,
    senders: Range<usize>,
    lines_per_sender: usize,
    /// What each sender sends in a round.
    request: Vec<u8>,
    pattern: Pattern,
    buffer: Vec<u8>,
}

/// The result of a round.
pub(crate) struct Round {
    /// From the first write until the last client had everything.
    pub(crate) time: Duration,
    /// Messages received.
    pub(crate) deliveries: usize,
}

impl Load {
    /// Connects all clients of a workload. Returns when the server knows all of them.
    pub(crate) fn connect(
        address: SocketAddr,
        protocol: Protocol,
        workload: &Workload,
    ) -> Result<Load> {
        // The newline is the last byte of the line.
        let text = "x".repeat(workload.line_bytes - 1);
        let request = protocol.sent(&text).repeat(workload.lines_per_sender);
        let senders = workload.readers..workload.clients();
        let mut load = Load {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(1024),
            clients: Vec::new(),
            receivers: if protocol.senders_receive() {
                senders.end
            } else {
                senders.start
            },
            senders,
            lines_per_sender: workload.lines_per_sender,
            request: request.into_bytes(),
            pattern: Pattern::new(&protocol.received(&text)),
            buffer: vec![0; BUFFER],
        };
        for index in 0..workload.clients() {
            let greeting = protocol.greeting(load.senders.contains(&index));
            load.add(address, greeting)
                .with_context(|| format!("client {index} cannot connect"))?;
        }
        // Servers accept in order, so the one that reads the last client's lines knows all clients.
        load.exchange(load.senders.end - 1..load.senders.end)
            .context("the first lines, sent when all clients had connected, did not arrive")?;
        Ok(load)
    }

    /// Connects a client, sends what the protocol requires first, and waits for the answer.
    fn add(&mut self, address: SocketAddr, (hello, answer): (String, &str)) -> Result<()> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(hello.as_bytes())?;
        let mut received = Vec::new();
        while !received.ends_with(answer.as_bytes()) {
            let n = stream.read(&mut self.buffer).context("no answer arrived")?;
            ensure!(n > 0, "the server closed the connection");
            received.extend(&self.buffer[..n]);
        }
        let index = EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &stream, index, EventFlags::IN)?;
        self.clients.push(Client {
            stream,
            missing: 0,
            ping: 0,
        });
        Ok(())
    }

    /// Each sender sends its lines, and every receiver gets those of the others.
    pub(crate) fn round(&mut self) -> Result<Round> {
        self.exchange(self.senders.clone())
    }

    /// Fails if anything arrives that was not sent.
    pub(crate) fn expect_silence(&mut self) -> Result<()> {
        self.receive(Duration::ZERO)?;
        Ok(())
    }

    fn exchange(&mut self, senders: Range<usize>) -> Result<Round> {
        let mut deliveries = 0;
        for (index, client) in self.clients[..self.receivers].iter_mut().enumerate() {
            let others = senders.len() - usize::from(senders.contains(&index));
            let messages = others * self.lines_per_sender;
            client.missing = messages * self.pattern.message_bytes;
            deliveries += messages;
        }

        let start = Instant::now();
        for sender in &mut self.clients[senders] {
            sender
                .stream
                .write_all(&self.request)
                .context("a client cannot send")?;
        }
        let mut missing = deliveries * self.pattern.message_bytes;
        while missing > 0 {
            let left = TIMEOUT
                .checked_sub(start.elapsed())
                .with_context(|| format!("{missing} bytes did not arrive within {TIMEOUT:?}"))?;
            missing -= self.receive(left)?;
        }
        Ok(Round {
            time: start.elapsed(),
            deliveries,
        })
    }

    /// Waits for events once, and receives what has arrived. Returns its size in bytes.
    fn receive(&mut self, timeout: Duration) -> Result<usize> {
        let timeout = Timespec::try_from(timeout)?;
        let events = &mut self.events;
        retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)))?;
        let mut received = 0;
        for event in self.events.drain(..) {
            let client = &mut self.clients[event.data.u64() as usize];
            received += client.receive(&self.pattern, &mut self.buffer)?;
        }
        Ok(received)
    }
}

/// What every receiver gets: one message over and over.
struct Pattern {
    message_bytes: usize,
    /// Long enough to compare a whole buffer with, from any offset in the message.
    bytes: Vec<u8>,
}

impl Pattern {
    fn new(message: &str) -> Pattern {
        Pattern {
            message_bytes: message.len(),
            bytes: message.repeat(BUFFER / message.len() + 2).into_bytes(),
        }
    }

    /// What follows when `missing` bytes remain until the end of a message.
    fn tail(&self, missing: usize) -> &[u8] {
        let offset = self.message_bytes - missing % self.message_bytes;
        &self.bytes[offset % self.message_bytes..]
    }
}

struct Client {
    stream: TcpStream,
    /// Bytes that it must still receive in this round.
    missing: usize,
    /// Bytes received of an incomplete ping.
    ping: usize,
}

impl Client {
    /// Reads once, and verifies what has arrived. Returns its size in bytes, pings not counted.
    fn receive(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<usize> {
        let n = self
            .stream
            .read(buffer)
            .context("a client cannot receive")?;
        ensure!(n > 0, "the server closed the connection of a client");
        let before = self.missing;
        if self.ping == 0 && n <= before && pattern.tail(before).starts_with(&buffer[..n]) {
            self.missing -= n;
        } else {
            self.verify_bytes(pattern, &buffer[..n])?;
        }
        Ok(before - self.missing)
    }

    /// The slow path, for a chunk that contains a ping between two messages, or a part of one.
    fn verify_bytes(&mut self, pattern: &Pattern, chunk: &[u8]) -> Result<()> {
        for &byte in chunk {
            let expected = pattern.tail(self.missing)[0];
            if self.ping == 0 && self.missing > 0 && byte == expected {
                self.missing -= 1;
            } else if self.missing.is_multiple_of(pattern.message_bytes) && byte == PING[self.ping]
            {
                self.ping += 1;
            } else {
                bail!("a client received {byte:#04x}, which was not sent");
            }
            if self.ping == PING.len() {
                self.ping = 0;
                self.stream.write_all(PONG)?;
            }
        }
        Ok(())
    }
}
