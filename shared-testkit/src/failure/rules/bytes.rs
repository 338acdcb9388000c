//! What the clients received, and what the server says about it, against what was sent.

use bstr::ByteSlice;

use super::*;
use crate::failure::diff::trimmed;

rules! { RULES:
    "echo" Certain, |e| differs(e, Change::Own),
        "{} A line goes to everyone but its sender: skip the sender's token.",
        "docs/src/3-broadcast.md, 'To everyone but the sender'", [|e| differ(e, 4, Change::Own)];
    "twice" Certain, |e| differs(e, Change::Twice),
        "{} Queue each line once for each client.",
        "docs/src/3-broadcast.md, 'To everyone but the sender'", [|e| differ(e, 4, Change::Twice)];
    "shared-buffer" Certain, |e| more_than_sent(e, true),
        "{} That is not more than all clients together: their unfinished lines share a buffer. Give each client its own.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { say(e, &["Broadcast 9 bytes from Token(1)"]); second(e).sent = b"and".to_vec(); }];
    "half-line-broadcast" Certain, |e| differs(e, Change::Half),
        "{} Keep the bytes that follow the last newline until theirs arrives, for each client apart.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::Half)];
    "white-space-trimmed" Certain, |e| differs(e, Change::Trimmed),
        "{} Only the newline has a meaning: do not trim.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::Trimmed)];
    "not-text" Certain, |e| differs(e, Change::Lossy),
        "{} Keep lines as bytes, and do not convert them to a string.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::Lossy)];
    "more-than-sent" Certain, |e| more_than_sent(e, false),
        "{} Send and count the bytes that read has returned, and no more.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| say(e, &["Broadcast 9 bytes from Token(1)"])];
    "newline-missing" Certain, |e| differs(e, Change::NewlineMissing),
        "{} The newline is a byte of the line: send it, too.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::NewlineMissing)];
    "bytes-of-another" Certain, |e| differs(e, Change::OfAnother),
        "{} If clients share a buffer, their unfinished lines mix: give each client its own.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::OfAnother)];
    "altered" Certain, |e| [Change::Inserted, Change::BeforeNewlines, Change::Replaced].iter().find_map(|change| differs(e, *change)),
        "{} A line is sent as it came, byte for byte.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::BeforeNewlines), |e| differ(e, 4, Change::Replaced)];
    "order" Certain, |e| differs(e, Change::Order),
        "{} Add new lines at the end of the queue, behind those that wait.",
        "docs/src/3-broadcast.md, 'Interest in WRITABLE'", [|e| differ(e, 4, Change::Order)];
    "again" Certain, |e| differs(e, Change::Again),
        "{} Take from the queue exactly as many bytes as the write took.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| differ(e, 4, Change::Again)];
    "short-write" Certain, dropped_by_write,
        "{} There a write ended, which was short: the bytes that it did not take were dropped. Keep them in the queue.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| { say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 4 bytes to Token(1)"]); differ(e, 4, Change::BytesMissing); }];
    "fragment-lost" Certain, lost_by_read,
        "{} They were not broadcast: they are lost between read and broadcast. Often that is what follows the last newline of a read: keep it for the next read.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { say(e, &["Broadcast 9 bytes from Token(2)", "Wrote 9 bytes to Token(1)"]); second(e).sent = b"two words\n".to_vec(); differ(e, 4, Change::BytesMissing); }];
    "lines-missing" Certain, |e| differs(e, Change::LinesMissing),
        "{} Each line goes to everyone but its sender, also while earlier ones are still queued.",
        "docs/src/3-broadcast.md, 'To everyone but the sender'", [|e| differ(e, 4, Change::LinesMissing)];
    "bytes-missing" Certain, |e| differs(e, Change::BytesMissing),
        "{} Look for a place where bytes are cut: at the end of a read, or of a write.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| differ(e, 4, Change::BytesMissing)];
    "overwritten" Certain, |e| differs(e, Change::Overwritten),
        "{} Queued bytes were overwritten by later ones: they must not share memory with a buffer that is read into again.",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| differ(e, 4, Change::Overwritten)];
    "newline-not-counted" Certain, |e| counted(e, |e, p| left_out(e, p) == [true, false]),
        "The server broadcast the lines of {} and did not count their newlines. The newline is a byte of the line.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { say(e, &["Broadcast 5 bytes from Token(1)", "Wrote 6 bytes to Token(2)"]); expects(e, "Broadcast 6 bytes from Token(1)"); }];
    "characters-counted" Certain, |e| counted(e, |e, p| { let sent = complete(&p.sent); sent.chars().count() + 1 < sent.len() && sent.chars().count() == e.broadcast_from(p) }),
        "The server counts the characters of {}, and some have several bytes. Count bytes, and keep lines as bytes.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { is_sent(e, "ññ\n".as_bytes()); say(e, &["Broadcast 3 bytes from Token(1)"]); expects(e, "Broadcast 5 bytes from Token(1)"); }];
    "white-space-trimmed" Certain, |e| counted(e, |e, p| left_out(e, p) == [false, true]),
        "The server counts the lines of {} without the white space at their ends. Only the newline has a meaning: do not trim.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { is_sent(e, b" Hello\t\n"); say(e, &[BROADCAST_6]); expects(e, "Broadcast 8 bytes from Token(1)"); }];
    "half-line-broadcast" Certain, |e| counted(e, half_line_broadcast),
        "The server broadcast bytes of {} up to a place where no line ends. Keep them until their newline arrives.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { is_sent(e, b"Hello\nwor"); say(e, &["Broadcast 9 bytes from Token(1)"]); expects(e, BROADCAST_6); }];
    "lines-apart" Certain, |e| sender(e, lines_apart),
        "The lines of {} that arrived together were broadcast one by one. Broadcast everything up to the last newline at once.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { is_sent(e, b"Hello\nHello\n"); say(e, &[BROADCAST_6, BROADCAST_6]); expects(e, "Broadcast 12 bytes from Token(1)"); }];
}

