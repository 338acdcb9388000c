//! Milestone 4's server, with a switch for each of the classic mistakes.
//!
//! `mistaken ADDRESS` makes none, `mistaken MISTAKE ADDRESS` makes one, `mistaken --list` lists them.
//! The page `docs/src/mistakes.md` describes the symptoms of each and names the tests that find it;
//! `tests/mistakes.rs` runs these tests. `milestone-4-write` explains the code that is correct.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock, WriteZero};
use std::io::{self, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const LISTENER: Token = Token(0);

/// The page on the mistakes, with a section for each. Each is made in the one place that asks for it.
const PAGE: &str = include_str!("../../../docs/src/mistakes.md");

/// The mistake that this server makes, if any.
static MISTAKE: OnceLock<String> = OnceLock::new();

fn main() -> Result<()> {
    let mut arguments: Vec<_> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let sections = PAGE.split("\n## `").skip(1);
    let mut mistakes = sections.filter_map(|section| section.split('`').next());
    if arguments == ["--list"] {
        println!("{}", mistakes.collect::<Vec<_>>().join("\n"));
        return Ok(());
    }

    if arguments
        .first()
        .is_some_and(|a| mistakes.any(|mistake| mistake == a))
    {
        MISTAKE.get_or_init(|| arguments.remove(0));
    }
    if let Some(extra) = arguments.get(1) {
        bail!("{extra:?} is one argument too many");
    }
    let address = arguments.first().map_or("127.0.0.1:8080", String::as_str);
    let mut address = address
        .parse()
        .with_context(|| format!("{address:?} is not an address"))?;
    if makes("ignores-the-address") {
        address = SocketAddr::from(([127, 0, 0, 1], 8080));
    }
    Server::bind(address)?.run()
}

fn makes(mistake: &str) -> bool {
    MISTAKE.get().is_some_and(|made| made == mistake)
}

/// Prints a line on stdout, and leaves it in a buffer if the mistake is that.
fn say(line: &str) {
    static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    if !makes("forgets-to-flush") {
        println!("{line}");
        return;
    }
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.extend(format!("{line}\n").bytes());
    if kept.len() > 4096 {
        let _ = io::stdout().write_all(&mem::take(&mut *kept));
    }
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    next_token: usize,
    /// The read buffer that all clients share, if the mistake is that.
    shared_buf: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    read_buf: Vec<u8>,
    write_buf: VecDeque<u8>,
    had_writable: bool,
    /// Whether lines may be left in `read_buf`.
    has_lines: bool,
}

impl Server {
    fn bind(address: SocketAddr) -> Result<Server> {
        let poll = Poll::new()?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        if makes("blocking-listener") {
            let blocking = std::net::TcpListener::from(OwnedFd::from(listener));
            blocking.set_nonblocking(false)?;
            listener = TcpListener::from_std(blocking);
        }
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        eprintln!("Listening on {}", listener.local_addr()?);
        Ok(Server {
            poll,
            listener,
            connections: HashMap::new(),
            next_token: LISTENER.0 + 1,
            shared_buf: Vec::new(),
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(e) if e.kind() == Interrupted && !makes("dies-of-eintr") => continue,
                Err(e) => return Err(e).context("cannot poll for events"),
            }
            for event in &events {
                let token = event.token();
                if token == LISTENER {
                    self.accept();
                    continue;
                }
                let mut had_a_line = true;
                if event.is_readable() {
                    had_a_line = self.read(token)?;
                }
                if makes("skips-the-write-half") && !had_a_line {
                    continue;
                }
                if event.is_writable() {
                    self.write(token);
                }
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    say(&format!("Accepted connection from {address}"));
                    if let Err(e) = self.register(stream) {
                        eprintln!("Failed to register {address}: {e}");
                    }
                    if makes("accepts-once") {
                        return;
                    }
                }
                Err(e) if e.kind() == WouldBlock => return,
                Err(e) if [Interrupted, ConnectionAborted].contains(&e.kind()) => {}
                Err(e) => {
                    assert!(!makes("emfile-is-fatal"), "cannot accept: {e}");
                    eprintln!("Failed to accept: {e}");
                    return;
                }
            }
        }
    }

    fn register(&mut self, mut stream: TcpStream) -> io::Result<()> {
        if !makes("no-nodelay") {
            stream.set_nodelay(true)?;
        }
        if makes("blocking-clients") {
            let blocking = std::net::TcpStream::from(OwnedFd::from(stream));
            blocking.set_nonblocking(false)?;
            stream = TcpStream::from_std(blocking);
        }
        let token = self.free_token();
        self.poll
            .registry()
            .register(&mut stream, token, Interest::READABLE)?;
        let connection = Connection {
            stream,
            read_buf: Vec::new(),
            write_buf: VecDeque::new(),
            had_writable: false,
            has_lines: false,
        };
        if !makes("forgets-to-insert") {
            self.connections.insert(token, connection);
        }
        say(&format!("Registered client with {token:?}"));
        Ok(()) // A connection that is not in the map is dropped here.
    }

    fn free_token(&mut self) -> Token {
        let is_free = |token: &Token| !self.connections.contains_key(token);
        if makes("reuses-tokens")
            && let Some(token) = (1..self.next_token).map(Token).find(is_free)
        {
            return token;
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    /// Returns whether at least one complete line has arrived.
    fn read(&mut self, token: Token) -> Result<bool> {
        let Some(connection) = self.connections.get_mut(&token) else {
            return Ok(false);
        };
        if makes("shares-one-buffer") {
            connection.read_buf = mem::take(&mut self.shared_buf);
        }
        let buffered = connection.read_buf.len();
        let mut lines = Vec::new();
        let outcome = connection.read_lines(&mut lines);
        let is_longer = connection.read_buf.len() > buffered;
        if makes("shares-one-buffer") {
            self.shared_buf = mem::take(&mut connection.read_buf);
        }
        if makes("trims-white-space") {
            lines = trimmed(&lines);
        }
        if !lines.is_empty() {
            self.broadcast(token, &lines);
        } else if is_longer {
            say(&format!("Buffering partial message from {token:?}"));
        }

        match outcome {
            Ok(false) => {}
            _ if makes("forgets-to-remove") => say(&format!("Client {token:?} disconnected")),
            Ok(true) => {
                self.write(token);
                self.disconnect(token);
            }
            Err(e) if makes("reset-is-fatal") => return Err(e).context("cannot read"),
            Err(e) => {
                eprintln!("Read error from {token:?}: {e}");
                self.disconnect(token);
            }
        }
        Ok(!lines.is_empty())
    }

    fn broadcast(&mut self, sender: Token, lines: &[u8]) {
        let mut receivers: Vec<_> = self.connections.keys().copied().collect();
        receivers.sort();
        if makes("forgets-the-last") {
            receivers.pop();
        }
        if !makes("echoes-to-the-sender") {
            receivers.retain(|&token| token != sender);
        }
        let mut failed = Vec::new();
        for token in receivers {
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            if let Err(e) = connection.queue(lines, self.poll.registry(), token) {
                eprintln!("Write error for {token:?}: {e}");
                failed.push(token);
            }
        }
        let mut count = lines.len();
        if makes("forgets-the-newline") {
            count -= lines.iter().filter(|&&byte| byte == b'\n').count();
        }
        say(&format!("Broadcast {count} bytes from {sender:?}"));
        for token in failed {
            self.disconnect(token);
        }
    }

    fn write(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            assert!(!makes("panics-on-stale"), "no connection for {token:?}");
            return;
        };
        if let Err(e) = connection.flush(self.poll.registry(), token) {
            eprintln!("Write error for {token:?}: {e}");
            self.disconnect(token);
        }
    }

    fn disconnect(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(&token) else {
            return;
        };
        if let Err(e) = self.poll.registry().deregister(&mut connection.stream) {
            eprintln!("Failed to deregister {token:?}: {e}");
        }
        drop(connection);
        say(&format!("Client {token:?} disconnected"));
        self.accept();
    }
}

impl Connection {
    /// Returns whether the client has sent its last byte.
    fn read_lines(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(n) => self.take_lines(&chunk[..n], lines),
                Err(e) if e.kind() == WouldBlock => return Ok(false),
                Err(e) if e.kind() == Interrupted => continue,
                Err(e) => return Err(e),
            }
            if makes("reads-once") {
                return Ok(false);
            }
        }
    }

    fn take_lines(&mut self, chunk: &[u8], lines: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(chunk);
        let chunk = match makes("lossy-text") {
            true => text.as_bytes(),
            false => chunk,
        };
        if makes("sends-half-lines") {
            lines.extend(chunk);
            return;
        }
        let read_buf = &mut self.read_buf;
        if makes("takes-one-line") {
            // To search bytes again that have no newline would be a second mistake (row 5).
            let from = if self.has_lines { 0 } else { read_buf.len() };
            read_buf.extend(chunk);
            let newline = read_buf[from..].iter().position(|&byte| byte == b'\n');
            self.has_lines = newline.is_some();
            if let Some(newline) = newline {
                lines.extend(read_buf.drain(..=from + newline));
            }
            return;
        }
        let Some(newline) = chunk.iter().rposition(|&byte| byte == b'\n') else {
            read_buf.extend(chunk);
            return;
        };
        let (whole, rest) = chunk.split_at(newline + 1);
        lines.append(read_buf);
        lines.extend(whole);
        if !makes("drops-half-lines") {
            read_buf.extend(rest);
        }
    }

    fn queue(&mut self, lines: &[u8], registry: &Registry, token: Token) -> io::Result<()> {
        let asks_again = !self.had_writable || !makes("writable-once");
        if self.write_buf.is_empty() && asks_again {
            let interest = match makes("replaces-the-interest") {
                true => Interest::WRITABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            registry.reregister(&mut self.stream, token, interest)?;
            self.had_writable = true;
        }
        if makes("wrong-order") {
            let waiting = mem::take(&mut self.write_buf);
            self.write_buf = lines.iter().copied().chain(waiting).collect();
        } else {
            self.write_buf.extend(lines);
        }
        Ok(())
    }

    fn flush(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        while !self.write_buf.is_empty() {
            let (mut front, _) = self.write_buf.as_slices();
            if makes("writes-once") {
                front = &front[..front.len().min(4096)];
            }
            match self.stream.write(front) {
                Ok(0) => return Err(WriteZero.into()),
                Ok(n) => {
                    say(&format!("Wrote {n} bytes to {token:?}"));
                    self.write_buf.drain(..n);
                }
                Err(e) if e.kind() == WouldBlock && !makes("would-block-closes") => {
                    say(&format!("Write would block for {token:?}"));
                    return Ok(());
                }
                Err(e) if e.kind() == Interrupted => continue,
                Err(e) => return Err(e),
            }
            if makes("drops-the-rest") {
                self.write_buf.clear();
            }
            if makes("writes-once") && !self.write_buf.is_empty() {
                return Ok(());
            }
        }

        let interest = match makes("writable-always") {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        registry.reregister(&mut self.stream, token, interest)
    }
}

fn trimmed(lines: &[u8]) -> Vec<u8> {
    let lines = lines.split_inclusive(|&byte| byte == b'\n');
    let trimmed = lines.flat_map(|line| [line.trim_ascii(), b"\n"]);
    trimmed.collect::<Vec<_>>().concat()
}
