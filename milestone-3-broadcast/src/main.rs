//! Milestone 3: lines are read and queued for every other client.
//!
//! New here: `read`, `broadcast` and `disconnect`, and the client's half of them, `read_lines` and
//! `queue`. Nothing is sent yet.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// A token is a number of our choice. Each event carries the token of the socket that it is about.
const LISTENER: Token = Token(0);

/// The loop runs at least this often, even if nothing happens: a regular turn for housekeeping.
/// There is none yet, so `None` (block until an event arrives) would do as well.
const TICK: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let address = listen_address()?;
    let mut server = Server::bind(address)?;
    server.run()
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
    listener: TcpListener,
    connections: HashMap<Token, ClientConnection>,
    /// Counts up and never repeats, so a late event cannot reach the wrong client.
    next_token: usize,
}

impl Server {
    fn bind(address: SocketAddr) -> Result<Server> {
        let poll = Poll::new().context("cannot create a poll")?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot register the listener")?;

        // Port 0 lets the kernel choose: only the listener knows the real address.
        let address = listener.local_addr().context("cannot get the address")?;
        eprintln!("Listening on {address}");
        Ok(Server {
            poll,
            listener,
            connections: HashMap::new(),
            next_token: LISTENER.0 + 1,
        })
    }

    /// The event loop: wait until something is ready, deal with it, wait again.
    fn run(&mut self) -> Result<()> {
        // Room for this many events at a time. The next `poll` returns any others.
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                // A signal interrupted the wait (Ctrl-Z, then `fg`). Nothing is wrong: wait again.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("cannot poll for events"),
            }

            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    client => {
                        // End of file and errors count as readable: `read` finds out which.
                        if event.is_readable() {
                            self.read(client);
                        }
                    }
                }
            }
        }
    }

    /// Accepts until `WouldBlock`: no connection is pending. mio's sockets never block.
    ///
    /// The event reports only that a connection has arrived (edge-triggered), not that one is still
    /// pending. One event may cover five of them, and those not accepted now wait for the next event.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    println!("Accepted connection from {address}");
                    if let Err(e) = self.register(stream) {
                        eprintln!("Failed to register {address}: {e}");
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // This client gave up while its connection was pending. Go on with the next one.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    eprintln!("Failed to accept: {e}");
                    return;
                }
            }
        }
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
            read_buf: Vec::new(),
            write_buf: VecDeque::new(),
        };
        self.connections.insert(token, connection);
        println!("Registered client with {token:?}");
        Ok(())
    }

    /// Reads what a client has sent, broadcasts its complete lines, and closes it at end of file.
    fn read(&mut self, token: Token) {
        // An earlier event of this batch may have closed the client, through a failed broadcast:
        // skip its stale event.
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };

        let buffered = connection.read_buf.len();
        let mut lines = Vec::new();
        let outcome = connection.read_lines(&mut lines);

        if !lines.is_empty() {
            self.broadcast(token, &lines);
        } else if connection.read_buf.len() > buffered {
            println!("Buffering partial message from {token:?}");
        }

        match outcome {
            Ok(ReadEnd::WouldBlock) => {}
            Ok(ReadEnd::EndOfFile) => self.disconnect(token),
            Err(e) => {
                eprintln!("Read error from {token:?}: {e}");
                self.disconnect(token);
            }
        }
    }

    /// Queues complete lines for every client except their sender.
    fn broadcast(&mut self, sender: Token, lines: &[u8]) {
        let registry = self.poll.registry();
        let mut failed = Vec::new();
        for (&token, connection) in &mut self.connections {
            if token == sender {
                continue;
            }
            if let Err(e) = connection.queue(lines, registry, token) {
                eprintln!("Write error for {token:?}: {e}");
                failed.push(token);
            }
        }
        println!("Broadcast {} bytes from {sender:?}", lines.len());

        // Only now: nothing may leave the map while it is being iterated.
        for token in failed {
            self.disconnect(token);
        }
    }

    /// The one way out for a client: out of the map, out of epoll, closed.
    fn disconnect(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(&token) else {
            return;
        };
        if let Err(e) = self.poll.registry().deregister(&mut connection.stream) {
            eprintln!("Failed to deregister {token:?}: {e}");
        }
        drop(connection);
        println!("Client {token:?} disconnected");

        // At the descriptor limit (`ulimit -n`) `accept` has failed, and no event will report the
        // pending connections again. A descriptor is free now: try to accept one of them.
        self.accept();
    }
}

/// Why a client's read loop stopped, if not for an error.
enum ReadEnd {
    /// Everything that had arrived was read.
    WouldBlock,
    /// The client has sent its last byte.
    EndOfFile,
}

struct ClientConnection {
    stream: TcpStream,
    /// The bytes since the last newline: the beginning of a line.
    read_buf: Vec<u8>,
    /// The bytes to be sent: in at the back, out at the front.
    write_buf: VecDeque<u8>,
}

impl ClientConnection {
    /// Reads until `WouldBlock`, because readiness is not reported again for bytes left unread.
    /// Appends complete lines to `lines`; the rest waits in `read_buf` for its newline.
    fn read_lines(&mut self, lines: &mut Vec<u8>) -> io::Result<ReadEnd> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(ReadEnd::EndOfFile),
                Ok(n) => self.take_lines(&chunk[..n], lines),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ReadEnd::WouldBlock),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Splits a chunk after its last newline. Only the new bytes are searched: the bytes kept
    /// before have no newline. No limit on a line's length yet: milestone 5.
    fn take_lines(&mut self, chunk: &[u8], lines: &mut Vec<u8>) {
        let Some(newline) = chunk.iter().rposition(|&byte| byte == b'\n') else {
            self.read_buf.extend(chunk);
            return;
        };
        let (whole, rest) = chunk.split_at(newline + 1);
        lines.append(&mut self.read_buf);
        lines.extend(whole);
        self.read_buf.extend(rest);
    }

    /// Appends lines to the queue. WRITABLE is on while bytes are queued.
    /// No limit on the queue yet: milestone 5.
    fn queue(&mut self, lines: &[u8], registry: &Registry, token: Token) -> io::Result<()> {
        // If bytes are queued, WRITABLE is on already. Turning it on makes the kernel check again:
        // if there is room, it reports that at once, without waiting for a change.
        if self.write_buf.is_empty() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.reregister(&mut self.stream, token, interest)?;
        }
        self.write_buf.extend(lines);
        Ok(())
    }
}
