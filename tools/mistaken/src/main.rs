//! Milestone 4's server, with a switch for each of the classic mistakes.
//!
//! `mistaken ADDRESS` makes none, `mistaken MISTAKE ADDRESS` makes one, `mistaken --list` lists them.
//! The page `docs/src/mistakes.md` describes the symptoms of each and names the tests that find it;
//! `tests/mistakes.rs` runs these tests. `milestone-4-write` explains the code that is correct.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::env;
use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

const LISTENER: Token = Token(0);

/// The mistakes. Each is made in the one place that checks for it.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    AcceptsOnce,
    ReadsOnce,
    WritesOnce,
    DropsTheRest,
    DropsHalfLines,
    SendsHalfLines,
    EchoesToTheSender,
    ForgetsTheLast,
    WrongOrder,
    WritableOnce,
    WritableAlways,
    ForgetsToRemove,
    ReusesTokens,
    PanicsOnStale,
    SkipsTheWriteHalf,
    ResetIsFatal,
    DiesOfEintr,
    NoNodelay,
    BlockingListener,
    BlockingClients,
    TrimsWhiteSpace,
    ForgetsTheNewline,
    ForgetsToFlush,
    IgnoresTheAddress,
    EmfileIsFatal,
    TakesOneLine,
    LossyText,
    ReplacesTheInterest,
    WouldBlockCloses,
    SharesOneBuffer,
    ForgetsToInsert,
}

const MISTAKES: [(&str, Mistake); 31] = [
    ("accepts-once", Mistake::AcceptsOnce),
    ("reads-once", Mistake::ReadsOnce),
    ("writes-once", Mistake::WritesOnce),
    ("drops-the-rest", Mistake::DropsTheRest),
    ("drops-half-lines", Mistake::DropsHalfLines),
    ("sends-half-lines", Mistake::SendsHalfLines),
    ("echoes-to-the-sender", Mistake::EchoesToTheSender),
    ("forgets-the-last", Mistake::ForgetsTheLast),
    ("wrong-order", Mistake::WrongOrder),
    ("writable-once", Mistake::WritableOnce),
    ("writable-always", Mistake::WritableAlways),
    ("forgets-to-remove", Mistake::ForgetsToRemove),
    ("reuses-tokens", Mistake::ReusesTokens),
    ("panics-on-stale", Mistake::PanicsOnStale),
    ("skips-the-write-half", Mistake::SkipsTheWriteHalf),
    ("reset-is-fatal", Mistake::ResetIsFatal),
    ("dies-of-eintr", Mistake::DiesOfEintr),
    ("no-nodelay", Mistake::NoNodelay),
    ("blocking-listener", Mistake::BlockingListener),
    ("blocking-clients", Mistake::BlockingClients),
    ("trims-white-space", Mistake::TrimsWhiteSpace),
    ("forgets-the-newline", Mistake::ForgetsTheNewline),
    ("forgets-to-flush", Mistake::ForgetsToFlush),
    ("ignores-the-address", Mistake::IgnoresTheAddress),
    ("emfile-is-fatal", Mistake::EmfileIsFatal),
    ("takes-one-line", Mistake::TakesOneLine),
    ("lossy-text", Mistake::LossyText),
    ("replaces-the-interest", Mistake::ReplacesTheInterest),
    ("would-block-closes", Mistake::WouldBlockCloses),
    ("shares-one-buffer", Mistake::SharesOneBuffer),
    ("forgets-to-insert", Mistake::ForgetsToInsert),
];

fn main() -> Result<()> {
    let mut arguments: Vec<_> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if arguments == ["--list"] {
        for (name, _) in MISTAKES {
            println!("{name}");
        }
        return Ok(());
    }

    let mut mistake = None;
    if let Some(&(_, wanted)) = MISTAKES
        .iter()
        .find(|(n, _)| arguments.first().is_some_and(|a| a == n))
    {
        mistake = Some(wanted);
        arguments.remove(0);
    }
    if let Some(extra) = arguments.get(1) {
        bail!("{extra:?} is one argument too many");
    }
    let address = arguments.first().map_or("127.0.0.1:8080", String::as_str);
    let address = address
        .parse()
        .with_context(|| format!("{address:?} is not an address"))?;
    let address = match mistake {
        Some(Mistake::IgnoresTheAddress) => SocketAddr::from(([127, 0, 0, 1], 8080)),
        _ => address,
    };
    Server::bind(address, mistake)?.run()
}

