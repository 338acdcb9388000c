//! Milestone 2: every client is kept and registered under a token of its own.
//!
//! New here: the map of clients, and `register`. An event's token leads back to its client. What
//! the clients send is not read yet.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

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
                    client => println!("Client event for {client:?}"),
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
}

#[expect(dead_code, reason = "kept from here on, used from milestone 3 on")]
struct ClientConnection {
    stream: TcpStream,
    /// The bytes since the last newline: the beginning of a line.
    read_buf: Vec<u8>,
    /// The bytes to be sent: in at the back, out at the front.
    write_buf: VecDeque<u8>,
}
