//! The transcripts in the book come true, and one that does not is found.

mod common;

use std::env;
use std::process::Command;

use book_checks::check_transcripts;
use course::{Book, Page};
use shared_testkit::env::DEADLINE_SCALE;

use crate::common::{assert_none, assert_one};

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

#[test]
fn a_true_transcript_has_no_problem() {
    let page = Page::new("docs/src/chat.md", CHAT);
    assert_none(&check_transcripts(&Book::of_pages(vec![page])));
}

/// A tool: a server that ends at once.
const TOOL: &str = "\
# A tool

```transcript
$ cargo run -p milestone-4-write -- one two  # refused
refused! … but \"two\" follows \"one\"
```
";

#[test]
fn what_a_tool_prints_is_waited_for_and_compared() {
    let page = |text: &str| Book::of_pages(vec![Page::new("docs/src/tool.md", text)]);
    assert_none(&check_transcripts(&page(TOOL)));
    let wrong = TOOL.replace("follows", "precedes");
    let parts = ["docs/src/tool.md:5: ", "the tool prints this line"];
    assert_one(&check_transcripts(&page(&wrong)), &parts);
}

/// The transcript with this change must be a problem.
#[track_caller]
fn assert_is_found(from: &str, to: &str, parts: &[&str]) {
    assert!(CHAT.contains(from), "{from:?} is not on the page");
    let page = Page::new("docs/src/chat.md", &CHAT.replacen(from, to, 1));
    assert_one(&check_transcripts(&Book::of_pages(vec![page])), parts);
}

#[test]
fn a_wrong_byte_count_is_found() {
    // It waits for a line that never comes: in a process of its own, for a tenth of the time.
    if env::var_os(DEADLINE_SCALE).is_none() {
        let once_more = Command::new(env::current_exe().expect("this test has a path"))
            .args(["--exact", "a_wrong_byte_count_is_found"])
            .env(DEADLINE_SCALE, "0.1")
            .status();
        assert!(once_more.expect("it can be run").success());
        return;
    }
    let parts = ["docs/src/chat.md:15: ", "Broadcast 14", "Broadcast 13"];
    assert_is_found("Broadcast 13", "Broadcast 14", &parts);
}

#[test]
fn a_line_of_the_servers_that_is_left_out_is_found() {
    for (line, place) in [
        (
            "server| Wrote 13 bytes to Token(2)\n",
            "docs/src/chat.md:16: ",
        ),
        (
            "server| Client Token(1) disconnected\n",
            "docs/src/chat.md:24: ",
        ),
        // In another place: it comes before bob leaves.
        (
            "server| Wrote 4 bytes to Token(1)\n",
            "docs/src/chat.md:20: ",
        ),
    ] {
        let what = line.trim_start_matches("server| ").trim_end();
        assert_is_found(line, "", &[place, "printed more than was expected", what]);
    }
}

#[test]
fn another_text_received_is_found() {
    let received = [
        r#"expected: "Hello from B\n""#,
        r#"received: "Hello from A\n""#,
    ];
    let parts = ["docs/src/chat.md:17: ", received[0], received[1]];
    assert_is_found("bob< Hello from A", "bob< Hello from B", &parts);
}

#[test]
fn a_text_received_that_is_left_out_is_found() {
    let parts = ["docs/src/chat.md:23: ", "bytes left for alice"];
    assert_is_found("alice< bye\n", "", &parts);
    let parts = [
        "docs/src/chat.md:17: ",
        "bob was not closed",
        "Hello from A",
    ];
    assert_is_found("bob< Hello from A\n", "bob closed\n", &parts);
}

#[test]
fn a_line_that_cannot_be_read_is_found() {
    for (from, to, line, part) in [
        ("alice leaves", "alice dances", 24, "\"alice dances\""),
        ("alice leaves", "carol leaves", 24, "client of this name"),
        ("bob leaves", "server sings", 22, "\"server sings\""),
        ("bob leaves", "other sings", 22, "server of this name"),
        ("milestone-4-write", "milestone-9", 4, "milestone-9"),
        (
            "server! Listening on 127.0.0.1:8080\n",
            "",
            4,
            "127.0.0.1:8080",
        ),
        (
            "127.0.0.1:8080\nalice",
            "127.0.0.1:9000\nalice",
            5,
            "another address",
        ),
    ] {
        let place = format!("docs/src/chat.md:{line}: ");
        assert_is_found(from, to, &[&place, part]);
    }
}
