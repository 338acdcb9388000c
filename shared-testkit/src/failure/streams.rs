//! What a client has received against what it should have received, given what all have sent.

use std::net::SocketAddr;

use crate::log::{Conversation, escape};

/// How many bytes find the place where two streams go on alike.
const PROBE: usize = 24;

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
}

/// What has happened to the bytes, as far as it can be seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// They have ended too early: so many have come of so many.
    Cut(usize, usize),
    /// Its own line came back.
    Own(Vec<u8>),
    /// Each line came this often.
    Times(usize),
    /// These came again.
    Again(Vec<u8>),
    /// These are missing. Whether they are whole lines.
    Missing(Vec<u8>, bool),
    /// The first came before the second.
    Order(Vec<u8>, Vec<u8>),
    /// These came where nothing was due, and whose they are.
    Inserted(Vec<u8>, Place, Option<String>),
    /// White space at the end or the beginning of a line is missing.
    Trimmed(Vec<u8>),
    /// Bytes that are not text came as U+FFFD.
    Lossy,
    /// The first came, where the second was due, and what of it was sent only later.
    Replaced(Vec<u8>, Vec<u8>, Option<Vec<u8>>),
    /// The beginning of a line whose end was not sent.
    Half(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    LineStart,
    LineEnd,
    EachLineStart,
    EachLineEnd,
    Elsewhere,
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

    /// Takes a line if it is the next one.
    fn take(&mut self, line: &[u8]) -> bool {
        if !self.due().starts_with(line) {
            let Some(place) = self.place_before(line) else {
                return false;
            };
            self.at = place;
        }
        self.at += line.len();
        true
    }

    /// Where a line was sent that may come, though it was sent before the receiver had connected.
    fn place_before(&self, line: &[u8]) -> Option<usize> {
        let is_first = self.at == self.start && self.start > 0;
        is_first.then(|| line_in(&self.sent[..self.start], line))?
    }
}

/// The first difference, if what has come is not all that is due. None if it cannot be told: two clients
/// have sent the same line.
pub(crate) fn compare(receiver: &Conversation, all: &[Conversation]) -> Option<Difference> {
    let others = all.iter().filter(|c| c.address != receiver.address);
    let mut sources: Vec<_> = others.map(|c| Source::new(c, receiver)).collect();
    let (mut at, mut last, mut is_ambiguous) = (0, 0, false);
    for line in receiver.received.split_inclusive(|&byte| byte == b'\n') {
        let is_whole = line.ends_with(b"\n");
        let starts = sources.iter().filter(|s| s.due().starts_with(line)).count();
        if !is_whole && starts > 0 {
            break;
        }
        is_ambiguous |= starts > 1;
        let Some(taker) = sources.iter_mut().position(|source| source.take(line)) else {
            if is_ambiguous {
                return None;
            }
            let rest = &receiver.received[at..];
            return Some(first_difference(receiver, &sources, last, at, rest));
        };
        last = taker;
        at += line.len();
    }
    let cut = sources.iter().max_by_key(|source| source.due().len())?;
    let (total, left) = (cut.end - cut.start, cut.due().len());
    let partial = receiver.received.len() - at;
    let came = (total - left.min(total)) + partial.min(left);
    (came < total).then(|| Difference {
        sender: cut.name.to_owned(),
        at: receiver.received.len(),
        change: Change::Cut(came, total),
    })
}