/// Prints a line on stdout, and leaves it in a buffer if the mistake is that.
fn say(mistake: Option<Mistake>, line: fmt::Arguments) {
    static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    if mistake != Some(Mistake::ForgetsToFlush) {
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
    mistake: Option<Mistake>,
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    next_token: usize,
    /// The only read buffer that `SharesOneBuffer` has.
    shared_buf: Rc<RefCell<Vec<u8>>>,
}

struct Connection {
    mistake: Option<Mistake>,
    stream: TcpStream,
    read_buf: Rc<RefCell<Vec<u8>>>,
    write_buf: VecDeque<u8>,
    had_writable: bool,
    /// Whether lines may be left in `read_buf`.
    has_lines: bool,
}

impl Server {
    fn bind(address: SocketAddr, mistake: Option<Mistake>) -> Result<Server> {
        let poll = Poll::new()?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        if mistake == Some(Mistake::BlockingListener) {
            let blocking = std::net::TcpListener::from(OwnedFd::from(listener));
            blocking.set_nonblocking(false)?;
            listener = TcpListener::from_std(blocking);
        }
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        eprintln!("Listening on {}", listener.local_addr()?);
        Ok(Server {
            mistake,
            poll,
            listener,
            connections: HashMap::new(),
            next_token: LISTENER.0 + 1,
            shared_buf: Rc::default(),
        })
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Ok(()) => {}
                Err(e)
                    if e.kind() == io::ErrorKind::Interrupted
                        && !self.makes(Mistake::DiesOfEintr) =>
                {
                    continue;
                }
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
                if self.makes(Mistake::SkipsTheWriteHalf) && !had_a_line {
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
                    say(
                        self.mistake,
                        format_args!("Accepted connection from {address}"),
                    );
                    if let Err(e) = self.register(stream) {
                        eprintln!("Failed to register {address}: {e}");
                    }
                    if self.makes(Mistake::AcceptsOnce) {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    assert!(!self.makes(Mistake::EmfileIsFatal), "cannot accept: {e}");
                    eprintln!("Failed to accept: {e}");
                    return;
                }
            }
        }
    }

    fn register(&mut self, mut stream: TcpStream) -> io::Result<()> {
        if !self.makes(Mistake::NoNodelay) {
            stream.set_nodelay(true)?;
        }
        if self.makes(Mistake::BlockingClients) {
            let blocking = std::net::TcpStream::from(OwnedFd::from(stream));
            blocking.set_nonblocking(false)?;
            stream = TcpStream::from_std(blocking);
        }
        let token = self.free_token();
        self.poll
            .registry()
            .register(&mut stream, token, Interest::READABLE)?;
        let read_buf = match self.makes(Mistake::SharesOneBuffer) {
            true => Rc::clone(&self.shared_buf),
            false => Rc::default(),
        };
        let connection = Connection {
            mistake: self.mistake,
            stream,
            read_buf,
            write_buf: VecDeque::new(),
            had_writable: false,
            has_lines: false,
        };
        if !self.makes(Mistake::ForgetsToInsert) {
            self.connections.insert(token, connection);
        }
        say(
            self.mistake,
            format_args!("Registered client with {token:?}"),
        );
        Ok(()) // A connection that is not in the map is dropped here.
    }

    fn free_token(&mut self) -> Token {
        if self.makes(Mistake::ReusesTokens) {
            self.next_token = LISTENER.0 + 1;
            while self.connections.contains_key(&Token(self.next_token)) {
                self.next_token += 1;
            }
            return Token(self.next_token);
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
        let buffered = connection.read_buf.borrow().len();
        let mut lines = Vec::new();
        let outcome = connection.read_lines(&mut lines);
        if self.mistake == Some(Mistake::TrimsWhiteSpace) {
            lines = trimmed(&lines);
        }
        if !lines.is_empty() {
            self.broadcast(token, &lines);
        } else if connection.read_buf.borrow().len() > buffered {
            say(
                self.mistake,
                format_args!("Buffering partial message from {token:?}"),
            );
        }

        if self.makes(Mistake::ForgetsToRemove) && !matches!(outcome, Ok(false)) {
            say(self.mistake, format_args!("Client {token:?} disconnected"));
            return Ok(true);
        }
        match outcome {
            Ok(false) => {}
            Ok(true) => {
                self.write(token);
                self.disconnect(token);
            }
            Err(e) if self.makes(Mistake::ResetIsFatal) => {
                return Err(e).context("cannot read");
            }
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
        if self.makes(Mistake::ForgetsTheLast) {
            receivers.pop();
        }
        if !self.makes(Mistake::EchoesToTheSender) {
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
        if self.makes(Mistake::ForgetsTheNewline) {
            count -= lines.iter().filter(|&&byte| byte == b'\n').count();
        }
        say(
            self.mistake,
            format_args!("Broadcast {count} bytes from {sender:?}"),
        );
        for token in failed {
            self.disconnect(token);
        }
    }

    fn write(&mut self, token: Token) {
        let panics = self.makes(Mistake::PanicsOnStale);
        let Some(connection) = self.connections.get_mut(&token) else {
            assert!(!panics, "no connection for {token:?}");
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
        say(self.mistake, format_args!("Client {token:?} disconnected"));
        self.accept();
    }
}

impl Connection {
    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Returns whether the client has sent its last byte.
    fn read_lines(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(n) => self.take_lines(&chunk[..n], lines),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            if self.makes(Mistake::ReadsOnce) {
                return Ok(false);
            }
        }
    }

    fn take_lines(&mut self, chunk: &[u8], lines: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(chunk);
        let chunk = match self.makes(Mistake::LossyText) {
            true => text.as_bytes(),
            false => chunk,
        };
        if self.makes(Mistake::SendsHalfLines) {
            lines.extend(chunk);
            return;
        }
        let mut read_buf = self.read_buf.borrow_mut();
        if self.makes(Mistake::TakesOneLine) {
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
        lines.append(&mut read_buf);
        lines.extend(whole);
        if !self.makes(Mistake::DropsHalfLines) {
            read_buf.extend(rest);
        }
    }

    fn queue(&mut self, lines: &[u8], registry: &Registry, token: Token) -> io::Result<()> {
        let asks_again = !self.had_writable || !self.makes(Mistake::WritableOnce);
        if self.write_buf.is_empty() && asks_again {
            let interest = match self.makes(Mistake::ReplacesTheInterest) {
                true => Interest::WRITABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            registry.reregister(&mut self.stream, token, interest)?;
            self.had_writable = true;
        }
        if self.makes(Mistake::WrongOrder) {
            let waiting = mem::take(&mut self.write_buf);
            self.write_buf.extend(lines);
            self.write_buf.extend(waiting);
        } else {
            self.write_buf.extend(lines);
        }
        Ok(())
    }

    fn flush(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        while !self.write_buf.is_empty() {
            let (mut front, _) = self.write_buf.as_slices();
            if self.makes(Mistake::WritesOnce) {
                front = &front[..front.len().min(4096)];
            }
            match self.stream.write(front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    say(self.mistake, format_args!("Wrote {n} bytes to {token:?}"));
                    self.write_buf.drain(..n);
                }
                Err(e)
                    if e.kind() == io::ErrorKind::WouldBlock
                        && !self.makes(Mistake::WouldBlockCloses) =>
                {
                    say(
                        self.mistake,
                        format_args!("Write would block for {token:?}"),
                    );
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            if self.makes(Mistake::DropsTheRest) {
                self.write_buf.clear();
            }
            if self.makes(Mistake::WritesOnce) && !self.write_buf.is_empty() {
                return Ok(());
            }
        }

        let interest = match self.makes(Mistake::WritableAlways) {
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
