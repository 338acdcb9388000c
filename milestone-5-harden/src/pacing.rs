//! Which client may be read now, and how many bytes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Instant;

use mio::Token;

use crate::limits::{
    HIGH_WATER, READ_BUDGET, STALL_TIME, TALK_BUDGET, TALK_PERIOD, TALK_TOTAL, TURN_BUDGET,
};

/// Touches no socket: it is told what happens, and answers.
#[derive(Default)]
pub struct Pacing {
    /// Clients that may have bytes to read: first come, first served.
    unread: VecDeque<Sender>,
    /// The same clients. However many events a client has, it is in there once.
    listed: HashSet<Token>,
    /// Readers with more than [`HIGH_WATER`] unsent, and since when.
    slow: BTreeMap<Token, Instant>,
    /// Bytes of lines in this turn or, while a reader is slow, in this period.
    spent: usize,
    period_end: Option<Instant>,
}

struct Sender {
    token: Token,
    /// Whether its last budget was spent before all was read.
    is_bulk: bool,
}

impl Pacing {
    /// Adds a client that has something to read. A bulk sender's budget is spent, and no event will
    /// report the remaining bytes.
    pub fn add(&mut self, token: Token, is_bulk: bool) {
        if self.listed.insert(token) {
            self.unread.push_back(Sender { token, is_bulk });
        }
    }

    /// Removes the next client that may be read now. Returns it, and how many bytes that may be.
    pub fn next(&mut self) -> Option<(Token, usize)> {
        let sender = self.unread.remove(self.place_of_next()?)?;
        self.listed.remove(&sender.token);
        Some((sender.token, self.budget(&sender)))
    }

    /// Whether there is a client to read that no event will report.
    pub fn has_next(&self) -> bool {
        self.place_of_next().is_some()
    }

    fn place_of_next(&self) -> Option<usize> {
        self.unread
            .iter()
            .position(|sender| self.budget(sender) > 0)
    }

    fn budget(&self, sender: &Sender) -> usize {
        match self.slow.is_empty() {
            true if self.spent < TURN_BUDGET => READ_BUDGET,
            false if self.spent < TALK_TOTAL && !sender.is_bulk => TALK_BUDGET,
            _ => 0,
        }
    }

    /// Lines of that many bytes were read.
    pub fn spend(&mut self, bytes: u64) {
        self.spent += bytes as usize;
    }

    /// Renews what may be spent, where it is time for that. Returns the slow readers when they are to
    /// be tried again.
    pub fn begin_turn(&mut self) -> Vec<Token> {
        let now = Instant::now();
        if self.slow.is_empty() {
            self.spent = 0;
        } else if self.period_end.is_some_and(|end| now >= end) {
            // What was spent above the total counts in this period.
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
