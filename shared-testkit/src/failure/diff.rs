//! What a client has received against what it should have received, given what all have sent.

use std::net::SocketAddr;

use bstr::ByteSlice;

use crate::log::{Conversation, escape};

/// How many bytes find the place where two streams go on alike.
const PROBE: usize = 24;

/// Fewer bytes may be the same by chance.
const LEAST: usize = 8;

/// How far inserted bytes are looked for.
const NEAR: usize = 64 << 10;

/// How many lines show that something happens to each of them.
const LINES: usize = 20;

/// The first difference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// Whose lines were due.
    pub sender: String,
    /// How many bytes had come as they should.
    pub at: usize,
    pub change: Change,
    /// What is to be seen, in a sentence.
    pub text: String,
}

/// What has happened to the bytes, as far as it can be seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// They have ended too early.
    Cut,
    /// The receiver's own line came back.
    Own,
    /// Each line came twice.
    Twice,
    /// Bytes came again.
    Again,
    LinesMissing,
    NewlineMissing,
    BytesMissing,
    Order,
    /// Bytes of another client came where none were due.
    OfAnother,
    /// Others came before each newline, or once.
    BeforeNewlines,
    Inserted,
    /// White space at the end or the beginning of a line is missing.
    Trimmed,
    /// Bytes that are not text came as U+FFFD.
    Lossy,
    /// Others came, which were sent only later.
    Overwritten,
    Replaced,
    /// The beginning of a line whose end was not sent.
    Half,
}

/// A sender, as seen by one receiver.
struct Source<'a> {
    name: &'a str,
    sent: &'a [u8],
    /// What came before the receiver connected may come or not.
    start: usize,
    /// How far its lines have come.
    at: usize,
    /// Where its last complete line ends.
    end: usize,
}

impl<'a> Source<'a> {
    fn new(sender: &'a Conversation, receiver: &Conversation) -> Source<'a> {
        let is_it = |(address, _): &&(SocketAddr, usize)| *address == sender.address;
        let before = receiver.before.iter().find(is_it).map_or(0, |b| b.1);
        let start = complete(&sender.sent[..before]).len();
        Source {
            name: &sender.name,
            sent: &sender.sent,
            start,
            at: start,
            end: complete(&sender.sent).len(),
        }
    }

    fn due(&self) -> &'a [u8] {
        &self.sent[self.at..self.end]
    }

    /// Takes a line if it is the next one, or if it may come, though it was sent before the receiver
    /// had connected.
    fn take(&mut self, line: &[u8]) -> bool {
        if !self.due().starts_with(line) {
            let place = line_in(&self.sent[..self.start], line);
            let Some(place) = place.filter(|_| self.at == self.start) else {
                return false;
            };
            self.at = place;
        }
        self.at += line.len();
        true
    }
}

/// The first difference, if what has come is not all that is due. None if it cannot be told: two clients
/// have sent the same line.
pub(crate) fn compare(receiver: &Conversation, all: &[Conversation]) -> Option<Difference> {
    let others = all.iter().filter(|c| c.address != receiver.address);
    let mut sources: Vec<_> = others.map(|c| Source::new(c, receiver)).collect();
    let (mut at, mut last, mut is_ambiguous) = (0, 0, false);
    for line in receiver.received.lines_with_terminator() {
        let starts = sources.iter().filter(|s| s.due().starts_with(line)).count();
        if !line.ends_with(b"\n") && starts > 0 {
            break;
        }
        is_ambiguous |= starts > 1;
        let Some(taker) = sources.iter_mut().position(|source| source.take(line)) else {
            let bytes = &receiver.received[at..];
            let (receiver, sources) = (receiver, &sources[..]);
            let rest = Rest {
                receiver,
                sources,
                last,
                at,
                bytes,
                line,
            };
            return (!is_ambiguous).then(|| rest.first_difference());
        };
        last = taker;
        at += line.len();
    }
    let begun = &receiver.received[at..];
    let is_begun = |source: &&Source| source.due().starts_with(begun);
    let source = sources
        .iter()
        .filter(is_begun)
        .max_by_key(|s| s.due().len())?;
    let (all, left) = (&source.sent[source.start..source.end], source.due().len());
    let came = &all[..all.len().saturating_sub(left) + begun.len()];
    let found = (Change::Cut, came, all);
    let is_cut = came.len() < all.len() && !is_ambiguous;
    is_cut.then(|| difference(receiver, source.name, receiver.received.len(), found))
}

/// What came from the first line on that was not due.
struct Rest<'a> {
    receiver: &'a Conversation,
    sources: &'a [Source<'a>],
    /// Which source the line before is from.
    last: usize,
    /// How many bytes had come before.
    at: usize,
    bytes: &'a [u8],
    /// The first line of them.
    line: &'a [u8],
}

