//! Milestone 1: an event loop that accepts TCP connections.
//!
//! One thread waits for readiness with `Poll`. Every client is accepted, announced and dropped.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mio::net::TcpListener;
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
        Ok(Server { poll, listener })
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
                if event.token() == LISTENER {
                    self.accept();
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
                    // Nothing keeps the stream yet, so it is closed: the client sees end of file.
                    drop(stream);
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
}
