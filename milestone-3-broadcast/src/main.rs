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

/// A token is a number of our choice. It comes back with each event and says whose the event is.
const LISTENER: Token = Token(0);

/// The loop turns over at least this often, even when nothing happens: a regular turn for
/// housekeeping. There is none yet, so to wait for ever (`None`) would do as well.
const TICK: Duration = Duration::from_millis(100);

fn main() -> Result<()> {
    let address = listen_address()?;
    let mut server = Server::bind(address)?;
    server.run()
}

/// The address to listen on: the first argument, or the default where there is none.
fn listen_address() -> Result<SocketAddr> {
    // `args_os`, because `args` panics on an argument that is not Unicode.
    let mut arguments = env::args_os().skip(1);
    let address = match arguments.next() {
        Some(argument) => argument.to_string_lossy().into_owned(),
        None => DEFAULT_ADDRESS.to_owned(),
    };
    if let Some(extra) = arguments.next() {
        bail!("expected one address at most, but {extra:?} follows {address:?}");
    }
    address
        .parse()
        .with_context(|| format!("{address:?} is not an address such as {DEFAULT_ADDRESS:?}"))
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, ClientConnection>,
    /// Counts up and is never used twice, so a late event cannot reach the wrong client.
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
        let address = listener.local_addr().context("cannot tell the address")?;
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
        // Room for so many events at a time. If there are more, the next `poll` brings them.
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, Some(TICK)) {
                Ok(()) => {}
                // A signal came first (Ctrl-Z, then `fg`). Nothing is wrong: wait again.
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

    /// Accepts until nobody waits any more, which `WouldBlock` says: mio's sockets never block.
    ///
    /// The event says only that somebody new waits (edge-triggered), not that somebody still does.
    /// Five clients may stand behind one event, and whoever is left waits until another connects.
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
                // This one gave up while it waited. The next one may not have.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    eprintln!("Failed to accept: {e}");
                    return;
                }
            }
        }
    }

    /// Gives a client its token, asks for its readiness, and keeps it.
    fn register(&mut self, mut stream: TcpStream) -> io::Result<()> {
        // Send small lines at once: without this they wait until the client has acknowledged the
        // line before, and that may take it 40 ms.
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

    /// Takes what a client has sent, passes its whole lines on, and closes it if it has ended.
    fn read(&mut self, token: Token) {
        // An earlier event of this batch may have closed the client, by a broadcast that failed:
        // pass over its late event.
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

    /// Queues whole lines for every client but their sender.
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

        // Only now, because nothing may leave the map while we walk it.
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

        // At the descriptor limit (`ulimit -n`) `accept` has failed, and no event will tell again
        // of those who wait. One descriptor is free now, so ask: it may be for one of them.
        self.accept();
    }
}

/// Why a client's read loop stopped, when nothing went wrong.
enum ReadEnd {
    /// All that had come was read.
    WouldBlock,
    /// The client has sent its last byte.
    EndOfFile,
}

struct ClientConnection {
    stream: TcpStream,
    /// What has come since the last newline: the beginning of a line.
    read_buf: Vec<u8>,
    /// What waits to be sent. Bytes join at the back and leave from the front.
    write_buf: VecDeque<u8>,
}

impl ClientConnection {
    /// Reads until nothing is left, because readiness is not told again for what is left unread.
    /// Whole lines go to the end of `lines`, the rest waits in `read_buf` for its newline.
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

    /// Cuts a chunk behind its last newline. Only the new bytes are searched: there is no newline in
    /// what was kept. No limit on a line's length yet: milestone 5.
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

    /// Puts lines into the queue and sees to it that WRITABLE is on while bytes wait there.
    /// No limit on the queue yet: milestone 5.
    fn queue(&mut self, lines: &[u8], registry: &Registry, token: Token) -> io::Result<()> {
        // Bytes that wait already have turned WRITABLE on already. To turn it on makes the kernel
        // look anew: if there is room, it says so at once, and does not wait for a change.
        if self.write_buf.is_empty() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.reregister(&mut self.stream, token, interest)?;
        }
        self.write_buf.extend(lines);
        Ok(())
    }
}