/// What is wrong with the rest, none of whose beginning is due.
fn first_difference(
    receiver: &Conversation,
    sources: &[Source],
    last: usize,
    at: usize,
    rest: &[u8],
) -> Difference {
    let pending = |source: &&Source| !source.due().is_empty();
    let alike = |source: &&Source| common(source.due(), rest);
    let best = sources.iter().filter(pending).max_by_key(alike);
    let best = best.filter(|source| alike(source) > 0);
    let source = best.or(sources.get(last).filter(pending));
    let source = source.or(sources.iter().find(pending));
    let source = source.or(sources.get(last));
    let line = first_line(rest);
    let difference = |source: &Source, change| Difference {
        sender: source.name.to_owned(),
        at,
        change,
    };
    let is_own = receiver.sent.starts_with(line) || line_in(&receiver.sent, line).is_some();
    let is_sent = sources.iter().any(|s| line_in(s.sent, line).is_some());
    if line.ends_with(b"\n") && is_own && !is_sent {
        return Difference {
            sender: receiver.name.clone(),
            at,
            change: Change::Own(line.to_vec()),
        };
    }
    for source in sources {
        let half = &source.sent[source.end..];
        let after = rest.strip_prefix(half).map(first_line);
        let is_sent = |line: &[u8]| {
            line.is_empty() || sources.iter().any(|s| line_in(s.sent, line).is_some())
        };
        if half.len() > 1 && (half.starts_with(line) || after.is_some_and(is_sent)) {
            return difference(source, Change::Half(half.to_vec()));
        }
        if let Some(change) = lines_skipped(source, rest) {
            return difference(source, change);
        }
    }
    for source in sources {
        let before = &source.sent[..source.at];
        if line.ends_with(b"\n") && line_in(before, line).is_some() {
            let times = times(&receiver.received, &source.sent[source.start..source.end]);
            let again = Change::Again(line.to_vec());
            return difference(source, times.map_or(again, Change::Times));
        }
    }
    let whose = |bytes: &[u8]| {
        whose(
            bytes,
            source.map_or("", |source| source.name),
            sources,
            receiver,
        )
    };
    let Some(source) = source.filter(pending) else {
        let change = Change::Inserted(line.to_vec(), Place::Elsewhere, whose(line));
        return Difference {
            sender: receiver.name.clone(),
            at,
            change,
        };
    };
    let equal = common(source.due(), rest);
    let mut found = difference(source, byte_change(source, rest, equal, &whose));
    found.at += equal;
    found
}

/// A line that is due later than others, which then are missing or come after it.
fn lines_skipped(source: &Source, rest: &[u8]) -> Option<Change> {
    let line = first_line(rest);
    let place = line_in(source.due(), line).filter(|_| line.ends_with(b"\n"))?;
    let skipped = &source.due()[..place];
    if place == 0 {
        return None;
    }
    match line_in(rest, first_line(skipped)) {
        Some(_) => Some(Change::Order(line.to_vec(), first_line(skipped).to_vec())),
        None => Some(Change::Missing(skipped.to_vec(), true)),
    }
}

/// The change within a line that begins as it should for some bytes.
fn byte_change(
    source: &Source,
    rest: &[u8],
    equal: usize,
    whose: &dyn Fn(&[u8]) -> Option<String>,
) -> Change {
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
    let due = source.due();
    let (wanted, came) = (first_line(due), first_line(rest));
    if find(came, REPLACEMENT).is_some() && find(wanted, REPLACEMENT).is_none() {
        return Change::Lossy;
    }
    if came.len() < wanted.len() && trimmed(came) == trimmed(wanted) && came.ends_with(b"\n") {
        return Change::Trimmed(wanted.to_vec());
    }
    let hole = find(&due[equal..], probe(&rest[equal..]));
    let near = &rest[equal..rest.len().min(equal + NEAR)];
    let inserted = find(near, probe(&due[equal..]));
    match (hole, inserted) {
        (Some(k), i) if i.is_none_or(|i| k < i) => {
            let missing = &due[equal..equal + k];
            let later = find(&rest[equal..], probe(missing)).filter(|_| k >= PROBE);
            match later {
                Some(_) => Change::Order(probe(&rest[equal..]).to_vec(), probe(missing).to_vec()),
                None => Change::Missing(missing.to_vec(), false),
            }
        }
        (_, Some(k)) => {
            let bytes = &near[..k];
            if k >= 8 && find(&source.sent[..source.at + equal], bytes).is_some() {
                return Change::Again(bytes.to_vec());
            }
            let place = place_of(bytes, equal, due, rest);
            Change::Inserted(bytes.to_vec(), place, whose(bytes))
        }
        _ => {
            let before = &source.sent[..source.at + equal];
            let again = probe(&rest[equal..]);
            match again.len() >= 8 && find(before, again).is_some() {
                true => Change::Again(again.to_vec()),
                false => {
                    let later = &source.sent[source.at + equal..];
                    let overwritten = overwritten(came, wanted, equal, later);
                    Change::Replaced(came.to_vec(), wanted.to_vec(), overwritten)
                }
            }
        }
    }
}

