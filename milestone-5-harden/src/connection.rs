//! One client: its socket, the line it has not finished, and the bytes that wait for it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::limits::{LAST_READS, LINGER_TIME, QUIET_TIME, READ_BUDGET};
use crate::lines::{LineSplitter, LineTooLong};
use crate::output::Output;

pub struct Connection {
    stream: TcpStream,
    token: Token,
    splitter: LineSplitter,
    queue: VecDeque<u8>,
    /// Bytes read in this period, by which its budget is reckoned.
    spent: usize,
    period: u64,
    /// Whether its last budget was spent before all was read.
    pub is_bulk_sender: bool,
    /// Whether it stands in one of the server's lists of senders to come back to.
    pub is_listed: bool,
    /// Whether this turn has lines of its own, which it must not get back.
    pub has_spoken: bool,
    farewell: Option<Farewell>,
}

/// The last moments of a client to which everything was sent, at the end of the server.
struct Farewell {
    begun: Instant,
    /// When it has sent something last.
    heard: Instant,
}

/// Why a client's read loop stopped, if not for an error.
pub enum Reading {
    /// All that had come was read: an event tells when there is more.
    Drained,
    /// The budget is spent. No event will tell of what is left unread.
    Unfinished,
    /// The client has sent its last byte.
    EndOfFile,
}

/// Why a client cannot be read any more.
pub enum ReadError {
    Io(io::Error),
    LineTooLong,
}

impl From<LineTooLong> for ReadError {
    fn from(_: LineTooLong) -> ReadError {
        ReadError::LineTooLong
    }
}

impl Connection {
    pub fn new(stream: TcpStream, token: Token) -> Connection {
        Connection {
            stream,
            token,
            splitter: LineSplitter::default(),
            queue: VecDeque::new(),
            spent: 0,
            period: 0,
            is_bulk_sender: false,
            is_listed: false,
            has_spoken: false,
            farewell: None,
        }
    }

    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.stream, self.token, Interest::READABLE)
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.stream)
    }

    /// How many bytes of an unfinished line are kept.
    pub fn partial(&self) -> usize {
        self.splitter.partial()
    }

    /// How many bytes wait to be written.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Gives it a fresh budget, unless it was read in this period before.
    pub fn begin_period(&mut self, period: u64) {
        if self.period != period {
            self.period = period;
            self.spent = 0;
        }
    }

    /// Reads until nothing is left or the budget is spent. Whole lines go to the end of `lines`.
    pub fn read_lines(
        &mut self,
        budget: usize,
        buffer: &mut [u8; READ_BUDGET],
        lines: &mut Vec<u8>,
    ) -> Result<Reading, ReadError> {
        while self.spent < budget {
            let room = &mut buffer[..budget - self.spent];
            match self.stream.read(room) {
                Ok(0) => return Ok(Reading::EndOfFile),
                Ok(n) => {
                    self.spent += n;
                    self.splitter.split(&room[..n], lines)?;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Reading::Drained),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ReadError::Io(e)),
            }
        }
        Ok(Reading::Unfinished)
    }

    /// Writes the pieces right away, in one call. Only what the socket does not take is queued, and
    /// only then WRITABLE is asked for.
    pub fn send(
        &mut self,
        pieces: &[IoSlice],
        registry: &Registry,
        log: &mut Output,
    ) -> io::Result<()> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if length == 0 {
            return Ok(());
        }
        // Bytes that wait already go first, and WRITABLE is on for them.
        if !self.queue.is_empty() {
            self.queue_all_but(0, pieces);
            return Ok(());
        }

        let written = write(&mut self.stream, self.token, pieces, log)?.unwrap_or(0);
        if written < length {
            self.queue_all_but(written, pieces);
            say_that_it_would_block(self.token, log);
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.reregister(&mut self.stream, self.token, interest)?;
        }
        Ok(())
    }

    fn queue_all_but(&mut self, mut written: usize, pieces: &[IoSlice]) {
        for piece in pieces {
            let (_, rest) = piece.split_at(written.min(piece.len()));
            written -= piece.len() - rest.len();
            self.queue.extend(rest);
        }
    }

    /// Writes the queue until it is empty, which turns WRITABLE off, or the socket is full.
    pub fn flush(&mut self, registry: &Registry, log: &mut Output) -> io::Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        while !self.queue.is_empty() {
            let (front, back) = self.queue.as_slices();
            let pieces = [IoSlice::new(front), IoSlice::new(back)];
            match write(&mut self.stream, self.token, &pieces, log)? {
                Some(n) => self.queue.drain(..n),
                None => {
                    say_that_it_would_block(self.token, log);
                    return Ok(());
                }
            };
        }
        // A new one, because the old one keeps the memory that the backlog took.
        self.queue = VecDeque::new();
        registry.reregister(&mut self.stream, self.token, Interest::READABLE)
    }

    /// At the end of the server: whether everything was sent, and the connection may be closed. Who
    /// goes on sending is given [`LINGER_TIME`] to take what is on its way.
    pub fn may_close(&mut self, buffer: &mut [u8; READ_BUDGET]) -> bool {
        if !self.queue.is_empty() {
            return false;
        }
        let stream = &mut self.stream;
        let farewell = self.farewell.get_or_insert_with(|| {
            // The client sees end of file, and may close. If this fails, it has gone already, and
            // `read` tells.
            let _ = stream.shutdown(Shutdown::Write);
            let now = Instant::now();
            Farewell {
                begun: now,
                heard: now,
            }
        });
        // A few reads at a time, because others wait to be written to.
        for _ in 0..LAST_READS {
            match stream.read(buffer) {
                Ok(n) if n > 0 => farewell.heard = Instant::now(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // End of file, or an error: it is gone.
                _ => return true,
            }
        }
        farewell.heard.elapsed() >= QUIET_TIME || farewell.begun.elapsed() >= LINGER_TIME
    }
}

fn say_that_it_would_block(token: Token, log: &mut Output) {
    log.line(format_args!("Write would block for {token:?}"));
}

/// One write. `None` if the socket is full.
fn write(
    stream: &mut TcpStream,
    token: Token,
    pieces: &[IoSlice],
    log: &mut Output,
) -> io::Result<Option<usize>> {
    loop {
        // One piece is the rule, and `write` costs a little less than `write_vectored`.
        let result = match pieces {
            [piece] => stream.write(piece),
            _ => stream.write_vectored(pieces),
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                log.wrote(n, token);
                return Ok(Some(n));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as Client};
    use std::thread;
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn an_emptied_queue_holds_no_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
        // If nothing comes any more, it gives up and leaves, and the other end is told.
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut poll = Poll::new().unwrap();
        let registry = &poll.registry().try_clone().unwrap();
        let mut log = Output::new(io::stdout()).unwrap();
        let mut connection = Connection::new(TcpStream::from_std(stream), Token(1));
        connection.register(registry).unwrap();

        // More than the kernel takes while nobody reads.
        let bytes = vec![b'x'; 16 << 20];
        let pieces = [IoSlice::new(&bytes)];
        connection.send(&pieces, registry, &mut log).unwrap();
        assert!(connection.queue.capacity() > 0);

        let reader = thread::spawn(move || client.read_exact(&mut vec![0; 16 << 20]));
        let mut events = Events::with_capacity(1);
        while connection.queued() > 0 {
            poll.poll(&mut events, None).unwrap();
            connection.flush(registry, &mut log).unwrap();
        }
        reader.join().unwrap().unwrap();
        assert_eq!(connection.queue.capacity(), 0);
    }
}
