//! The rules that find a failure's cause in the evidence, in order: the first that fits is the cause.
//!
//! A rule claims only what was seen, and a cause only if nothing else leaves the same evidence. One that
//! might be wrong is worse than none.

#![allow(
    clippy::wildcard_imports,
    reason = "every table asks the same evidence, in the same words"
)]

use crate::failure::diff::{Change, Difference, complete};
use crate::failure::evidence::{Evidence, Peer, Socket};
use crate::failure::{Expected, Look};
use crate::lines::{ACCEPTED, LISTENING, REGISTERED};
use crate::log::{Kind, described};

#[cfg(test)]
use tests::*;

/// Makes a table of rules. Each row: the name; how certain it is; what it sees, which returns what its
/// sentence calls `{}`; the sentence; page and heading; and cases, each of which makes a sound server's
/// evidence fit.
macro_rules! rules {
    ($table:ident: $($name:literal $certainty:ident, $sees:expr, $says:literal, $read:literal, [$($case:expr),+ $(,)?];)+) => {
        pub(super) const $table: &[Rule] = &[$(Rule {
            name: $name,
            certainty: $certainty,
            sees: $sees,
            says: $says,
            read: $read,
            #[cfg(test)]
            cases: &[$($case),+],
        }),+];
    };
}

mod blocking;
mod bytes;
mod crash;
mod interest;
mod left;
mod lines;
mod refusal;
mod start;

/// How much a cause is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Certainty {
    /// The server has ended, or a thread of it.
    Crash,
    /// Nothing else leaves this evidence.
    Certain,
    /// It is true, but what causes it is open.
    Seen,
    /// No program can do better in this runtime.
    Limit,
}

pub(crate) use crate::failure::rules::lines::near_line;

use Certainty::{Certain, Crash, Limit, Seen};

impl Certainty {
    pub fn name(self) -> &'static str {
        match self {
            Crash => "crash",
            Certain => "certain",
            Seen => "seen",
            Limit => "limit",
        }
    }
}

/// A cause that was seen, and where to read on.
pub(crate) struct Cause {
    pub rule: &'static Rule,
    pub text: String,
}

/// A row of a table.
pub(crate) struct Rule {
    pub name: &'static str,
    pub certainty: Certainty,
    sees: fn(&Evidence) -> Option<String>,
    says: &'static str,
    pub read: &'static str,
    #[cfg(test)]
    cases: &'static [fn(&mut Evidence)],
}

const TABLES: &[&[Rule]] = &[
    refusal::RULES,
    start::RULES,
    crash::RULES,
    interest::LIMITS,
    blocking::RULES,
    lines::RULES,
    interest::RULES,
    bytes::RULES,
    left::RULES,
    lines::LAST,
    bytes::LAST,
];

/// The cause, if a rule fits.
pub(crate) fn first(evidence: &Evidence) -> Option<Cause> {
    if evidence.expected == Expected::Exit && evidence.end.is_some() {
        // What it has done before says nothing about its exit status.
        return None;
    }
    let mut rules = TABLES.iter().copied().flatten();
    rules.find_map(|rule| {
        let seen = rule.says.replace("{}", &(rule.sees)(evidence)?);
        let text = match &evidence.injected {
            Some(what) => format!("The test made {what}. {seen}"),
            None => seen,
        };
        Some(Cause { rule, text })
    })
}

// What rules of several kinds ask.

fn when(condition: bool) -> Option<String> {
    condition.then(String::new)
}

/// The first connected client for which this holds.
fn client(e: &Evidence, holds: impl Fn(&Peer, &Socket) -> bool) -> Option<String> {
    let mut clients = e.open();
    let found = clients.find(|(peer, socket)| holds(peer, socket))?;
    Some(found.0.name.clone())
}

/// The first client that has sent something and for which this holds, connected or not.
fn sender(e: &Evidence, holds: fn(&Evidence, &Peer) -> bool) -> Option<String> {
    let mut peers = e.peers.iter().filter(|peer| !peer.sent.is_empty());
    let found = peers.find(|peer| !e.is_partial && holds(e, peer))?;
    Some(found.name.clone())
}

