//! What the book's transcripts show is what happens. And if it were not, that would be noticed.

#![allow(clippy::expect_used, reason = "the helper is part of the tests")]

use book_checks::{Book, Page, suite};

const PACKAGE: &str = "milestone-4-write";

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
server stops
bob> bye
bob half-closes
server continues
server| Broadcast 4 bytes from Token(2)
server| Client Token(2) disconnected
server| Wrote 4 bytes to Token(1)
alice< bye
bob closed
alice leaves
server| Client Token(1) disconnected
```
";

#[test]
fn the_transcripts_come_true() {
    for package in book_checks::milestones(&book_checks::root()) {
        book_checks::replay(&package, &program(&package));
    }
}

fn program(package: &str) -> String {
    let path = suite::program(package);
    path.into_os_string().into_string().expect("text")
}

/// What the replay says of the page after this change to it.
#[track_caller]
fn problems_after(from: &str, to: &str) -> String {
    assert!(CHAT.contains(from), "{from:?} is not on the page");
    let page = Page::new("docs/src/chat.md", &CHAT.replacen(from, to, 1));
    let problems = Book::of_pages(vec![page]).replay(PACKAGE, &program(PACKAGE));
    problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

#[test]
fn a_true_transcript_has_no_problem() {
    assert_eq!(problems_after("", ""), "");
}

#[test]
fn a_wrong_byte_count_is_a_problem() {
    let message = problems_after("Broadcast 13", "Broadcast 14");
    assert_has(
        &message,
        &[
            "docs/src/chat.md:15: ",
            "- server| Broadcast 14 bytes from Token(1)",
            "+ server| Broadcast 13 bytes from Token(1)",
        ],
    );
}

#[test]
fn a_line_of_the_servers_that_is_left_out_is_a_problem() {
    let message = problems_after("server| Wrote 13 bytes to Token(2)\n", "");
    assert_has(
        &message,
        &["docs/src/chat.md:", "+ server| Wrote 13 bytes to Token(2)"],
    );
}

#[test]
fn the_last_line_left_out_is_a_problem() {
    let message = problems_after("server| Client Token(1) disconnected\n", "");
    assert_has(&message, &["+ server| Client Token(1) disconnected"]);
}

#[test]
fn another_text_received_is_a_problem() {
    let message = problems_after("bob< Hello from A", "bob< Hello from B");
    assert_has(
        &message,
        &[
            "docs/src/chat.md:17: ",
            r#"expected: "Hello from B\n""#,
            r#"received: "Hello from A\n""#,
        ],
    );
}

#[test]
fn a_text_received_that_is_left_out_is_a_problem() {
    let message = problems_after("alice< bye\n", "");
    assert_has(
        &message,
        &[
            "docs/src/chat.md:26: ",
            "bytes that alice has received, and that stand nowhere\n      left: 4",
        ],
    );
    let message = problems_after("bob< Hello from A\n", "");
    assert_has(&message, &["bob was not closed", "Hello from A"]);
}

#[test]
fn a_line_that_is_none_of_a_transcript_is_a_problem() {
    let message = problems_after("alice leaves", "alice dances");
    assert_has(&message, &["docs/src/chat.md:27: ", "\"alice dances\""]);
}
