//! The least that a single-threaded server must do: one read, and then one write straight to each
//! receiver. There is no queue, no log, no search for newlines, and no patience: a socket that does
//! not take a whole write ends the server. No server that makes a system call for each delivery can
//! do with less, so the others are measured by it. A server that gathers several lines into one
//! write can, where several senders give it the chance.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// The first argument that puts this executable into the role.
pub(crate) const ROLE: &str = "--floor";

/// Clients have the tokens from 0 on: their places in [`Floor::clients`].
const LISTENER: Token = Token(usize::MAX);

/// What one read can take: more than any workload has in flight.
const BUFFER: usize = 64 * 1024;

/// Serves at the address that is the only argument, until it is killed.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let [address] = arguments else {
        bail!("expected {ROLE} ADDRESS");
    };
    let address = address.to_string_lossy();
    let address = address
        .parse()
        .with_context(|| format!("{address:?} is not an address"))?;
    Floor::bind(address)?.serve()
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    /// By token. A client that has left leaves its place empty: there are no late comers to fill
    /// it.
    clients: Vec<Option<TcpStream>>,
    buffer: Vec<u8>,
}

impl Floor {
    fn bind(address: SocketAddr) -> Result<Floor> {
        let poll = Poll::new().context("cannot create a poll")?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot register the listener")?;
        let address = listener.local_addr().context("cannot tell the address")?;
        eprintln!("Listening on {address}");
        Ok(Floor {
            poll,
            listener,
            clients: Vec::new(),
            buffer: vec![0; BUFFER],
        })
    }

    fn serve(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("cannot poll for events"),
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    client => self.pass_on(client.0)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e).context("cannot accept"),
            };
            // As the milestones do: a small line is sent at once.
            stream.set_nodelay(true)?;
            let token = Token(self.clients.len());
            self.poll
                .registry()
                .register(&mut stream, token, Interest::READABLE)
                .context("cannot register a client")?;
            self.clients.push(Some(stream));
        }
    }

    fn pass_on(&mut self, sender: usize) -> Result<()> {
        loop {
            let Some(Some(stream)) = self.clients.get_mut(sender) else {
                return Ok(());
            };
            let n = match stream.read(&mut self.buffer) {
                // Dropping the stream closes it, and epoll forgets what is closed.
                Ok(0) => {
                    self.clients[sender] = None;
                    return Ok(());
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e).context("cannot read"),
            };
            self.send(sender, n)?;
            // The socket had no more: what comes next is a new event.
            if n < BUFFER {
                return Ok(());
            }
        }
    }

    fn send(&mut self, sender: usize, n: usize) -> Result<()> {
        let bytes = &self.buffer[..n];
        for (token, client) in self.clients.iter_mut().enumerate() {
            let Some(stream) = client else {
                continue;
            };
            if token == sender {
                continue;
            }
            let written = stream.write(bytes).context("cannot write")?;
            if written < n {
                bail!("a socket took only {written} of {n} bytes");
            }
        }
        Ok(())
    }
}
