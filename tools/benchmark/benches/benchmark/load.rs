//! The clients of one server, and the rounds that they play with it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

use crate::client::{BUFFER, Client, Pattern};
use crate::protocol::Protocol;
use crate::workload::Workload;

/// How long a client may take to connect, and a round to finish: far longer than either takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes that a slow reader receives at once, and how often: 64 KiB/s.
const SIP: usize = 1024;
const SIP_INTERVAL: Duration = Duration::from_micros(1_000_000 / 64);

/// Enough to fill the connection of a slow reader: by default, the kernel buffers at most 4 MiB of
/// what the server sends (`tcp_wmem`, tcp(7)).
const FILL: usize = 5 << 20;

/// A round that takes this long has waited for a slow reader.
const LONG_ROUND: Duration = Duration::from_millis(200);

/// All clients of one server.
pub(crate) struct Load {
    workload: Workload,
    protocol: Protocol,
    server: SocketAddr,
    /// First the readers, then the senders.
    clients: Vec<Client>,
    /// Level-triggered: what is still ready is reported again, so one call per event is enough, and
    /// the sockets may be blocking. The slow readers are not in it.
    epoll: OwnedFd,
    events: Vec<Event>,
    /// What each sender sends in a round.
    request: Vec<u8>,
    pattern: Pattern,
    buffer: Vec<u8>,
    last_sip: Instant,
    /// Messages that the last round has waited for.
    pub(crate) deliveries: usize,
}

impl Load {
    /// Connects all clients of a workload. Returns when the server knows all of them.
    pub(crate) fn connect(
        server: SocketAddr,
        protocol: Protocol,
        workload: &Workload,
    ) -> Result<Load> {
        // The newline is the last byte of the line.
        let text = "x".repeat(workload.line_bytes - 1);
        let request = protocol.sent(&text).repeat(workload.lines_per_sender);
        let mut load = Load {
            workload: *workload,
            protocol,
            server,
            clients: Vec::new(),
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(1024),
            request: request.into_bytes(),
            pattern: Pattern::new(&protocol.received(&text)),
            buffer: vec![0; BUFFER],
            last_sip: Instant::now(),
            deliveries: 0,
        };
        // A visitor connects later.
        let senders = usize::from(!workload.visitor) * workload.senders;
        for index in 0..workload.readers + senders {
            load.add(index)
                .with_context(|| format!("client {index} cannot connect"))?;
        }
        // Servers accept in order, so the one that reads the last client's lines knows all clients.
        load.exchange(workload.clients() - 1..workload.clients())
            .context("the first lines, sent when all clients had connected, did not arrive")?;
        Ok(load)
    }

    /// Connects a client, sends what the protocol requires first, and waits for the answer.
    fn add(&mut self, index: usize) -> Result<()> {
        let (hello, answer) = self.protocol.greeting(index >= self.workload.readers);
        let mut stream = connect(self.server)?;
        stream.write_all(hello.as_bytes())?;
        let mut received = Vec::new();
        while !received.ends_with(answer.as_bytes()) {
            let n = stream.read(&mut self.buffer).context("no answer arrived")?;
            ensure!(n > 0, "the server closed the connection");
            received.extend(&self.buffer[..n]);
        }
        if index < self.workload.slow_readers {
            stream.set_nonblocking(true)?;
        } else {
            let index = EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &stream, index, EventFlags::IN)?;
        }
        self.clients.push(Client {
            stream,
            missing: 0,
            ping: 0,
        });
        Ok(())
    }

    /// Each sender sends its lines, and every receiver gets those of the others. Returns the time from
    /// the first write until the last client had everything.
    pub(crate) fn round(&mut self) -> Result<Duration> {
        self.exchange(self.workload.readers..self.workload.clients())
    }

    /// Sends until the server cannot write to the slow readers any more.
    pub(crate) fn fall_behind(&mut self) -> Result<()> {
        let mut sent = 0;
        while self.workload.slow_readers > 0 && sent < FILL && self.round()? < LONG_ROUND {
            sent += self.request.len();
        }
        Ok(())
    }

    /// Lets the slow readers receive what they have missed. Fails if anything else arrives.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let start = Instant::now();
        for reader in &mut self.clients[..self.workload.slow_readers] {
            while reader.missing > 0 {
                ensure!(start.elapsed() < TIMEOUT, "a slow reader has lost lines");
                if reader.receive(&self.pattern, &mut self.buffer)? == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
        self.receive(Duration::ZERO).map(drop)
    }

    fn exchange(&mut self, senders: Range<usize>) -> Result<Duration> {
        self.set_targets(&senders);
        let start = Instant::now();
        let visitor = self.send(senders)?;
        let mut missing = self.deliveries * self.pattern.message_bytes;
        while missing > 0 {
            let left = TIMEOUT
                .checked_sub(start.elapsed())
                .with_context(|| format!("{missing} bytes did not arrive within {TIMEOUT:?}"))?;
            missing -= self.receive(left.min(SIP_INTERVAL))?;
            self.sip()?;
        }
        if let Some(mut visitor) = visitor {
            visitor
                .read_to_end(&mut Vec::new())
                .context("the server did not close the connection of a visitor")?;
        }
        Ok(start.elapsed())
    }

    /// Sets what each client must receive.
    fn set_targets(&mut self, senders: &Range<usize>) {
        self.deliveries = 0;
        for (index, client) in self.clients.iter_mut().enumerate() {
            if index >= self.workload.readers && !self.protocol.senders_receive() {
                break;
            }
            let others = senders.len() - usize::from(senders.contains(&index));
            let messages = others * self.workload.lines_per_sender;
            client.missing += messages * self.pattern.message_bytes;
            if index >= self.workload.slow_readers {
                self.deliveries += messages;
            }
        }
    }

    /// Sends the requests of the senders. Returns the connection of a sender that leaves.
    fn send(&mut self, senders: Range<usize>) -> Result<Option<TcpStream>> {
        if self.workload.visitor {
            let mut visitor = connect(self.server).context("a visitor cannot connect")?;
            let (hello, _) = self.protocol.greeting(true);
            visitor.write_all(&[hello.as_bytes(), &self.request].concat())?;
            visitor.shutdown(Shutdown::Write)?;
            return Ok(Some(visitor));
        }
        for sender in &mut self.clients[senders] {
            let sent = sender.stream.write_all(&self.request);
            sent.context("a client cannot send")?;
        }
        Ok(None)
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

    /// Lets the slow readers receive a little, if it is time.
    fn sip(&mut self) -> Result<()> {
        if self.last_sip.elapsed() >= SIP_INTERVAL {
            self.last_sip = Instant::now();
            for reader in &mut self.clients[..self.workload.slow_readers] {
                reader.receive(&self.pattern, &mut self.buffer[..SIP])?;
            }
        }
        Ok(())
    }
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
