//! Which client may be read now, and how many bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use mio::Token;

use crate::{TICK, limits};

/// Touches no socket and reads no clock: the server reports what happens, and asks.
#[derive(Default)]
pub struct Pacing {
    clients: HashMap<Token, Client>,
    /// Clients that may have bytes to read. Those that have sent least lately come first.
    unread: BTreeSet<Place>,
    /// Counts the places.
    places: u64,
    slow: BTreeMap<Token, Slow>,
    pace: Pace,
    /// Bytes of all unfinished lines.
    unfinished: u64,
    /// Bytes read since the budget was renewed.
    spent: u64,
    renew_at: Duration,
    retry_at: Duration,
    /// The patience that bulk senders have used.
    waited: Duration,
    /// When this turn began.
    now: Duration,
    /// The same, in time in which the server ran: a turn counts for at most a tick. If the server was
    /// stopped (Ctrl-Z), that is no client's fault.
    clock: Duration,
}

#[derive(Default)]
struct Client {
    /// Bytes that it has sent lately, as of `read_at`.
    recent: u64,
    read_at: Duration,
    /// Bytes of its unfinished line.
    unfinished: u64,
    place: Option<Place>,
}

/// The bytes that a client has sent lately, a number that makes equals first in, first out, and the
/// client. Tuples are sorted by the first of these that differs.
type Place = (u64, u64, Token);

/// Where the bulk senders begin. Among them, it does not matter who has sent how much.
const BULK: Place = (limits::TALK_BUDGET + 1, 0, Token(0));

/// A reader with more than [`limits::HIGH_WATER`] unsent bytes.
struct Slow {
    /// A position in the feed: all before it was sent.
    sent: u64,
    /// When it last received something, or became slow.
    received_at: Duration,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Pace {
    /// No reader is slow.
    #[default]
    Free,
    /// Most readers are slow: bulk senders wait for them, however long.
    Together,
    /// Few readers are slow: bulk senders wait for them while the patience lasts.
    Patient,
    /// It is used up: bulk senders go on.
    Impatient,
}

impl Pacing {
    pub fn join(&mut self, token: Token) {
        self.clients.insert(token, Client::default());
    }

    pub fn leave(&mut self, token: Token) {
        self.slow.remove(&token);
        if let Some(client) = self.clients.remove(&token) {
            self.unfinished -= client.unfinished;
            client.place.map(|place| self.unread.remove(&place));
        }
    }

    /// Adds a client that may have bytes to read.
    pub fn add(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        // However many events a client has, it is in the queue once.
        if client.place.is_none() {
            self.places += 1;
            let place = (client.recent(self.now).min(BULK.0), self.places, token);
            client.place = Some(place);
            self.unread.insert(place);
        }
    }

    /// Removes the next client that may be read now. Returns it, and how many bytes.
    pub fn next(&mut self) -> Option<(Token, usize)> {
        let place @ (_, _, token) = self.peek()?;
        self.unread.remove(&place);
        self.clients.get_mut(&token)?.place = None;
        let budget = match self.pace.is_waiting() {
            _ if place > BULK => limits::READ_BUDGET,
            true => limits::TALK_PIECE,
            false => limits::TALK_BUDGET as usize,
        };
        Some((token, budget))
    }

    /// Talkers come first, but leave a share to bulk senders.
    fn peek(&self) -> Option<Place> {
        let (talk, all) = self.pace.budget();
        let talker = self.unread.range(..BULK).next();
        let bulk = self.unread.range(BULK..).next();
        let talker = talker.filter(|_| self.spent < talk);
        talker.or(bulk.filter(|_| self.spent < all)).copied()
    }

    /// Whether it is a bulk sender that waits to be read.
    pub fn is_bulk(&self, token: &Token) -> bool {
        matches!(self.clients.get(token), Some(client) if client.place > Some(BULK))
    }

