//! The event loop: who is ready is accepted, read or written to, and at the end of each turn
//! everybody gets the lines that it has brought.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::connection::{Connection, ReadError, Reading};
use crate::limits::{
    ACCEPT_BUDGET, GRACE_TIME, HARD_LIMIT, HIGH_WATER, LOG_PATIENCE, MAX_LINE, MAX_LOOKS,
    READ_BUDGET, STALL_TIME, TALK_BUDGET, TALK_PERIOD, TELL_AGAIN, TICK, TURN_BUDGET,
};
use crate::output::Output;
use crate::turn::Turn;

const LISTENER: Token = Token(0);
/// The clients' tokens count up from 1 and do not get here.
const SIGNALS: Token = Token(usize::MAX);

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    backlog: Backlog,
    signals: Signals,
    /// In the order of their tokens, which is the order in which the kernel has made their sockets:
    /// to go through thousands of them is noticeably faster that way.
    connections: BTreeMap<Token, Connection>,
    next_token: usize,
    turn: Turn,
    /// Senders of whom something may be left unread, the longest waiting first. No event will tell
    /// of it, so the loop comes back to them by itself. (To register them anew would bring the event
    /// back too, but costs a system call each time, and a list can also be left alone for a while.)
    unfinished: VecDeque<Token>,
    /// Bulk senders that are not to be read before the slow readers have caught up.
    held_back: VecDeque<Token>,
    /// Clients that have sent end of file. It may have closed only its sending half, so each gets
    /// what this turn has for it before it is closed.
    ended: Vec<Token>,
    /// Readers whose queue is above [`HIGH_WATER`], and since when.
    slow: HashMap<Token, Instant>,
    /// For how long a client's budget lasts: a turn, and while a reader is slow, a [`TALK_PERIOD`].
    period: u64,
    period_ends: Instant,
    /// Every client is read into it, one after the other.
    buffer: Box<[u8; READ_BUDGET]>,
    stdout: Output,
    stderr: Output,
    told_of_accept: Told,
    told_of_dropped: Told,
}

/// What is known of the connections that wait to be accepted.
#[derive(PartialEq)]
enum Backlog {
    /// An event tells of the next one.
    Empty,
    /// This turn's budget is spent. No event will tell of the rest.
    Unfinished,
    /// `accept` has failed, for want of a descriptor most likely. It is tried again in each turn.
    Stuck,
}

/// When some trouble was told last.
#[derive(Default)]
struct Told(Option<Instant>);

impl Told {
    /// Whether it may be told now: at once, and then not again for [`TELL_AGAIN`].
    fn is_due(&mut self) -> bool {
        if self.0.is_some_and(|told| told.elapsed() < TELL_AGAIN) {
            return false;
        }
        self.0 = Some(Instant::now());
        true
    }
}

impl Server {
    pub fn bind(address: SocketAddr) -> Result<Server> {
        let poll = Poll::new().context("cannot create a poll")?;
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot catch signals")?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)
            .context("cannot register the listener")?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .context("cannot register the signals")?;

        let address = listener.local_addr().context("cannot tell the address")?;
        let stdout = Output::new(io::stdout()).context("cannot start a thread for stdout")?;
        let mut stderr = Output::new(io::stderr()).context("cannot start a thread for stderr")?;
        stderr.line(format_args!("Listening on {address}"));
        stderr.hand_over();
        Ok(Server {
            poll,
            listener,
            backlog: Backlog::Empty,
            signals,
            connections: BTreeMap::new(),
            next_token: LISTENER.0 + 1,
            turn: Turn::default(),
            unfinished: VecDeque::new(),
            held_back: VecDeque::new(),
            ended: Vec::new(),
            slow: HashMap::new(),
            period: 0,
            period_ends: Instant::now(),
            buffer: Box::new([0; READ_BUDGET]),
            stdout,
            stderr,
            told_of_accept: Told::default(),
            told_of_dropped: Told::default(),
        })
    }

