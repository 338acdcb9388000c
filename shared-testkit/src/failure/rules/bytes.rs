//! What the clients received, and what the server says about it, against what was sent.

#[cfg(test)]
use super::tests::*;
use super::{Certain, Rule, Seen, due, has_everything, says_goodbye, sender};
use crate::failure::Expected;
use crate::failure::evidence::{Evidence, Peer};
use crate::failure::lessons::{BROADCAST, WRITE};
use crate::failure::streams::{Change, Difference, complete, trimmed};
use crate::log::Kind;

const STREAM: (&str, &str) = (BROADCAST, "A stream has no messages");
const OTHERS: (&str, &str) = (BROADCAST, "To everyone but the sender");
const QUEUE: (&str, &str) = (WRITE, "A write takes what fits");

/// More bytes are not searched for white space: a failure must not take long.
const MOST_TRIMMED: usize = 64 << 10;

rules! { RULES:
    "echo" Certain, |e| differs(e, |c| matches!(c, Change::Own(_))),
        "{} A line goes to everyone but its sender: skip the sender's token.",
        OTHERS, [|e| differ(e, Change::Own(b"Hello\n".to_vec()))];
    "twice" Certain, |e| differs(e, |c| matches!(c, Change::Times(_))),
        "{} Queue each line once for each client.",
        OTHERS, [|e| differ(e, Change::Times(2))];
    "shared-buffer" Certain, |e| more_than_sent(e, true),
        "{} That is not more than all clients together: their unfinished lines share a buffer. Give each client its own.",
        STREAM, [|e| { say(e, &["Broadcast 9 bytes from Token(1)"]); e.peers.push(Peer { sent: b"and".to_vec(), ..Peer::default() }); }];
    "half-line-broadcast" Certain, |e| differs(e, |c| matches!(c, Change::Half(_))),
        "{} Keep the bytes that follow the last newline until theirs arrives, for each client apart.",
        STREAM, [|e| differ(e, Change::Half(b"hel".to_vec()))];
    "white-space-trimmed" Certain, |e| differs(e, |c| matches!(c, Change::Trimmed(_))),
        "{} Only the newline has a meaning: do not trim.",
        STREAM, [|e| differ(e, Change::Trimmed(b" x\n".to_vec()))];
    "not-text" Certain, |e| differs(e, |c| *c == Change::Lossy),
        "{} Keep lines as bytes, and do not convert them to a string.",
        STREAM, [|e| differ(e, Change::Lossy)];
    "more-than-sent" Certain, |e| more_than_sent(e, false),
        "{} Send and count the bytes that read has returned, and no more.",
        STREAM, [|e| say(e, &["Broadcast 9 bytes from Token(1)"])];
    "newline-missing" Certain, |e| differs(e, |c| matches!(c, Change::Missing(b, false) if b == b"\n")),
        "{} The newline is a byte of the line: send it, too.",
        STREAM, [|e| differ(e, Change::Missing(b"\n".to_vec(), false))];
    "bytes-of-another" Certain, |e| differs(e, |c| matches!(c, Change::Inserted(_, _, Some(_)))),
        "{} If clients share a buffer, their unfinished lines mix: give each client its own.",
        STREAM, [|e| differ(e, Change::Inserted(b"hel".to_vec(), Place::Elsewhere, Some("bob".to_owned())))];
    "inserted" Certain, |e| differs(e, |c| matches!(c, Change::Inserted(..))),
        "{} Send what was sent, and nothing else.",
        STREAM, [|e| differ(e, Change::Inserted(b"\r".to_vec(), Place::EachLineEnd, None))];
    "order" Certain, |e| differs(e, |c| matches!(c, Change::Order(..))),
        "{} Add new lines at the end of the queue, behind those that wait.",
        (BROADCAST, "Interest in WRITABLE"), [|e| differ(e, Change::Order(b"two\n".to_vec(), b"one\n".to_vec()))];
    "again" Certain, |e| differs(e, |c| matches!(c, Change::Again(_))),
        "{} Take from the queue exactly as many bytes as the write took.",
        QUEUE, [|e| differ(e, Change::Again(b"one\n".to_vec()))];
    "short-write" Certain, dropped_by_write,
        "{} There a write ended, which was short: the bytes that it did not take were dropped. Keep them in the queue.",
        QUEUE, [|e| { say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 4 bytes to Token(1)"]); differ(e, Change::Missing(b"abc".to_vec(), false)); }];
    "fragment-lost" Certain, lost_by_read,
        "{} They were not broadcast: they are lost between read and broadcast. Often that is what follows the last newline of a read: keep it for the next read.",
        STREAM, [|e| { say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 9 bytes to Token(1)"]); e.peers.push(Peer { name: "bob".to_owned(), token: Some("Token(2)".to_owned()), sent: b"two words\n".to_vec(), ..Peer::default() }); differ(e, Change::Missing(b"wor".to_vec(), false)); }];
    "lines-missing" Certain, |e| differs(e, |c| matches!(c, Change::Missing(_, true))),
        "{} Each line goes to everyone but its sender, also while earlier ones are still queued.",
        OTHERS, [|e| differ(e, Change::Missing(b"one\n".to_vec(), true))];
    "bytes-missing" Certain, |e| differs(e, |c| matches!(c, Change::Missing(..))),
        "{} Look for a place where bytes are cut: at the end of a read, or of a write.",
        STREAM, [|e| differ(e, Change::Missing(b"abc".to_vec(), false))];
    "overwritten" Certain, |e| differs(e, |c| matches!(c, Change::Replaced(_, _, Some(_)))),
        "{} Queued bytes were overwritten by later ones: they must not share memory with a buffer that is read into again.",
        QUEUE, [|e| differ(e, Change::Replaced(b"worlo\n".to_vec(), b"hello\n".to_vec(), Some(b"wor".to_vec())))];
    "replaced" Certain, |e| differs(e, |c| matches!(c, Change::Replaced(..))),
        "{} A line is sent as it came, byte for byte.",
        STREAM, [|e| differ(e, Change::Replaced(b"ONE\n".to_vec(), b"one\n".to_vec(), None))];
    "newline-not-counted" Certain, |e| counted(e, newline_not_counted),
        "The server broadcast the lines of {} and did not count their newlines. The newline is a byte of the line.",
        STREAM, [|e| { say(e, &["Broadcast 5 bytes from Token(1)", "Wrote 6 bytes to Token(2)"]); expects(e, "Broadcast 6 bytes from Token(1)"); }];
    "white-space-trimmed" Certain, |e| counted(e, is_trimmed),
        "The server counts the lines of {} without the white space at their ends. Only the newline has a meaning: do not trim.",
        STREAM, [|e| { is_sent(e, b" Hello\t\n"); say(e, &[BROADCAST_6]); expects(e, "Broadcast 8 bytes from Token(1)"); }];
    "half-line-broadcast" Certain, |e| counted(e, half_line_broadcast),
        "The server broadcast bytes of {} up to a place where no line ends. Keep them until their newline arrives.",
        STREAM, [|e| { is_sent(e, b"Hello\nwor"); say(e, &["Broadcast 9 bytes from Token(1)"]); expects(e, BROADCAST_6); }];
    "lines-apart" Certain, |e| sender(e, lines_apart),
        "The lines of {} that arrived together were broadcast one by one. Broadcast everything up to the last newline at once.",
        STREAM, [|e| { is_sent(e, b"Hello\nHello\n"); say(e, &[BROADCAST_6, BROADCAST_6]); expects(e, "Broadcast 12 bytes from Token(1)"); }];
    "write-count" Certain, write_count,
        "{}. Print what write has returned, once for each write.",
        QUEUE, [|e| { e.peers[0].received = 4; e.peers[0].is_alive = true; say(e, &["Wrote 9 bytes to Token(1)"]); e.expected = Expected::NoLine; }];
    "echo" Certain, |e| e.peers.iter().find(|p| is_echoed(e, p)).map(|p| p.name.clone()),
        "A write to {} was due, and nobody else has sent anything: the sender gets its own line. Skip the sender's token.",
        OTHERS, [|e| { say(e, &[BROADCAST_6]); super::tests::fail(e, "Write error for Token(1): x"); e.peers[0].socket = None; }];
}

rules! { LAST:
    "lost-at-end" Certain, lost_at_end,
        "{}. What comes before end of file or an error is a line like any other: read it, broadcast it, and then close the client.",
        (BROADCAST, "One way out"), [|e| { super::tests::fail(e, "Read error from Token(1): reset"); e.expected = Expected::Bytes("bob".to_owned()); }];
    "cut" Seen, |e| differs(e, |c| matches!(c, Change::Cut(..))).filter(|_| e.is_final()),
        "{}",
        QUEUE, [|e| differ(e, Change::Cut(0, 9))];
}

/// The difference at the client that the test is about, or else at any.
fn difference(e: &Evidence) -> Option<(&Peer, &Difference)> {
    let is_due = |peer: &Peer| match &e.expected {
        Expected::Bytes(name) | Expected::Closed(name) => peer.name == *name,
        _ => false,
    };
    let mut found: Vec<_> = e
        .peers
        .iter()
        .filter_map(|p| Some((p, p.difference.as_ref()?)))
        .collect();
    // Others may just not have received everything yet.
    found.retain(|(peer, d)| is_due(peer) || !matches!(d.change, Change::Cut(..)));
    found.sort_by_key(|(peer, _)| !is_due(peer));
    found.into_iter().next()
}

fn differs(e: &Evidence, is_it: fn(&Change) -> bool) -> Option<String> {
    let (peer, found) = difference(e)?;
    is_it(&found.change).then(|| found.describe(&peer.name))
}

/// Bytes that are missing from where a write ended that had not taken everything.
fn dropped_by_write(e: &Evidence) -> Option<String> {
    let (peer, found) = difference(e)?;
    let mut at = 0;
    let is_end = e.writes_to(peer).iter().any(|count| {
        at += count;
        at == found.at
    });
    let is_missing = matches!(&found.change, Change::Missing(_, false));
    (is_missing && is_end && !has_everything(e, peer)).then(|| found.describe(&peer.name))
}

/// Bytes that are missing from what was broadcast, which all was written.
fn lost_by_read(e: &Evidence) -> Option<String> {
    let (peer, found) = difference(e)?;
    let sender = e.peers.iter().find(|other| other.name == found.sender)?;
    let broadcast = e.broadcasts_from(sender).iter().sum::<usize>();
    let is_less = broadcast > 0 && broadcast < complete(&sender.sent).len();
    let is_missing = matches!(&found.change, Change::Missing(_, false));
    (is_missing && is_less && has_everything(e, peer)).then(|| found.describe(&peer.name))
}

/// A client's line that was not broadcast, though its end or the error after it was noticed.
fn lost_at_end(e: &Evidence) -> Option<String> {
    let is_about_it = matches!(e.expected, Expected::Bytes(_) | Expected::Line(..));
    let is_lost = |peer: &&Peer| {
        let token = peer.token.as_deref().unwrap_or("nobody");
        let error = format!("Read error from {token}: ");
        let is_noticed = says_goodbye(e, peer) || e.stderr.iter().any(|l| l.starts_with(&error));
        let broadcast = e.broadcasts_from(peer).iter().sum::<usize>();
        is_noticed && broadcast < complete(&peer.sent).len() && is_once(e, peer)
    };
    let peer = e
        .peers
        .iter()
        .find(is_lost)
        .filter(|_| is_about_it && e.is_asleep())?;
    let name = &peer.name;
    Some(format!(
        "{name} has sent a line, and then the connection has ended: {name} was closed, and the line was not broadcast"
    ))
}

/// More was broadcast from one client than it has sent, but perhaps not more than all have.
fn more_than_sent(e: &Evidence, is_of_others: bool) -> Option<String> {
    let mut peers = e.peers.iter();
    let sum = |peer: &Peer| e.broadcasts_from(peer).iter().sum::<usize>();
    let total = peers.clone().map(sum).sum::<usize>();
    if (total <= peers.clone().map(|peer| peer.sent.len()).sum()) != is_of_others {
        return None;
    }
    let peer = peers.find(|peer| sum(peer) > peer.sent.len() && is_once(e, peer))?;
    let (sum, sent, name) = (sum(peer), peer.sent.len(), &peer.name);
    let which = differs(e, |change| !matches!(change, Change::Cut(..))).unwrap_or_default();
    let count = format!(
        "By its lines, the server has broadcast {sum} bytes from {name}, and {name} has sent {sent}."
    );
    Some(format!("{count} {which}").trim_end().to_owned())
}

/// Whether no other client of the test had the same token.
fn is_once(e: &Evidence, peer: &Peer) -> bool {
    e.peers
        .iter()
        .filter(|other| other.token == peer.token)
        .count()
        == 1
}

/// A rule about numbers applies only where a number was expected.
fn counted(e: &Evidence, holds: fn(&Evidence, &Peer) -> bool) -> Option<String> {
    let is_about_count = match &e.expected {
        Expected::Line(Kind::Stdout, line) => {
            line.starts_with("Broadcast ") || line.starts_with("Wrote ")
        }
        expected => *expected == Expected::NoLine,
    };
    is_about_count.then(|| sender(e, holds))?
}

fn newline_not_counted(e: &Evidence, peer: &Peer) -> bool {
    let (mut at, counts) = (0, e.broadcasts_from(peer));
    let misses_newlines = |&count: &usize| {
        // It may cover several lines, and then misses several newlines.
        let rest = &peer.sent[at..];
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut ends = (1..).zip(ends.map(|(place, _)| place + 1));
        let Some((lines, end)) = ends.find(|(lines, end)| end - lines >= count) else {
            return false;
        };
        at += end;
        // The carriage return may have gone with the newline.
        let returns = rest[..end]
            .windows(2)
            .filter(|pair| pair == b"\r\n")
            .count();
        end - lines == count || end - lines - returns == count
    };
    // Without a line about what was written, a trimmed newline looks the same.
    let is_written = e.stdout.iter().any(|line| line.starts_with("Wrote "));
    let is_trimmed = trimmed(complete(&peer.sent)).len() == counts.iter().sum::<usize>();
    !counts.is_empty() && counts.iter().all(misses_newlines) && (is_written || !is_trimmed)
}

fn is_trimmed(e: &Evidence, peer: &Peer) -> bool {
    let sum = e.broadcasts_from(peer).iter().sum::<usize>();
    let sent = complete(&peer.sent);
    if sum == 0 || sum >= sent.len() || sent.len() > MOST_TRIMMED {
        return false;
    }
    let lines = sent.split_inclusive(|&byte| byte == b'\n');
    let at_the_ends: usize = lines.map(|line| line.trim_ascii_end().len() + 1).sum();
    [trimmed(sent).len(), at_the_ends].contains(&sum)
}

fn half_line_broadcast(e: &Evidence, peer: &Peer) -> bool {
    let mut at = 0;
    let counts = e.broadcasts_from(peer);
    counts.iter().sum::<usize>() >= complete(&peer.sent).len()
        && counts.iter().any(|count| {
            at += count;
            *count > 0 && peer.sent.get(at - 1).is_some_and(|&byte| byte != b'\n')
        })
}

/// As many bytes were broadcast as were expected in one go.
fn lines_apart(e: &Evidence, peer: &Peer) -> bool {
    let token = peer.token.as_deref().unwrap_or("nobody");
    let counts = e.broadcasts_from(peer);
    let sum: usize = counts.iter().sum();
    let line = Expected::Line(Kind::Stdout, format!("Broadcast {sum} bytes from {token}"));
    counts.len() > 1 && e.expected == line
}

/// The server prints that it has written more, or less, than a client has received by now.
fn write_count(e: &Evidence) -> Option<String> {
    let is_about_lines = matches!(
        e.expected,
        Expected::Line(Kind::Stdout, _) | Expected::NoLine
    );
    let sum = |peer: &Peer| e.writes_to(peer).iter().sum::<usize>();
    let differs = |peer: &&Peer| {
        let is_known = peer.is_alive && is_once(e, peer);
        let Some(socket) = peer.socket.as_ref().filter(|_| is_known) else {
            return false;
        };
        let is_less = sum(peer) < peer.received && e.is_asleep() && is_about_lines;
        sum(peer) > peer.received + socket.unsent || sum(peer) > 0 && is_less
    };
    let peer = e.peers.iter().find(differs)?;
    let (sum, received, name) = (sum(peer), peer.received, &peer.name);
    Some(format!(
        "By the server's lines, {sum} bytes were written to {name}, who has received {received}"
    ))
}

/// A write to a client failed that nothing was due to.
fn is_echoed(e: &Evidence, peer: &Peer) -> bool {
    let token = peer.token.as_deref().unwrap_or("nobody");
    let line = format!("Write error for {token}: ");
    let has_failed = e.stderr.iter().any(|error| error.starts_with(&line));
    has_failed && due(e, peer) == 0 && has_everything(e, peer) && !peer.sent.is_empty()
}

#[cfg(test)]
fn differ(e: &mut Evidence, change: Change) {
    e.expected = Expected::Bytes("alice".to_owned());
    e.peers[0].sent.clear();
    e.peers[0].difference = Some(Difference {
        sender: "bob".to_owned(),
        at: 4,
        change,
    });
}