    /// That many bytes were read from a client, and its unfinished line has `unfinished` now.
    /// Returns the client with the longest, if all of them together have too many.
    pub fn note_read(&mut self, token: Token, bytes: u64, unfinished: u64) -> Option<Token> {
        let client = self.clients.get_mut(&token)?;
        let recent = client.recent(self.now) + bytes;
        client.recent = recent.min(limits::READ_BUDGET as u64);
        client.read_at = self.now;
        self.spent += bytes;
        self.unfinished = self.unfinished + unfinished - client.unfinished;
        client.unfinished = unfinished;
        if self.unfinished <= limits::MAX_UNFINISHED {
            return None;
        }
        let clients = self.clients.iter();
        let (&longest, _) = clients.max_by_key(|(_, client)| client.unfinished)?;
        Some(longest)
    }

    /// A client was sent all before this position, and has that many unsent bytes. Returns whether it
    /// has stalled: it is slow, and has received nothing for [`limits::STALL_TIME`].
    pub fn note_sent(&mut self, token: Token, sent: u64, unsent: u64) -> bool {
        if unsent <= limits::HIGH_WATER {
            self.slow.remove(&token);
            return false;
        }
        let received_at = self.clock;
        let slow = self.slow.entry(token).or_insert(Slow { sent, received_at });
        if sent > slow.sent {
            *slow = Slow { sent, received_at };
        }
        self.clock - slow.received_at > limits::STALL_TIME
    }

    /// How long `poll` may wait: without an end if nothing is due.
    pub fn wait_time(&self) -> Option<Duration> {
        let is_free = self.slow.is_empty();
        if self.unread.is_empty() {
            return (!is_free).then_some(TICK);
        }
        // While no reader is slow, the next turn has a new budget. The pace may still be another.
        if is_free || self.pace == Pace::Free || self.peek().is_some() {
            return Some(Duration::ZERO);
        }
        Some(self.renew_at.saturating_sub(self.clock).min(TICK))
    }

    /// Begins a turn, given the time. Returns the slow readers if it is time to retry them.
    pub fn begin_turn(&mut self, now: Duration) -> Vec<Token> {
        let passed = now - self.now;
        let ran = passed.min(TICK);
        self.now = now;
        self.clock += ran;
        self.waited = self.waited.saturating_sub(passed / limits::PATIENCE_REFILL);
        if self.pace == Pace::Patient {
            self.waited += ran;
        }
        let pace = self.next_pace();
        if pace != self.pace || pace == Pace::Free || self.clock >= self.renew_at {
            self.pace = pace;
            self.spent = 0;
            self.renew_at = self.clock + limits::PERIOD;
        }
        if self.clock < self.retry_at {
            return Vec::new();
        }
        self.retry_at = self.clock + limits::RETRY_PERIOD;
        self.slow.keys().copied().collect()
    }

    fn next_pace(&self) -> Pace {
        if self.slow.is_empty() {
            return Pace::Free;
        }
        // Slow readers vote for waiting, and quick ones against it. Bulk senders have no vote: it is
        // their waiting that is decided. Nor has a slow reader that has stopped reading.
        let vote = |token| match self.slow.get(token) {
            _ if self.is_bulk(token) => 0,
            None => -1,
            Some(slow) => i64::from(self.clock - slow.received_at <= limits::READING_TIME),
        };
        let votes: i64 = self.clients.keys().map(vote).sum();
        if votes > 0 {
            Pace::Together
        } else if self.waited < limits::PATIENCE {
            Pace::Patient
        } else {
            Pace::Impatient
        }
    }
}

impl Client {
    /// Each second, [`limits::TALK_BUDGET`] bytes are forgiven, but not of an unfinished line.
    fn recent(&self, now: Duration) -> u64 {
        let milliseconds = (now - self.read_at).as_millis() as u64;
        let forgiven = milliseconds * limits::TALK_BUDGET / 1000;
        self.recent.saturating_sub(forgiven).max(self.unfinished)
    }
}

impl Pace {
    /// Whether bulk senders wait.
    fn is_waiting(self) -> bool {
        matches!(self, Pace::Together | Pace::Patient)
    }

    /// How many bytes may be read until talkers have to wait, and until all have.
    fn budget(self) -> (u64, u64) {
        match self.is_waiting() {
            true => (limits::TALK_TOTAL, 0),
            false => (limits::TALKERS_SHARE, limits::TURN_BUDGET),
        }
    }
}

#[cfg(test)]
mod tests;