/// The bytes between what two lines have in common, if they were sent later.
fn overwritten(came: &[u8], wanted: &[u8], equal: usize, later: &[u8]) -> Option<Vec<u8>> {
    let pairs = came[equal..].iter().rev().zip(wanted[equal..].iter().rev());
    let same = pairs.take_while(|(a, b)| a == b).count();
    let bytes = &came[equal..came.len() - same];
    let is_sent = bytes.len() > 2 && find(later, bytes).is_some();
    is_sent.then(|| bytes.to_vec())
}

/// Where bytes were inserted: at the same place of each line, or once.
fn place_of(bytes: &[u8], equal: usize, due: &[u8], rest: &[u8]) -> Place {
    let lines = |bytes: &'_ [u8]| -> Vec<Vec<u8>> {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').take(LINES);
        lines
            .filter(|line| line.ends_with(b"\n"))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (wanted, came) = (lines(due), lines(rest));
    let is_each = |change: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut pairs = wanted.iter().zip(&came);
        came.len() > 1 && pairs.all(|(wanted, came)| change(wanted) == *came)
    };
    let at_start = |line: &[u8]| [bytes, line].concat();
    let at_end = |line: &[u8]| [&line[..line.len() - 1], bytes, b"\n"].concat();
    let is_last = due.get(equal) == Some(&b'\n');
    match equal {
        0 if is_each(&at_start) => Place::EachLineStart,
        0 => Place::LineStart,
        _ if is_each(&at_end) => Place::EachLineEnd,
        _ if is_last => Place::LineEnd,
        _ => Place::Elsewhere,
    }
}

/// Who has sent some bytes that were not due.
fn whose(
    bytes: &[u8],
    source: &str,
    sources: &[Source],
    receiver: &Conversation,
) -> Option<String> {
    let has = |sent: &[u8]| bytes.len() > 3 && find(sent, bytes).is_some();
    let others = sources.iter().filter(|s| s.name != source);
    let mut senders = others.filter(|s| has(s.sent)).map(|s| s.name.to_owned());
    let own = has(&receiver.sent).then(|| receiver.name.clone());
    senders.next().or(own)
}

/// How often each line has come, if all have come as often.
fn times(received: &[u8], sent: &[u8]) -> Option<usize> {
    let times = received.len().div_ceil(sent.len().max(1));
    let lines = sent.split_inclusive(|&byte| byte == b'\n').take(LINES);
    let all = || {
        lines
            .flat_map(|line| line.repeat(times))
            .collect::<Vec<_>>()
    };
    ((2..9).contains(&times) && received.starts_with(&all())).then_some(times)
}

/// The lines that are complete.
pub(crate) fn complete(bytes: &[u8]) -> &[u8] {
    let newline = bytes.iter().rposition(|&byte| byte == b'\n');
    &bytes[..newline.map_or(0, |place| place + 1)]
}

/// The lines without white space at their ends.
pub(crate) fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let trimmed = lines.map(|line| {
        let newline: &[u8] = if line.ends_with(b"\n") { b"\n" } else { b"" };
        [line.trim_ascii(), newline].concat()
    });
    trimmed.collect::<Vec<_>>().concat()
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines.next().unwrap_or_default()
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
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    for other in lines {
        if other == line {
            return Some(at);
        }
        at += other.len();
    }
    None
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let first = part.first()?;
    let last = bytes.len().checked_sub(part.len())?;
    let mut places = (0..=last).filter(|&at| bytes[at] == *first);
    places.find(|&at| bytes[at..].starts_with(part))
}

