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
                    client => println!("Client event for {client:?}"),
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
}

#[expect(dead_code, reason = "kept from here on, used from milestone 3 on")]
struct ClientConnection {
    stream: TcpStream,
    /// What has come since the last newline: the beginning of a line.
    read_buf: Vec<u8>,
    /// What waits to be sent. Bytes join at the back and leave from the front.
    write_buf: VecDeque<u8>,
}