fn says_goodbye(e: &Evidence, peer: &Peer) -> bool {
    e.has_printed(&format!("Client {} disconnected", peer.token()))
}

/// The numbers of bytes that other clients have broadcast, by these lines.
fn of_others(lines: &[String], peer: &Peer) -> impl Iterator<Item = usize> {
    let own = format!("from {}", peer.token());
    let lines = lines.iter().filter(move |line| !line.ends_with(&own));
    let counts = lines.filter_map(|line| line.strip_prefix("Broadcast ")?.split(' ').next());
    counts.filter_map(|count| count.parse().ok())
}

/// The sum of the first of these numbers, of the first two, and so on.
fn sums(counts: impl IntoIterator<Item = usize>) -> impl Iterator<Item = usize> {
    counts.into_iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    })
}

/// The last of so many bytes that a client has sent.
fn last_byte(peer: &Peer, end: usize) -> Option<u8> {
    peer.sent.get(end.checked_sub(1)?).copied()
}

/// Whether as many bytes were written to a client as others have broadcast since it was registered.
fn has_everything(e: &Evidence, peer: &Peer) -> bool {
    let start = e.last(REGISTERED, peer.token()).unwrap_or(0);
    let due: usize = of_others(&e.stdout[start..], peer).sum();
    peer.token.is_some() && due <= e.writes_to(peer).iter().sum()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::failure::LESSONS;
    pub(super) use crate::failure::runtime::Runtime;
    use crate::failure::text::READ_ABOUT_START;
    use crate::proc::epoll::{EPOLLET, EPOLLIN, EPOLLOUT};
    use crate::proc::process::Thread;
    pub(super) use std::os::unix::process::ExitStatusExt;
    pub(super) use std::process::ExitStatus;
    pub(super) use std::time::Duration;

    const READABLE: u32 = EPOLLET | EPOLLIN;
    pub(super) const BOTH: u32 = READABLE | EPOLLOUT;
    pub(super) const FIRST: &str = "Registered client with Token(1)";
    pub(super) const GOODBYE: &str = "Client Token(1) disconnected";
    pub(super) const BROADCAST_6: &str = "Broadcast 6 bytes from Token(1)";

    /// A server asleep in `epoll_wait`, with one client that has sent a line.
    pub(super) fn evidence() -> Evidence {
        let socket = |descriptor, interest| Socket {
            descriptor,
            interest,
            ..Socket::default()
        };
        let alice = Peer {
            name: "alice".to_owned(),
            token: Some("Token(1)".to_owned()),
            sent: b"Hello\n".to_vec(),
            socket: Some(socket(5, Some(READABLE))),
            ..Peer::default()
        };
        let mut evidence = Evidence {
            stdout: vec![FIRST.to_owned()],
            has_epoll: true,
            listener: Some(socket(4, None)),
            peers: vec![alice],
            ..Evidence::default()
        };
        waits(&mut evidence, "epoll_wait", 3);
        evidence
    }

    pub(super) fn say(e: &mut Evidence, lines: &[&str]) {
        e.stdout.extend(lines.iter().map(|line| (*line).to_owned()));
    }

    pub(super) fn fail(e: &mut Evidence, line: &str) {
        e.stderr = line.lines().map(str::to_owned).collect();
    }

    pub(super) fn end(e: &mut Evidence, line: &str) {
        e.end = Some(ExitStatus::from_raw(1 << 8));
        fail(e, line);
    }

    pub(super) fn waits(e: &mut Evidence, call: &'static str, descriptor: i32) {
        e.threads = vec![Thread {
            call: Some(call),
            descriptor,
            runs: false,
        }];
    }

    /// The server's end of alice's connection.
    pub(super) fn socket(e: &mut Evidence) -> &mut Socket {
        e.peers[0].socket.as_mut().unwrap()
    }

    pub(super) fn is_sent(e: &mut Evidence, bytes: &[u8]) {
        e.peers[0].sent = bytes.to_vec();
    }

    pub(super) fn expects(e: &mut Evidence, line: &str) {
        e.expected = Expected::Line(Kind::Stdout, line.to_owned());
    }

    /// So many of nine bytes of bob's have reached alice as they should.
    pub(super) fn differ(e: &mut Evidence, at: usize, change: Change) {
        is_sent(e, b"");
        e.expected = Expected::Bytes("alice".to_owned());
        e.peers[0].received = at;
        e.peers[0].difference = Some(Difference {
            sender: "bob".to_owned(),
            at,
            change,
            text: String::new(),
        });
    }

    /// A second client, bob.
    pub(super) fn second(e: &mut Evidence) -> &mut Peer {
        e.peers.push(Peer {
            name: "bob".to_owned(),
            token: Some("Token(2)".to_owned()),
            ..Peer::default()
        });
        &mut e.peers[1]
    }

    /// What is said of a sound server whose evidence was made to fit a case.
    fn said(case: fn(&mut Evidence)) -> Option<String> {
        let mut evidence = evidence();
        case(&mut evidence);
        first(&evidence).map(|cause| cause.text)
    }

    #[test]
    fn every_rule_fits_its_cases() {
        for rule in TABLES.iter().copied().flatten() {
            for (n, case) in rule.cases.iter().enumerate() {
                let text = said(*case);
                // Two rows may have one name.
                let end = rule.says.rsplit("{}").next().unwrap();
                let is_it = text.as_ref().is_some_and(|text| text.ends_with(end));
                assert!(is_it, "{} {n}: {text:?}", rule.name);
            }
        }
    }

    #[test]
    fn every_rule_and_every_lesson_names_a_heading_that_its_chapter_has() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let rules = TABLES.iter().copied().flatten().map(|rule| rule.read);
        let lessons = LESSONS.iter().map(|lesson| lesson.read);
        for read in rules.chain(lessons).chain([READ_ABOUT_START]) {
            let chapter = read.split(',').next().unwrap();
            let text = fs::read_to_string(root.join(chapter)).unwrap();
            let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
            let mut places = headings.map(|heading| format!("{chapter}, '{heading}'"));
            assert!(places.any(|place| place == read), "{read}");
        }
    }

    /// What is to be seen, and does not explain what was expected, is no cause.
    #[test]
    #[rustfmt::skip]
    fn what_the_test_is_not_about_is_no_cause() {
        let cases: &[fn(&mut Evidence)] = &[
            |e| say(e, &[BROADCAST_6]),
            // A line on stderr, of which no beginning is known.
            |e| { e.expected = Expected::Line(Kind::Stderr, String::new()); e.unexpected = vec![(Kind::Stdout, FIRST.to_owned())]; },
            |e| { e.expected = Expected::Line(Kind::Stderr, String::new()); e.stdout.clear(); },
            // What a client has sent in a way of its own, which is not logged.
            |e| { e.is_partial = true; say(e, &["Broadcast 9 bytes from Token(1)"]); },
            // An exit status.
            |e| { e.expected = Expected::Exit; end(e, "Error: no luck"); say(e, &[FIRST, FIRST]); },
            // A server that was asked to end closes its clients.
            |e| { e.expected = Expected::Exit; e.is_asked_to_end = true; is_sent(e, b""); e.peers[0].is_closed_first = true; },
            // A server at its limit cannot accept, and one whose reader is slow may hold back a sender.
            |e| { e.is_at_limit = true; e.listener.as_mut().unwrap().unread = 1; },
            |e| { socket(e).unread = 7; second(e).socket = Some(Socket { unsent: 7, ..Socket::default() }); say(e, &[BROADCAST_6]); },
        ];
        for (n, case) in cases.iter().enumerate() {
            assert_eq!(said(*case), None, "case {n}");
        }
    }

    #[test]
    fn what_the_test_made_fail_is_said() {
        let text = said(|e| {
            end(e, "Error: no luck");
            e.injected = Some("accept fail with EINTR".to_owned());
        });
        let text = text.unwrap();
        assert!(text.starts_with("The test made accept fail with EINTR. The server"));
    }
}