impl Difference {
    /// What is to be seen, in a sentence.
    #[rustfmt::skip]
    pub(crate) fn describe(&self, bob: &str) -> String {
        let (alice, at) = (&self.sender, self.at);
        match &self.change {
            Change::Cut(0, total) => format!("{bob} received nothing of the {total} bytes in {alice}'s lines."),
            Change::Cut(came, total) if came + 1 == *total => format!("{bob} received all of {alice}'s lines but the last newline."),
            Change::Cut(came, total) => format!("{bob} received the first {came} of the {total} bytes in {alice}'s lines, and no more."),
            Change::Own(line) => format!("{bob} received {}, which {bob} has sent.", escape(line)),
            Change::Times(2) => format!("{bob} received each line of {alice}'s twice."),
            Change::Times(times) => format!("{bob} received each line of {alice}'s {times} times."),
            Change::Again(bytes) => format!("After {at} bytes, {bob} received {} again, which had come before.", escape(bytes)),
            Change::Missing(bytes, true) => format!("{bob} did not receive {} of {alice}'s, but later lines.", escape(first_line(bytes))),
            Change::Missing(bytes, false) if bytes == b"\n" => format!("A newline of {alice}'s did not reach {bob}, though bytes after it did."),
            Change::Missing(bytes, false) => format!("After {at} bytes, {bob} did not receive {} of {alice}'s, but bytes that come after.", escape(bytes)),
            Change::Order(first, second) => format!("{bob} received {} before {}, and {alice} has sent them in the other order.", escape(first), escape(second)),
            Change::Inserted(bytes, place, whose) => {
                let whose = whose.as_ref().map_or("which was not due".to_owned(), |name| format!("bytes of {name}'s"));
                match place {
                    Place::Elsewhere if at == 0 => format!("{bob} received {} before anything else, {whose}.", escape(bytes)),
                    Place::Elsewhere => format!("After {at} bytes, {bob} received {}, {whose}.", escape(bytes)),
                    _ => format!("{bob} received {} {}, {whose}.", escape(bytes), place.name()),
                }
            }
            Change::Trimmed(line) => format!("{alice} has sent {}, and white space of it is missing in what {bob} received.", escape(line)),
            Change::Lossy => format!("Bytes of {alice}'s that are no text reached {bob} as U+FFFD."),
            Change::Replaced(came, due, later) => {
                let later = later.as_ref().map_or(String::new(), |later| format!(", and {} is what {alice} has sent later", escape(later)));
                format!("{bob} received {} where {} of {alice}'s was due{later}.", escape(came), escape(due))
            }
            Change::Half(half) => format!("{bob} received {}, the beginning of a line that {alice} has not ended.", escape(half)),
        }
    }
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::LineStart => "in front of a line",
            Place::LineEnd => "before a newline",
            Place::EachLineStart => "in front of each line",
            Place::EachLineEnd => "before each newline",
            Place::Elsewhere => "elsewhere",
        }
    }
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
        compare(&all[1], &all).map(|difference| difference.describe("bob"))
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
    }

    #[test]
    #[rustfmt::skip]
    fn each_kind_of_difference_is_described() {
        let (none, one, two, six): (&[u8], &[u8], &[u8], &[u8]) = (b"", b"one\n", b"one\ntwo\n", b"one\ntwo\nsix\n");
        for (alice, carol, bob, received, what) in [
            (one, none, none, none, "nothing of the 4 bytes in alice's lines"),
            (two, none, none, b"one\nt", "the first 5 of the 8 bytes in alice's lines"),
            (one, none, none, b"one", "all of alice's lines but the last newline"),
            (one, none, b"mine\n", b"mine\n", "received \"mine\\n\", which bob has sent"),
            (two, none, none, b"one\none\ntwo\ntwo\n", "each line of alice's twice"),
            (six, none, none, b"one\ntwo\none\n", "received \"one\\n\" again"),
            (six, none, none, b"one\nsix\n", "did not receive \"two\\n\" of alice's, but later lines"),
            (two, none, none, b"two\none\n", "received \"two\\n\" before \"one\\n\""),
            (b"one six three\n", none, none, b"one three\n", "After 4 bytes, bob did not receive \"six \""),
            (two, none, none, b"onetwo\n", "A newline of alice's did not reach bob"),
            (two, none, none, b"one\r\ntwo\r\n", "\"\\r\" before each newline, which was not due"),
            (two, none, none, b"a: one\na: two\n", "\"a: \" in front of each line"),
            (one, b"hel", none, b"helone\n", "\"hel\", the beginning of a line that carol has not ended"),
            (b"first\n", b"hello\n", none, b"hellofirst\n", "received \"first\" before a newline, bytes of alice's"),
            (b" one\t\n", none, none, one, "white space of it is missing"),
            (b"\xff\n", none, none, "\u{fffd}\n".as_bytes(), "as U+FFFD"),
            (b"hello\nworld\n", none, none, b"worlo\n", "and \"wor\" is what alice has sent later"),
            (one, none, none, b"ONE\n", "received \"ONE\\n\" where \"one\\n\" of alice's was due"),
            (none, none, none, b"Welcome!\n", "received \"Welcome!\\n\" before anything else"),
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
        let cut = compare(&all[1], &all).map(|difference| difference.change);
        assert_eq!(cut, Some(Change::Cut(0, 4)));
    }
}
