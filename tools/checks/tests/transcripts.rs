//! The transcripts in the book come true, and one that does not is found.

mod common;

use book_checks::check_transcripts;
use course::Book;

use crate::common::{assert_found, assert_none};

/// A page whose transcript comes true.
const CHAT: &str = "\
# A chat

```transcript
$ cargo run -p milestone-4-write
server! Listening on 127.0.0.1:8080
alice connects
server| Accepted connection from 127.0.0.1:xxxxx
server| Registered client with Token(1)
bob connects
server| Accepted connection from 127.0.0.1:xxxxx
server| Registered client with Token(2)
alice>> Hello
server| Buffering partial message from Token(1)
alice>  from A
server| Broadcast 13 bytes from Token(1)
server| Wrote 13 bytes to Token(2)
bob< Hello from A
bob> bye
server| Broadcast 4 bytes from Token(2)
server| Wrote 4 bytes to Token(1)
alice< bye
bob leaves
server| Client Token(2) disconnected
alice leaves
server| Client Token(1) disconnected
```
";

#[test]
fn the_transcripts_come_true() {
    assert_none(&check_transcripts(&Book::read()));
}

/// A tool: a server that ends at once.
#[test]
fn what_a_tool_prints_is_waited_for_and_compared() {
    let page = "\
```transcript
$ cargo run -p milestone-4-write -- one two  # refused
refused! … but \"two\" follows \"one\"
```

```transcript
$ cargo run -p milestone-4-write -- one two  # refused
refused! … but \"two\" precedes \"one\"  ⇐ did not print what was expected
```
";
    assert_found(check_transcripts, &[("docs/src/tool.md", page)]);
}

/// The transcript with this change must be a problem, at the mark.
#[track_caller]
fn assert_change_is_found(from: &str, to: &str) {
    assert!(CHAT.contains(from), "{from:?} is not on the page");
    let page = CHAT.replacen(from, to, 1);
    assert_found(check_transcripts, &[("docs/src/chat.md", &page)]);
}

/// From a server that has ended, nothing is waited for.
#[test]
fn a_line_that_never_comes_is_found() {
    let page = "\
```transcript
$ cargo run -p milestone-5-harden
server! Listening on 127.0.0.1:8080
server gets SIGINT
server| Broadcast 14 bytes from Token(1)  ⇐ Broadcast 14 bytes & the server: has ended
```
";
    assert_found(check_transcripts, &[("docs/src/chat.md", page)]);
}

#[test]
fn a_line_of_the_servers_that_is_left_out_is_found() {
    let wrote = "server| Wrote 13 bytes to Token(2)\n";
    let left = "\nserver| Client Token(1) disconnected";
    // It is in another place: it comes before bob leaves.
    let later = "server| Wrote 4 bytes to Token(1)\n";
    for (from, line) in [
        (format!("{wrote}bob< Hello from A"), wrote),
        (format!("alice leaves{left}"), left),
        (format!("{later}alice< bye"), later),
    ] {
        let to = from.replace(line, "");
        let printed = line.trim().trim_start_matches("server");
        let mark = format!("  ⇐ printed more than was expected & {printed}");
        assert_change_is_found(&from, &(to + &mark));
    }
}

#[test]
fn another_text_received_is_found() {
    let said = r#"expected: "Hello from B\n" & received: "Hello from A\n""#;
    assert_change_is_found("bob< Hello from A", &format!("bob< Hello from B  ⇐ {said}"));
}

#[test]
fn a_text_received_that_is_left_out_is_found() {
    let end = "alice< bye\nbob leaves\nserver| Client Token(2) disconnected\nalice leaves";
    let without = end.strip_prefix("alice< bye\n").unwrap_or_default();
    assert_change_is_found(end, &format!("{without}  ⇐ bytes left for alice"));
    let closed = "bob closed  ⇐ bob was not closed & Hello from A";
    assert_change_is_found("bob< Hello from A", closed);
}

#[test]
fn a_line_that_cannot_be_read_is_found() {
    let listening = "server! Listening on 127.0.0.1";
    for (from, to) in [
        ("alice leaves", "alice dances  ⇐ \"alice dances\""),
        ("alice leaves", "carol leaves  ⇐ client of this name"),
        ("bob leaves", "server sings  ⇐ \"server sings\""),
        ("bob leaves", "other sings  ⇐ server of this name"),
        ("milestone-4-write", "milestone-9  ⇐ milestone-9"),
        (&format!("\n{listening}:8080"), "  ⇐ 127.0.0.1:8080"),
        (":8080\nalice", ":9000  ⇐ another address\nalice"),
    ] {
        assert_change_is_found(from, to);
    }
}