/// A change, and the bytes that its sentence names.
type Found<'a> = (Change, &'a [u8], &'a [u8]);

impl<'a> Rest<'a> {
    fn first_difference(&self) -> Difference {
        let (bob, line) = (&self.receiver.name, self.line);
        let is_own = line_in(&self.receiver.sent, line).is_some() && !self.is_sent(line);
        if is_own && !self.is_instead() {
            return difference(self.receiver, bob, self.at, (Change::Own, line, b""));
        }
        for find in [Self::half, Self::skipped, Self::again] {
            let found = |source| Some((source, find(self, source)?));
            if let Some((source, found)) = self.sources.iter().find_map(found) {
                return difference(self.receiver, source.name, self.at, found);
            }
        }
        let alike = |source: &Source| common(source.due(), self.bytes);
        let sources = self.sources.iter().enumerate();
        let pending = sources.filter(|(_, source)| !source.due().is_empty());
        let nearest = pending.max_by_key(|(n, source)| (alike(source), *n == self.last));
        let Some((_, source)) = nearest else {
            return difference(self.receiver, bob, self.at, self.inserted(bob, line, b""));
        };
        let (at, found) = (alike(source), self.within_line(source, alike(source)));
        difference(self.receiver, source.name, self.at + at, found)
    }

    /// Whether the line is as long as one that is due and has not come: it may be that one, with the bytes
    /// of an earlier one.
    fn is_instead(&self) -> bool {
        let later = &self.bytes[self.line.len()..];
        let mut due = self.sources.iter().map(|source| first_line(source.due()));
        due.any(|due| due.len() == self.line.len() && line_in(later, due).is_none())
    }

