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
    since: Duration,
    /// A position in the feed: all before it was sent.
    sent: u64,
    /// Until when it counts as one that reads.
    reads_until: Duration,
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

    /// That many bytes were read from a client, and its unfinished line has so many now. Returns the
    /// client with the longest, if all of them together have too many.
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
    /// has been slow for too long.
    pub fn note_sent(&mut self, token: Token, sent: u64, unsent: u64) -> bool {
        if unsent <= limits::HIGH_WATER {
            self.slow.remove(&token);
            return false;
        }
        let slow = self.slow.entry(token).or_insert(Slow {
            since: self.clock,
            sent,
            reads_until: self.clock,
        });
        if sent > slow.sent {
            slow.sent = sent;
            slow.reads_until = self.clock + limits::READING_TIME;
        }
        self.clock - slow.since > limits::STALL_TIME
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
        // Slow readers vote for waiting, and quick ones against it. A bulk sender has no vote: it is the
        // one who waits. Nor has a slow reader that does not read at all.
        let vote = |token| match self.slow.get(token) {
            _ if self.is_bulk(token) => 0,
            None => -1,
            Some(slow) => i64::from(slow.reads_until > self.clock),
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FAST: u64 = limits::HIGH_WATER;
    const SLOW: u64 = limits::HIGH_WATER + 1;

    /// That many clients, with tokens from 1 on.
    fn room(clients: usize) -> Pacing {
        let mut pacing = Pacing::default();
        (1..=clients).for_each(|number| pacing.join(Token(number)));
        pacing
    }

    /// A client that has sent that many bytes may have more.
    fn has_sent(pacing: &mut Pacing, number: usize, bytes: u64) {
        pacing.note_read(Token(number), bytes, 0);
        pacing.add(Token(number));
    }

    /// Reads everybody who may be read, and each of them has sent as much as is asked for, up to that
    /// many bytes, and more. Returns how many bytes each of them sent.
    fn read_up_to(pacing: &mut Pacing, most: usize) -> Vec<(usize, usize)> {
        let mut read = Vec::new();
        while let Some((token, budget)) = pacing.next() {
            has_sent(pacing, token.0, budget.min(most) as u64);
            read.push((token.0, budget.min(most)));
        }
        read
    }

    /// Turns of 10 ms each. Returns how many bytes each client sent that may be read.
    fn pass(pacing: &mut Pacing, time: Duration, clients: &[usize]) -> Vec<usize> {
        let mut sent = vec![0; clients.len()];
        let end = pacing.now + time;
        while pacing.now < end {
            pacing.begin_turn(pacing.now + Duration::from_millis(10));
            for (number, bytes) in read_up_to(pacing, usize::MAX) {
                let place = clients.iter().position(|&client| client == number);
                sent[place.expect("nobody else has bytes to read")] += bytes;
            }
        }
        sent
    }

    #[test]
    fn talkers_come_first_the_least_and_then_the_earliest_of_them() {
        let mut pacing = room(6);
        has_sent(&mut pacing, 1, limits::TALK_BUDGET + 1);
        has_sent(&mut pacing, 2, 50);
        has_sent(&mut pacing, 3, limits::TALK_BUDGET + 2);
        for number in [6, 4, 5] {
            pacing.add(Token(number));
        }
        // A second event does not give it a second place.
        pacing.add(Token(5));
        let order = std::iter::from_fn(|| pacing.next()).map(|(token, _)| token.0);
        assert_eq!(order.collect::<Vec<_>>(), [6, 4, 5, 2, 1, 3]);
    }

    #[test]
    fn a_turn_has_an_end_and_a_share_for_bulk_senders() {
        let mut pacing = room(102);
        has_sent(&mut pacing, 101, limits::TALK_BUDGET + 1);
        has_sent(&mut pacing, 102, limits::TALK_BUDGET + 1);
        (1..=100).for_each(|number| pacing.add(Token(number)));
        for _ in 0..3 {
            pacing.begin_turn(pacing.now);
            let read = read_up_to(&mut pacing, limits::TALK_BUDGET as usize - 1);
            let (talk, bulk): (Vec<_>, Vec<_>) =
                read.into_iter().partition(|&(number, _)| number <= 100);
            let bytes = |read: &[(usize, usize)]| read.iter().map(|&(_, bytes)| bytes as u64).sum();
            let (talk, bulk): (u64, u64) = (bytes(&talk), bytes(&bulk));
            assert!(
                talk <= limits::TALKERS_SHARE + limits::TALK_BUDGET,
                "{talk}"
            );
            assert!(bulk > 0 && talk + bulk <= 2 * limits::TURN_BUDGET, "{bulk}");
        }
    }

    #[test]
    fn a_bulk_sender_has_sent_more_than_8192_bytes_lately() {
        let mut pacing = room(1);
        has_sent(&mut pacing, 1, limits::TALK_BUDGET);
        assert!(!pacing.is_bulk(&Token(1)));
        assert_eq!(
            pacing.next(),
            Some((Token(1), limits::TALK_BUDGET as usize))
        );
        has_sent(&mut pacing, 1, 1);
        assert!(pacing.is_bulk(&Token(1)));
        assert_eq!(pacing.next(), Some((Token(1), limits::READ_BUDGET)));
        // Half of it is forgiven in half a second.
        pacing.begin_turn(SECOND / 2);
        has_sent(&mut pacing, 1, limits::TALK_BUDGET / 2 - 1);
        assert!(!pacing.is_bulk(&Token(1)));
    }

    #[test]
    fn a_flood_is_forgiven_after_some_seconds_and_an_unfinished_line_is_not() {
        let mut pacing = room(2);
        pacing.note_read(Token(1), 1 << 30, 0);
        pacing.note_read(Token(2), limits::TALK_BUDGET + 1, limits::TALK_BUDGET + 1);
        pacing.begin_turn(7 * SECOND);
        pacing.add(Token(1));
        pacing.add(Token(2));
        assert!(!pacing.is_bulk(&Token(1)));
        assert!(pacing.is_bulk(&Token(2)));
    }

    /// Client 1 is a bulk sender, 2 talks, 3 is slow. The others are quick.
    fn room_with_a_slow_reader(clients: usize) -> Pacing {
        let mut pacing = room(clients);
        has_sent(&mut pacing, 1, 1 << 20);
        assert!(!pacing.note_sent(Token(3), 0, SLOW));
        pacing
    }

    #[test]
    fn while_a_reader_is_slow_talkers_are_read_and_bulk_senders_wait() {
        let mut pacing = room_with_a_slow_reader(4);
        pacing.add(Token(2));
        let sent = pass(&mut pacing, SECOND, &[2]);
        assert_eq!(sent, [100 * limits::TALK_PIECE]);
        // That is more than is forgiven, so in time it is a bulk sender, too.
        pass(&mut pacing, 2 * SECOND, &[2]);
        assert!(pacing.is_bulk(&Token(1)) && pacing.is_bulk(&Token(2)));
        // At the mark it is not slow any more.
        pacing.note_sent(Token(3), 0, FAST);
        assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
        pacing.begin_turn(pacing.now);
        assert_eq!(read_up_to(&mut pacing, usize::MAX).len(), 2);
    }

    #[test]
    fn a_short_line_comes_before_the_rest_of_sixty_long_ones() {
        let mut pacing = room_with_a_slow_reader(64);
        (4..=63).for_each(|number| pacing.add(Token(number)));
        // They have all shown that their lines are long.
        let long: Vec<_> = (4..=63).collect();
        pass(&mut pacing, SECOND, &long);
        pacing.add(Token(64));
        pacing.begin_turn(pacing.now + Duration::from_millis(10));
        assert_eq!(pacing.next(), Some((Token(64), limits::TALK_PIECE)));
    }

    #[test]
    fn bulk_senders_wait_for_few_readers_until_the_patience_is_used_up() {
        let mut pacing = room_with_a_slow_reader(4);
        // A sixth comes back meanwhile.
        let sent = pass(&mut pacing, limits::PATIENCE * 6 / 5, &[1]);
        assert_eq!(sent, [0]);
        pass(&mut pacing, SECOND / 50, &[1]);
        assert_eq!(pacing.pace, Pace::Impatient);
        // Half of a period each is a turn, and a little waiting.
        let sent = pass(&mut pacing, 6 * SECOND, &[1])[0] as u64;
        let most = 6 * 125 * limits::TURN_BUDGET;
        assert!((most / 2..most).contains(&sent), "{sent}");
        // Without slow readers the patience comes back, however long nothing happens.
        pacing.note_sent(Token(3), 0, FAST);
        pacing.begin_turn(pacing.now + 60 * SECOND);
        pacing.note_sent(Token(3), 0, SLOW);
        pacing.begin_turn(pacing.now);
        assert_eq!(pass(&mut pacing, limits::PATIENCE, &[1]), [0]);
    }

    /// Has the slow readers receive something every second.
    fn pass_with_readers(pacing: &mut Pacing, seconds: u64, slow: &[usize]) -> usize {
        (1..=seconds)
            .map(|second| {
                for &number in slow {
                    pacing.note_sent(Token(number), second, SLOW);
                }
                pass(pacing, SECOND, &[1])[0]
            })
            .sum()
    }

    #[test]
    fn bulk_senders_wait_for_most_readers_however_long() {
        let mut pacing = room_with_a_slow_reader(4);
        assert_eq!(pass_with_readers(&mut pacing, 60, &[3, 4]), 0);
        // Of a sender and a reader, the reader is most of the readers.
        let mut pacing = room_with_a_slow_reader(3);
        pacing.leave(Token(2));
        assert_eq!(pass_with_readers(&mut pacing, 60, &[3]), 0);
    }

    #[test]
    fn readers_that_do_not_read_have_no_say() {
        let mut pacing = room_with_a_slow_reader(9);
        for number in 4..=9 {
            pacing.note_sent(Token(number), 0, SLOW);
        }
        pass(&mut pacing, 13 * SECOND, &[1]);
        assert_eq!(pacing.pace, Pace::Impatient);
    }

    #[test]
    fn a_reader_that_is_slow_for_ten_seconds_is_closed() {
        let mut pacing = room_with_a_slow_reader(3);
        pass(&mut pacing, limits::STALL_TIME, &[1]);
        assert!(!pacing.note_sent(Token(3), 0, SLOW));
        pass(&mut pacing, SECOND / 50, &[1]);
        assert!(pacing.note_sent(Token(3), 0, SLOW));
        // A break begins it anew.
        pacing.note_sent(Token(3), 0, FAST);
        assert!(!pacing.note_sent(Token(3), 0, SLOW));
    }

    #[test]
    fn a_pause_of_the_server_is_no_clients_fault() {
        let mut pacing = room_with_a_slow_reader(4);
        for _ in 0..20 {
            pacing.begin_turn(pacing.now + 11 * SECOND);
            assert!(!pacing.note_sent(Token(3), 0, SLOW));
            assert_eq!(pacing.pace, Pace::Patient);
        }
    }

    #[test]
    fn slow_readers_are_retried_four_times_a_second() {
        let mut pacing = room_with_a_slow_reader(4);
        let mut retries = 0;
        for _ in 0..100 {
            let retried = pacing.begin_turn(pacing.now + SECOND / 100);
            assert!(retried.is_empty() || retried == [Token(3)]);
            retries += retried.len();
        }
        assert_eq!(retries, 4);
    }

    #[test]
    fn poll_waits_for_what_is_due_and_for_nothing_else() {
        let mut pacing = room(4);
        assert_eq!(pacing.wait_time(), None);
        has_sent(&mut pacing, 1, 1 << 20);
        assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
        // The turn has had its budget, and the next one has another.
        read_up_to(&mut pacing, usize::MAX);
        assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
        pacing.note_sent(Token(3), 0, SLOW);
        assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
        pacing.begin_turn(pacing.now);
        assert_eq!(pacing.wait_time(), Some(limits::PERIOD));
        pacing.leave(Token(1));
        assert_eq!(pacing.wait_time(), Some(TICK));
        pacing.leave(Token(3));
        assert_eq!(pacing.wait_time(), None);
    }

    #[test]
    fn the_longest_of_too_many_unfinished_lines_is_found() {
        let mut pacing = room(130);
        let line = limits::MAX_LINE as u64;
        for number in 1..=127 {
            assert_eq!(pacing.note_read(Token(number), line, line - 1), None);
        }
        // One grows, one is finished, and one goes with its client.
        assert_eq!(pacing.note_read(Token(1), 1, line), None);
        assert_eq!(pacing.note_read(Token(2), 1, 0), None);
        pacing.leave(Token(3));
        for number in 128..=130 {
            assert_eq!(pacing.note_read(Token(number), line, line - 1), None);
        }
        assert_eq!(pacing.note_read(Token(2), 127, 127), None);
        assert_eq!(pacing.note_read(Token(2), 1, 128), Some(Token(1)));
    }
}
