//! What the server prints: the wrong line, in the wrong place, or none.

use std::collections::HashSet;

use strsim::levenshtein;

use super::blocking::has_pending;
use super::*;

rules! { RULES:
    "other-stream" Certain, other_stream,
        "The line {}. Print what happens on stdout, and errors on stderr, where nothing else belongs.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [
            |e| { expects(e, BROADCAST_6); e.unexpected = vec![(Kind::Stderr, BROADCAST_6.to_owned())]; },
            |e| { e.expected = Expected::Line(Kind::Stderr, "Failed to accept: ".to_owned()); e.unexpected = vec![(Kind::Stdout, "Failed to accept: x".to_owned())]; },
        ];
    "stdout-not-flushed" Certain, |e| if e.stdout.is_empty() && e.is_asleep() && is_about_stdout(e) { accepted(e) } else { None },
        "The server has accepted {} and sleeps, and nothing has come through its stdout: either it prints nothing, or the lines are still in a buffer. Flush stdout after each line.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| { e.stdout.clear(); expects(e, "Accepted connection from 127.0.0.1:9"); }];
    "reused-token" Certain, |e| again(e, |line| line.strip_prefix(REGISTERED)),
        "{} was given to two clients. Count up for each client, and never use a token again.",
        "docs/src/3-broadcast.md, 'Stale events'", [|e| say(e, &[FIRST])];
    "token" Certain, wrong_token,
        "{}. The listener has Token(0), the first client gets Token(1), and each client the next.",
        "docs/src/2-register.md, 'A token for each client'", [|e| e.stdout = vec!["Registered client with Token(2)".to_owned()]];
    "goodbye-twice" Certain, |e| again(e, |line| line.strip_prefix("Client ")?.strip_suffix(" disconnected")),
        "The server reported {} as disconnected more than once. Report it in one place, where the client leaves the map: whoever is not in there any more has been reported.",
        "docs/src/3-broadcast.md, 'One way out'", [|e| say(e, &[GOODBYE, GOODBYE])];
    "other-words" Certain, |e| near(e, false),
        "{}.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [
            |e| { expects(e, "Client Token(1) disconnected"); e.unexpected = vec![(Kind::Stdout, "Client Token(1) has disconnected".to_owned())]; },
            |e| { expects(e, "Broadcast 6 bytes from Token(1)"); e.unexpected = vec![(Kind::Stdout, "broadcast 6 bytes from Token(1).".to_owned())]; },
            |e| { expects(e, "Accepted connection from 127.0.0.1:40123"); e.unexpected = vec![(Kind::Stdout, "Accepted connection from ('127.0.0.1', 40123)".to_owned())]; },
        ];
}

rules! { LAST:
    "nodelay" Certain, |e| when(e.end.is_none() && e.expects("TCP_NODELAY")),
        "The server did not set TCP_NODELAY on the accepted socket. Set it before you register the socket.",
        "docs/src/2-register.md, 'Small writes without delay'", [|e| expects(e, "TCP_NODELAY, [1]")];
    "other-count" Certain, |e| near(e, true),
        "{}.",
        "docs/src/3-broadcast.md, 'A stream has no messages'", [|e| { expects(e, "Broadcast 6 bytes from Token(1)"); e.unexpected = vec![(Kind::Stdout, "Broadcast 7 bytes from Token(1)".to_owned())]; }];
    "not-printed" Seen, |e| expected_line(e).filter(|_| e.is_final() && e.end.is_none()).map(|line| format!("`{line}`")),
        "The server waits for something to happen, and has not printed {}.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| expects(e, "Broadcast 9 bytes from Token(2)")];
}

/// The line that was expected, as far as it is known.
fn expected_line(e: &Evidence) -> Option<String> {
    match &e.expected {
        Expected::Line(_, line) => Some(line.clone()).filter(|line| !line.is_empty()),
        Expected::Registered(name) => {
            let peer = e.peers.iter().find(|peer| peer.name == *name)?;
            let accepted = format!("{ACCEPTED}{}", peer.address?);
            let registered = e.stdout.iter().filter(|line| line.starts_with(REGISTERED));
            let next = format!("{REGISTERED}Token({})", registered.count() + 1);
            let is_accepted = e.stdout.contains(&accepted);
            Some(if is_accepted { next } else { accepted })
        }
        _ => None,
    }
}

fn is_about_stdout(e: &Evidence) -> bool {
    matches!(
        e.expected,
        Expected::Line(Kind::Stdout, _) | Expected::Registered(_)
    )
}

/// The expected line, if it came on the other stream.
fn other_stream(e: &Evidence) -> Option<String> {
    let line = expected_line(e)?;
    let (due, other) = match e.expected {
        Expected::Line(Kind::Stderr, _) => (Kind::Stderr, "stdout"),
        _ => (Kind::Stdout, "stderr"),
    };
    let mut lines = e.unexpected.iter();
    let (_, found) = lines.find(|(kind, found)| *kind != due && found.starts_with(&line))?;
    Some(format!("`{found}` came on {other}"))
}

/// A client that the server has accepted.
fn accepted(e: &Evidence) -> Option<String> {
    let is_pending = has_pending(e);
    let first = e.peers.first().filter(|_| !is_pending);
    client(e, |_, _| true).or(first.map(|peer| peer.name.clone()))
}

/// What two lines say.
fn again(e: &Evidence, part: fn(&str) -> Option<&str>) -> Option<String> {
    let mut seen = HashSet::new();
    let mut parts = e.stdout.iter().filter_map(|line| part(line));
    parts.find(|part| !seen.insert(*part)).map(str::to_owned)
}

/// The first client that did not get the next token.
fn wrong_token(e: &Evidence) -> Option<String> {
    let lines = e.stdout.iter();
    let mut tokens = (1..).zip(lines.filter_map(|line| line.strip_prefix(REGISTERED)));
    let (n, token) = tokens.find(|(n, token)| *token != format!("Token({n})"))?;
    Some(format!("Client number {n} got {token}"))
}

/// A printed line that is like the expected one but for its words, or but for its numbers.
fn near(e: &Evidence, differs_in_numbers: bool) -> Option<String> {
    let line = expected_line(e)?;
    let near = near_line(&line, e.unexpected.iter().map(|(_, other)| other.as_str()))?;
    let is_number = letters(near) == letters(&line);
    (is_number == differs_in_numbers)
        .then(|| format!("The server printed `{near}`, where `{line}` was expected"))
}

/// The one of these lines that is meant to be the expected one, by its looks.
pub(crate) fn near_line<'a>(line: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let has_token = !line.starts_with(ACCEPTED) && !line.starts_with(REGISTERED);
    let is_same_client = |other: &&str| !has_token || token(other) == token(line);
    let distance = |other: &&str| levenshtein(&other.to_lowercase(), &line.to_lowercase());
    let near = others.filter(is_same_client).min_by_key(distance)?;
    (distance(&near) <= 2 + line.len() / 5 && near != line).then_some(near)
}

fn letters(line: &str) -> String {
    line.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The first number in parentheses.
fn token(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('(')?;
    rest.split_once(')').map(|(number, _)| number)
}