rules! { LAST:
    "lost-at-end" Certain, lost_at_end,
        "{} has sent a line, and then the connection has ended: {} was closed, and the line was not broadcast. What comes before end of file or an error is a line like any other: read it, broadcast it, and then close the client.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| { fail(e, "Read error from Token(1): reset"); e.expected = Expected::Bytes("bob".to_owned()); }];
    "cut" Seen, |e| differs(e, Change::Cut).filter(|_| e.is_final()),
        "{}",
        "docs/src/4-write.md, 'A write takes what fits'", [|e| differ(e, 4, Change::Cut)];
}

/// The difference at the client that the test is about, or else at any.
fn difference(e: &Evidence) -> Option<(&Peer, &Difference)> {
    let is_due = |peer: &Peer| match &e.expected {
        Expected::Bytes(name) | Expected::Closed(name) => peer.name == *name,
        _ => false,
    };
    let peers = e.peers.iter();
    let found = peers.filter_map(|peer| Some((peer, peer.difference.as_ref()?)));
    // Others may just not have received everything yet.
    let found = found.filter(|(peer, found)| is_due(peer) || found.change != Change::Cut);
    found.min_by_key(|(peer, _)| !is_due(peer))
}

fn differs(e: &Evidence, change: Change) -> Option<String> {
    let found = difference(e)?.1;
    (found.change == change).then(|| found.text.clone())
}

/// Bytes that are missing from where a write ended that had not taken everything.
fn dropped_by_write(e: &Evidence) -> Option<String> {
    let (peer, found) = difference(e)?;
    let is_end = sums(e.writes_to(peer)).any(|end| end == found.at);
    differs(e, Change::BytesMissing).filter(|_| is_end && !has_everything(e, peer))
}

/// Bytes that are missing from what was broadcast, which all was written.
fn lost_by_read(e: &Evidence) -> Option<String> {
    let (peer, found) = difference(e)?;
    let sender = e.peers.iter().find(|other| other.name == found.sender)?;
    let broadcast = e.broadcast_from(sender);
    let is_less = broadcast > 0 && broadcast < complete(&sender.sent).len();
    differs(e, Change::BytesMissing).filter(|_| is_less && has_everything(e, peer))
}