    /// Serves until the first SIGINT or SIGTERM, and then delivers what is queued.
    pub fn run(mut self) -> Result<ExitCode> {
        let mut events = Events::with_capacity(1024);
        self.serve(&mut events)?;
        let exit_code = self.deliver_the_rest(&mut events)?;

        let lost = self.stdout.finish(LOG_PATIENCE);
        say_what_was_dropped(lost, "stdout", &mut self.stderr);
        // Nobody is left to be told of lines of stderr.
        self.stderr.finish(LOG_PATIENCE);
        Ok(exit_code)
    }

    /// The event loop, until a signal asks for its end.
    fn serve(&mut self, events: &mut Events) -> Result<()> {
        loop {
            self.wait(events, self.time_until_next_turn())?;
            self.begin_period();

            // One of the bulk senders first, so that talkers cannot keep them from their turn. Then
            // whoever has spoken, and the other bulk senders with what is left of this turn.
            self.read_unfinished(1);
            let mut is_asked_to_end = self.serve_events(events);
            // Who speaks at the same moment is heard in the same turn: one write for all their
            // lines costs each reader's socket no more than one write for the first of them.
            for _ in 0..MAX_LOOKS {
                if self.turn.lines.is_empty() {
                    break;
                }
                self.wait(events, Duration::ZERO)?;
                if events.is_empty() {
                    break;
                }
                is_asked_to_end |= self.serve_events(events);
            }
            self.read_unfinished(self.unfinished.len());

            self.deliver_turn();
            self.close_ended();
            self.close_stalled();
            // Last, because each of those who have gone has left a descriptor.
            self.accept();
            self.tell_what_was_dropped();
            self.stdout.hand_over();
            self.stderr.hand_over();

            if is_asked_to_end {
                // Taken out of the socket by which signal-hook makes an event of a signal, so that
                // the next one is an event of its own.
                self.signals.pending().for_each(drop);
                return Ok(());
            }
        }
    }

    /// A fresh budget for everybody, where it is time for that.
    fn begin_period(&mut self) {
        let now = Instant::now();
        if self.slow.is_empty() {
            self.period += 1;
            self.period_ends = now;
        } else if now >= self.period_ends {
            self.period += 1;
            self.period_ends = now + TALK_PERIOD;
            self.write_to_slow();
        }
    }

    /// The kernel tells of room only when a third of its buffer is free, and whoever reads slowly
    /// needs long for that. So now and then it is simply tried.
    fn write_to_slow(&mut self) {
        let tokens: Vec<_> = self.slow.keys().copied().collect();
        for token in tokens {
            self.write(token);
        }
    }

    /// Returns whether a signal has asked for the end.
    fn serve_events(&mut self, events: &Events) -> bool {
        let mut is_asked_to_end = false;
        for event in events {
            match event.token() {
                // If `accept` is stuck, that somebody else waits is no news.
                LISTENER if self.backlog == Backlog::Stuck => {}
                LISTENER => self.backlog = Backlog::Unfinished,
                SIGNALS => is_asked_to_end = true,
                client => self.serve_client(client, event),
            }
        }
        is_asked_to_end
    }

    fn wait(&mut self, events: &mut Events, time: Duration) -> Result<()> {
        match self.poll.poll(events, Some(time)) {
            // A signal came first. If it is one of ours, its event comes with the next turn.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result.context("cannot poll for events"),
        }
    }

    /// No time at all, if there is work that no event will tell of.
    fn time_until_next_turn(&self) -> Duration {
        if self.unfinished.is_empty() && self.backlog != Backlog::Unfinished {
            return TICK;
        }
        Duration::ZERO
    }

    fn serve_client(&mut self, token: Token, event: &Event) {
        if event.is_readable() {
            self.read(token);
        }
        // `read` may have closed the client: `write` passes over it then.
        if event.is_writable() {
            self.write(token);
        }
    }