    fn is_sent(&self, line: &[u8]) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| line_in(source.sent, line).is_some())
    }

    /// The beginning of a line that was not sent to its end, and perhaps a line that was.
    fn half(&self, source: &Source<'a>) -> Option<Found<'a>> {
        let half = &source.sent[source.end..];
        let after = self.bytes.strip_prefix(half).map(first_line);
        let goes_on = after.is_some_and(|line| line.is_empty() || self.is_sent(line));
        let is_half = half.len() > 1 && (half.starts_with(self.line) || goes_on);
        is_half.then_some((Change::Half, half, b""))
    }

    /// A line that is due later than others, which then are missing or come after it.
    fn skipped(&self, source: &Source<'a>) -> Option<Found<'a>> {
        line_in(source.due(), self.line)?;
        let due = first_line(source.due());
        Some(match line_in(self.bytes, due) {
            Some(_) => (Change::Order, self.line, due),
            None => (Change::LinesMissing, due, b""),
        })
    }

    /// A line that had come before.
    fn again(&self, source: &Source<'a>) -> Option<Found<'a>> {
        line_in(&source.sent[..source.at], self.line)?;
        let sent = source.sent[source.start..source.end].lines_with_terminator();
        let twice: Vec<_> = sent.take(LINES).flat_map(|line| [line, line]).collect();
        Some(match self.receiver.received.starts_with(&twice.concat()) {
            true => (Change::Twice, b"", b""),
            false => (Change::Again, self.line, b""),
        })
    }

    /// The change within a line that begins as it should for some bytes.
    fn within_line(&self, source: &Source<'a>, equal: usize) -> Found<'a> {
        let (wanted, came) = (first_line(source.due()), self.line);
        if let Some(change) = changed_text(wanted, came) {
            return (change, came, wanted);
        }
        let (before, due) = source.sent[..source.end].split_at(source.at + equal);
        let rest = &self.bytes[equal..];
        let missing = due.find(probe(rest));
        let inserted = rest[..rest.len().min(NEAR)].find(probe(due));
        if let Some(length) = missing.filter(|n| inserted.is_none_or(|other| *n < other)) {
            return hole(&due[..length], rest);
        }
        let new = inserted.map_or(probe(rest), |length| &rest[..length]);
        if new.len() >= LEAST && before.contains_str(new) {
            return (Change::Again, new, b"");
        }
        if inserted.is_some() {
            return self.inserted(source.name, new, source.due());
        }
        let pairs = came[equal..].iter().rev().zip(wanted[equal..].iter().rev());
        let same = pairs.take_while(|(a, b)| a == b).count();
        let new = &came[equal..came.len() - same];
        match new.len() > 2 && source.sent[source.at + equal..].contains_str(new) {
            true => (Change::Overwritten, came, wanted),
            false => (Change::Replaced, came, wanted),
        }
    }

    /// Bytes that came before those that were due of this sender.
    fn inserted(&self, sender: &str, bytes: &'a [u8], due: &'a [u8]) -> Found<'a> {
        let has = |sent: &[u8]| bytes.len() > 3 && sent.contains_str(bytes);
        let others = self.sources.iter().filter(|other| other.name != sender);
        let names = others
            .filter(|other| has(other.sent))
            .map(|other| other.name);
        let own = has(&self.receiver.sent).then_some(self.receiver.name.as_str());
        if let Some(name) = names.chain(own).next() {
            return (Change::OfAnother, bytes, name.as_bytes());
        }
        let lines = |bytes: &'a [u8]| bytes.lines_with_terminator().take(2);
        let wanted = lines(due).map(|line| line.replace("\n", [bytes, b"\n"].concat()));
        match wanted.eq(lines(self.bytes)) {
            true => (Change::BeforeNewlines, bytes, b""),
            false => (Change::Inserted, bytes, b""),
        }
    }
}

/// What is to be seen, after so many bytes that are as they should be.
#[rustfmt::skip]
fn difference(receiver: &Conversation, alice: &str, at: usize, (change, first, second): Found) -> Difference {
    let bob = &receiver.name;
    let after = if at == 0 { "Before anything else".to_owned() } else { format!("After {at} bytes") };
    let (a, b) = (escape(first), escape(second));
    let text = match change {
        Change::Cut if first.is_empty() => format!("{bob} received nothing of the {} bytes in {alice}'s lines.", second.len()),
        Change::Cut if first.len() + 1 == second.len() => format!("{bob} received all of {alice}'s lines but the last newline."),
        Change::Cut => format!("{bob} received the first {} of the {} bytes in {alice}'s lines, and no more.", first.len(), second.len()),
        Change::Own => format!("{bob} received {a}, which {bob} has sent."),
        Change::Twice => format!("{bob} received each line of {alice}'s twice."),
        Change::Again => format!("{after}, {bob} received {a} again, which had come before."),
        Change::LinesMissing => format!("{bob} did not receive {a} of {alice}'s, but later lines."),
        Change::NewlineMissing => format!("A newline of {alice}'s did not reach {bob}, though bytes after it did."),
        Change::BytesMissing => format!("{after}, {bob} did not receive {a} of {alice}'s, but bytes that come after."),
        Change::Order => format!("{bob} received {a} before {b}, and {alice} has sent them in the other order."),
        Change::OfAnother => format!("{after}, {bob} received {a}, bytes of {}'s.", second.as_bstr()),
        Change::BeforeNewlines => format!("{bob} received {a} before each newline, which was not due."),
        Change::Inserted => format!("{after}, {bob} received {a}, which was not due."),
        Change::Trimmed => format!("{alice} has sent {b}, and white space of it is missing in what {bob} received."),
        Change::Lossy => format!("Bytes of {alice}'s that are no text reached {bob} as U+FFFD."),
        Change::Overwritten => format!("{bob} received {a} where {b} of {alice}'s was due: in its place are bytes that {alice} has sent later."),
        Change::Replaced => format!("{bob} received {a} where {b} of {alice}'s was due."),
        Change::Half => format!("{bob} received {a}, the beginning of a line that {alice} has not ended."),
    };
    Difference { sender: alice.to_owned(), at, change, text }
}

/// Bytes that were due and did not come, or come later, behind others.
fn hole<'a>(missing: &'a [u8], rest: &'a [u8]) -> Found<'a> {
    match missing {
        b"\n" => (Change::NewlineMissing, missing, b""),
        _ if missing.len() >= PROBE && rest.contains_str(probe(missing)) => {
            (Change::Order, probe(rest), probe(missing))
        }
        _ => (Change::BytesMissing, missing, b""),
    }
}

/// What a program does to a line that it takes for text.
fn changed_text(wanted: &[u8], came: &[u8]) -> Option<Change> {
    if came.contains_str("\u{fffd}") && !wanted.contains_str("\u{fffd}") {
        return Some(Change::Lossy);
    }
    let is_shorter = came.len() < wanted.len() && came.ends_with(b"\n");
    (is_shorter && trimmed(came) == trimmed(wanted)).then_some(Change::Trimmed)
}

/// The lines that are complete.
pub(crate) fn complete(bytes: &[u8]) -> &[u8] {
    let newline = bytes.rfind_byte(b'\n');
    &bytes[..newline.map_or(0, |place| place + 1)]
}

/// The lines without white space at their ends.
pub(crate) fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let trimmed = bytes.lines_with_terminator().map(|line| {
        let newline: &[u8] = if line.ends_with(b"\n") { b"\n" } else { b"" };
        [line.trim_ascii(), newline].concat()
    });
    trimmed.collect::<Vec<_>>().concat()
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.lines_with_terminator().next().unwrap_or_default()
}

/// The next bytes, as far as their line goes: something may have happened to each line.
fn probe(bytes: &[u8]) -> &[u8] {
    let line = first_line(bytes);
    &line[..line.len().min(PROBE)]
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Where a line begins that has these bytes.
fn line_in(bytes: &[u8], line: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut lines = bytes.lines_with_terminator();
    lines.find_map(|other| {
        at += other.len();
        (other == line).then(|| at - line.len())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;

    fn client(port: u16, sent: &[u8], received: &[u8]) -> Conversation {
        Conversation {
            name: ["alice", "bob", "carol"][usize::from(port)].to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            sent: sent.to_vec(),
            received: received.to_vec(),
            before: Vec::new(),
            has_half_closed: false,
            bytes: 0,
            is_cut: false,
            stream: Weak::new(),
        }
    }

    /// What is said of bob, if alice and carol have sent these bytes.
    fn said(alice: &[u8], carol: &[u8], bob: &[u8], received: &[u8]) -> Option<String> {
        let all = [
            client(0, alice, b""),
            client(1, bob, received),
            client(2, carol, b""),
        ];
        compare(&all[1], &all).map(|difference| difference.text)
    }

    #[test]
    fn what_is_due_in_any_order_of_the_senders_is_no_difference() {
        for received in [b"one\ntwo\nsix\n", b"six\none\ntwo\n", b"one\nsix\ntwo\n"] {
            assert_eq!(said(b"one\ntwo\nhal", b"six\n", b"", received), None);
        }
        // It may have come from both.
        assert_eq!(
            said(b"one\ntwo\n", b"one\nsix\n", b"", b"one\none\nno\n"),
            None
        );
        assert_eq!(said(b"one\n", b"one\n", b"", b"one\n"), None);
    }

    #[test]
    #[rustfmt::skip]
    fn each_kind_of_difference_is_described() {
        let (none, one, two, six): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"one\n", b"one\ntwo\n", b"one\ntwo\nsix\n");
        for (alice, carol, bob, received, what) in [
            (one, none, none, none, "nothing of the 4 bytes in alice's lines"),
            (two, none, none, b"one\nt", "the first 5 of the 8 bytes in alice's lines"),
            (one, b"sixsix\n", none, b"on", "the first 2 of the 4 bytes in alice's lines"),
            (one, none, none, b"one", "all of alice's lines but the last newline"),
            (one, none, b"mine\n", b"mine\n", "received \"mine\\n\", which bob has sent"),
            (one, none, b"own\n", b"own\none\n", "received \"own\\n\", which bob has sent"),
            (one, none, b"own\n", b"own\n", "received \"own\\n\" where \"one\\n\" of alice's was due"),
            (two, none, none, b"one\none\ntwo\ntwo\n", "each line of alice's twice"),
            (six, none, none, b"one\ntwo\none\n", "received \"one\\n\" again"),
            (six, none, none, b"one\nsix\n", "did not receive \"two\\n\" of alice's, but later lines"),
            (two, none, none, b"two\none\n", "received \"two\\n\" before \"one\\n\""),
            (b"one six three\n", none, none, b"one three\n", "After 4 bytes, bob did not receive \"six \""),
            (two, none, none, b"onetwo\n", "A newline of alice's did not reach bob"),
            (two, none, none, b"one\r\ntwo\r\n", "\"\\r\" before each newline, which was not due"),
            (two, none, none, b"a: one\na: two\n", "Before anything else, bob received \"a: \", which was not due"),
            (one, b"hel", none, b"helone\n", "\"hel\", the beginning of a line that carol has not ended"),
            (b"first\n", b"hello\n", none, b"hellofirst\n", "received \"first\", bytes of alice's"),
            (b" one\t\n", none, none, one, "white space of it is missing"),
            (b"\xff\n", none, none, "\u{fffd}\n".as_bytes(), "as U+FFFD"),
            (b"hello\nworld", none, none, b"worlo\n", "in its place are bytes that alice has sent later"),
            (one, none, none, b"ONE\n", "received \"ONE\\n\" where \"one\\n\" of alice's was due"),
            (none, none, none, b"Welcome!\n", "Before anything else, bob received \"Welcome!\\n\""),
        ] {
            let said = said(alice, carol, bob, received).unwrap_or_default();
            assert!(said.contains(what), "{said:?} has no {what:?}");
        }
    }

    #[test]
    fn what_was_sent_before_the_receiver_connected_may_come() {
        let mut all = [client(0, b"old\nnew\n", b""), client(1, b"", b"new\n")];
        all[1].before = vec![(all[0].address, 4)];
        assert_eq!(compare(&all[1], &all), None);
        all[1].received = b"old\nnew\n".to_vec();
        assert_eq!(compare(&all[1], &all), None);
        all[1].received.clear();
        let cut = compare(&all[1], &all).map(|difference| difference.text);
        assert_eq!(
            cut.as_deref(),
            Some("bob received nothing of the 4 bytes in alice's lines.")
        );
    }
}