/// A client's line that was not broadcast, though its end or the error after it was noticed.
fn lost_at_end(e: &Evidence) -> Option<String> {
    let is_about_it = matches!(e.expected, Expected::Bytes(_) | Expected::Line(..));
    let is_lost = |e: &Evidence, peer: &Peer| {
        let error = format!("Read error from {}: ", peer.token());
        let is_noticed = says_goodbye(e, peer) || e.stderr.iter().any(|l| l.starts_with(&error));
        is_noticed && e.broadcast_from(peer) < complete(&peer.sent).len() && is_once(e, peer)
    };
    sender(e, is_lost).filter(|_| is_about_it && e.is_asleep())
}

/// More was broadcast from one client than it has sent, but perhaps not more than all have.
fn more_than_sent(e: &Evidence, is_of_others: bool) -> Option<String> {
    if e.is_partial {
        return None;
    }
    let total: usize = e.peers.iter().map(|peer| e.broadcast_from(peer)).sum();
    let sent: usize = e.peers.iter().map(|peer| peer.sent.len()).sum();
    let is_more = |peer: &&Peer| e.broadcast_from(peer) > peer.sent.len() && is_once(e, peer);
    let peer = e.peers.iter().find(is_more);
    let peer = peer.filter(|_| (total <= sent) == is_of_others)?;
    let found = difference(e).filter(|(_, found)| found.change != Change::Cut);
    let which = found.map_or(String::new(), |(_, found)| format!(" {}", found.text));
    let (name, sum, sent) = (&peer.name, e.broadcast_from(peer), peer.sent.len());
    Some(format!(
        "By its lines, the server has broadcast {sum} bytes from {name}, and {name} has sent {sent}.{which}"
    ))
}

/// Whether no other client of the test had the same token.
fn is_once(e: &Evidence, peer: &Peer) -> bool {
    let same = e.peers.iter().filter(|other| other.token == peer.token);
    same.count() == 1
}

/// A rule about numbers applies only where a number was expected.
fn counted(e: &Evidence, holds: fn(&Evidence, &Peer) -> bool) -> Option<String> {
    let words = ["Broadcast ", "Buffering ", "Wrote "];
    let is_about_count = e.expected == Expected::NoLine || words.iter().any(|word| e.expects(word));
    is_about_count.then(|| sender(e, holds))?
}

/// Whether the newlines, or white space, were left out when the complete lines of a client were counted.
fn left_out(e: &Evidence, peer: &Peer) -> [bool; 2] {
    let (sum, sent) = (e.broadcast_from(peer), complete(&peer.sent));
    let [newlines, both] = ["\n", "\r\n"].map(|end| sent.find_iter(end).count());
    // The carriage return may have gone with the newline.
    let no_newlines = [sent.len() - newlines, sent.len() - newlines - both];
    let lines = sent.lines();
    let at_the_ends: usize = lines.map(|line| line.trim_ascii_end().len() + 1).sum();
    let no_white_space = [trimmed(sent).len(), at_the_ends];
    let is_less = sum > 0 && sum < sent.len();
    [no_newlines, no_white_space].map(|sums| is_less && sums.contains(&sum))
}

fn half_line_broadcast(e: &Evidence, peer: &Peer) -> bool {
    let is_all = e.broadcast_from(peer) >= complete(&peer.sent).len();
    let is_in_line = |end| last_byte(peer, end).is_some_and(|byte| byte != b'\n');
    is_all && sums(e.broadcasts_from(peer)).any(is_in_line)
}

/// As many bytes were broadcast as were expected in one go.
fn lines_apart(e: &Evidence, peer: &Peer) -> bool {
    let (sum, token) = (e.broadcast_from(peer), peer.token());
    let line = format!("Broadcast {sum} bytes from {token}");
    e.broadcasts_from(peer).len() > 1 && e.expected == Expected::Line(Kind::Stdout, line)
}