    /// Accepts who waits, if anybody may.
    fn accept(&mut self) {
        if self.backlog == Backlog::Empty {
            return;
        }
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    self.stdout
                        .line(format_args!("Accepted connection from {address}"));
                    if let Err(e) = self.register(stream) {
                        self.stderr
                            .line(format_args!("Failed to register {address}: {e}"));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.backlog = Backlog::Empty;
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    self.backlog = Backlog::Stuck;
                    if self.told_of_accept.is_due() {
                        self.stderr.line(format_args!("Failed to accept: {e}"));
                    }
                    return;
                }
            }
        }
    }

    fn register(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut connection = Connection::new(stream, token);
        connection.register(self.poll.registry())?;
        self.connections.insert(token, connection);
        self.stdout
            .line(format_args!("Registered client with {token:?}"));
        Ok(())
    }

    /// Comes back to so many of the senders of whom something may be left unread.
    fn read_unfinished(&mut self, most: usize) {
        for _ in 0..most {
            // Whoever has no turn any more stays in front for the next one.
            if self.turn.lines.len() >= TURN_BUDGET {
                return;
            }
            let Some(token) = self.unfinished.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.get_mut(&token) {
                connection.is_listed = false;
                self.read(token);
            }
        }
    }

    /// Takes whole lines from a client, as many as its budget and the turn's allow.
    fn read(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if connection.is_listed {
            return;
        }
        if !self.slow.is_empty() && connection.is_bulk_sender {
            connection.is_listed = true;
            self.held_back.push_back(token);
            return;
        }
        if self.turn.lines.len() >= TURN_BUDGET {
            connection.is_listed = true;
            self.unfinished.push_back(token);
            return;
        }

        connection.begin_period(self.period);
        let budget = match self.slow.is_empty() {
            true => READ_BUDGET,
            false => TALK_BUDGET,
        };
        let lines_before = self.turn.lines.len();
        let partial_before = connection.partial();
        let outcome = connection.read_lines(budget, &mut self.buffer, &mut self.turn.lines);
        let taken = self.turn.lines.len() - lines_before;
        if taken > 0 {
            connection.has_spoken = true;
            self.turn.add_sender(token);
            self.stdout
                .line(format_args!("Broadcast {taken} bytes from {token:?}"));
        } else if connection.partial() > partial_before {
            self.stdout
                .line(format_args!("Buffering partial message from {token:?}"));
        }

        match outcome {
            Ok(Reading::Drained) => connection.is_bulk_sender = false,
            Ok(Reading::Unfinished) => {
                connection.is_bulk_sender = true;
                connection.is_listed = true;
                self.unfinished.push_back(token);
            }
            Ok(Reading::EndOfFile) => self.ended.push(token),
            Err(ReadError::LineTooLong) => {
                let trouble = format!("Closing {token:?}: a line of more than {MAX_LINE} bytes");
                self.close(token, &trouble);
            }
            Err(ReadError::Io(e)) => self.close(token, &format!("Read error from {token:?}: {e}")),
        }
    }

    /// Writes what waits for a client, as much as its socket takes.
    fn write(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        if let Err(e) = connection.flush(self.poll.registry(), &mut self.stdout) {
            self.close(token, &format!("Write error for {token:?}: {e}"));
        } else if connection.queued() <= HIGH_WATER {
            self.forget_slow(token);
        }
    }

    fn write_to_all(&mut self) {
        let tokens: Vec<_> = self.connections.keys().copied().collect();
        for token in tokens {
            self.write(token);
        }
    }

    /// A reader has caught up, or is gone. If no other is slow, bulk senders are read again.
    fn forget_slow(&mut self, token: Token) {
        if self.slow.remove(&token).is_some() && self.slow.is_empty() {
            self.unfinished.append(&mut self.held_back);
        }
    }

    /// Sends everybody the lines of this turn.
    fn deliver_turn(&mut self) {
        if self.turn.lines.is_empty() {
            return;
        }
        let registry = self.poll.registry();
        let log = &mut self.stdout;
        let everything = [self.turn.everything()];
        let mut to_close = Vec::new();
        for (&token, connection) in &mut self.connections {
            let result = if mem::take(&mut connection.has_spoken) {
                connection.send(&self.turn.without(token), registry, log)
            } else {
                connection.send(&everything, registry, log)
            };
            let queued = connection.queued();
            match result {
                Err(e) => to_close.push((token, format!("Write error for {token:?}: {e}"))),
                Ok(()) if queued > HARD_LIMIT => to_close.push((
                    token,
                    format!("Closing {token:?}: {queued} bytes queued, more than {HARD_LIMIT}"),
                )),
                Ok(()) if queued > HIGH_WATER => {
                    self.slow.entry(token).or_insert_with(Instant::now);
                }
                Ok(()) => {}
            }
        }
        self.turn.clear();

        for (token, trouble) in to_close {
            self.close(token, &trouble);
        }
    }

    fn close_ended(&mut self) {
        for token in mem::take(&mut self.ended) {
            self.write(token);
            self.disconnect(token);
        }
    }

    /// Closes the readers that have been slow for too long: all bulk senders wait for them.
    fn close_stalled(&mut self) {
        let stalled = |since: &Instant| since.elapsed() > STALL_TIME;
        let tokens: Vec<_> = self
            .slow
            .iter()
            .filter(|(_, since)| stalled(since))
            .map(|(&token, _)| token)
            .collect();
        for token in tokens {
            let queued = self.connections.get(&token).map_or(0, Connection::queued);
            let seconds = STALL_TIME.as_secs();
            let trouble = format!(
                "Closing {token:?}: {queued} bytes queued, more than {HIGH_WATER} for {seconds} s"
            );
            self.close(token, &trouble);
        }
    }

    fn close(&mut self, token: Token, trouble: &str) {
        self.stderr.line(format_args!("{trouble}"));
        self.disconnect(token);
    }

    /// The one way out for a client.
    fn disconnect(&mut self, token: Token) {
        let Some(mut connection) = self.connections.remove(&token) else {
            return;
        };
        self.forget_slow(token);
        if connection.is_listed {
            self.unfinished.retain(|&listed| listed != token);
            self.held_back.retain(|&listed| listed != token);
        }
        if let Err(e) = connection.deregister(self.poll.registry()) {
            self.stderr
                .line(format_args!("Failed to deregister {token:?}: {e}"));
        }
        self.stdout
            .line(format_args!("Client {token:?} disconnected"));
    }

    /// Tells of log lines that were dropped, as soon as there is room to tell it.
    fn tell_what_was_dropped(&mut self) {
        let is_any = self.stdout.has_dropped() || self.stderr.has_dropped();
        if !is_any || !self.stderr.has_room() || !self.told_of_dropped.is_due() {
            return;
        }
        say_what_was_dropped(self.stdout.take_dropped(), "stdout", &mut self.stderr);
        say_what_was_dropped(self.stderr.take_dropped(), "stderr", &mut self.stderr);
    }

    /// Nobody is accepted or read any more. Ends when everybody has everything, when the time is up,
    /// or at a second signal.
    fn deliver_the_rest(&mut self, events: &mut Events) -> Result<ExitCode> {
        let end = Instant::now() + GRACE_TIME;
        let mut next_try = Instant::now();
        self.poll
            .registry()
            .deregister(&mut self.listener)
            .context("cannot deregister the listener")?;
        loop {
            // There may be room that the kernel does not tell of: see `write_to_slow`.
            if Instant::now() >= next_try {
                self.write_to_all();
                next_try = Instant::now() + TICK;
            }
            // Without a word and without `disconnect`: it is the server that ends, not they.
            let buffer = &mut self.buffer;
            self.connections
                .retain(|_, connection| !connection.may_close(buffer));
            if self.connections.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            let undelivered: usize = self.connections.values().map(Connection::queued).sum();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Nothing is undelivered if only some who go on sending are left.
                if undelivered > 0 {
                    self.stderr.line(format_args!(
                        "Ended with {undelivered} bytes undelivered after {} s",
                        GRACE_TIME.as_secs()
                    ));
                }
                return Ok(ExitCode::SUCCESS);
            }

            self.wait(events, left.min(TICK))?;
            for event in &*events {
                match event.token() {
                    SIGNALS => {
                        self.stderr.line(format_args!(
                            "Ended by a second signal with {undelivered} bytes undelivered"
                        ));
                        return Ok(ExitCode::FAILURE);
                    }
                    client => self.write(client),
                }
            }
            self.stdout.hand_over();
            self.stderr.hand_over();
        }
    }
}

fn say_what_was_dropped(lines: u64, of: &str, stderr: &mut Output) {
    if lines > 0 {
        stderr.line(format_args!(
            "Dropped {lines} lines of {of}: they could not be written"
        ));
    }
}
