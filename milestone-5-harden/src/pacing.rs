//! Which client may be read now, and how many bytes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use mio::Token;

use crate::limits::{
    HIGH_WATER, READ_BUDGET, STALL_TIME, TALK_BUDGET, TALK_PERIOD, TALK_TOTAL, TURN_BUDGET,
};

/// Touches no socket: the server reports what happens, and asks.
#[derive(Default)]
pub struct Pacing {
    /// Clients that may have bytes to read, first in, first out, and whether each is a bulk sender: its
    /// last budget was spent before everything was read.
    unread: VecDeque<(Token, bool)>,
    /// The same clients: however many events one has, it is in the list once.
    listed: HashSet<Token>,
    /// Slow readers, and since when.
    slow: BTreeMap<Token, Instant>,
    /// Bytes of lines read in this turn or, while a reader is slow, in this period.
    spent: u64,
    period_end: Option<Instant>,
}

impl Pacing {
    /// Adds a client that may have bytes to read. It is a bulk sender if its budget was spent.
    pub fn add(&mut self, token: Token, is_bulk: bool) {
        if self.listed.insert(token) {
            self.unread.push_back((token, is_bulk));
        }
    }

    /// Whether there is a client to read now, although no event will report it.
    pub fn has_next(&self) -> bool {
        self.place_of_next().is_some()
    }

    /// Removes the next client that may be read now. Returns it, and how many bytes.
    pub fn next(&mut self) -> Option<(Token, usize)> {
        let (token, is_bulk) = self.unread.remove(self.place_of_next()?)?;
        self.listed.remove(&token);
        Some((token, self.budget(is_bulk)))
    }

    fn place_of_next(&self) -> Option<usize> {
        let mut senders = self.unread.iter();
        senders.position(|&(_, is_bulk)| self.budget(is_bulk) > 0)
    }

    fn budget(&self, is_bulk: bool) -> usize {
        match self.slow.is_empty() {
            true if self.spent < TURN_BUDGET => READ_BUDGET,
            false if self.spent < TALK_TOTAL && !is_bulk => TALK_BUDGET,
            _ => 0,
        }
    }

    /// Lines of that many bytes were read.
    pub fn spend(&mut self, bytes: u64) {
        self.spent += bytes;
    }

    /// Returns the slow readers if it is time to retry them.
    pub fn begin_turn(&mut self) -> Vec<Token> {
        let now = Instant::now();
        if self.slow.is_empty() {
            self.spent = 0;
        } else if self.period_end.is_some_and(|end| now >= end) {
            // What exceeded the total counts in this period.
            self.spent = self.spent.saturating_sub(TALK_TOTAL);
            self.period_end = Some(now + TALK_PERIOD);
            return self.slow.keys().copied().collect();
        }
        Vec::new()
    }

    /// A client has that many unsent bytes now. Returns whether it has been slow for too long.
    pub fn note_unsent(&mut self, token: Token, bytes: u64) -> bool {
        if bytes <= HIGH_WATER {
            self.slow.remove(&token);
            return false;
        }
        let now = Instant::now();
        if self.slow.is_empty() {
            self.spent = 0;
            self.period_end = Some(now + TALK_PERIOD);
        }
        let since = *self.slow.entry(token).or_insert(now);
        now - since > STALL_TIME
    }
}
