//! The transcripts in the book come true, and one that does not is found.

mod common;

use book_checks::check_transcripts;
use course::Book;

use crate::common::{assert_changes_are_found, assert_found, assert_none};

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

/// From a server that has ended, nothing is waited for.
#[test]
fn a_line_that_never_comes_is_found() {
    let changes = "\
SIGINT⏎ → SIGINT⏎server| Broadcast 14 bytes  ⇐ Broadcast 14 bytes & the server: has ended⏎";
    assert_changes_are_found(check_transcripts, "5-harden.md", changes);
}

#[test]
fn a_change_to_a_transcript_is_found() {
    let changes = "\
⏎server| Wrote 16 bytes to Token(3)⏎bob< pizza or curry?⏎carol< pizza or curry? → \
⏎bob< pizza or curry?⏎carol< pizza or curry?  ⇐ printed more than was expected & | Wrote 16 bytes to Token(3)
⏎server| Client Token(1) disconnected →   ⇐ printed more than was expected & | Client Token(1) disconnected
bob< pizza or curry? → bob< beans  ⇐ expected: \"beans\\n\" & received: \"pizza or curry?\\n\"
bob< pizza or curry? → bob closed  ⇐ bob was not closed & pizza or curry?
alice< curry⏎carol< curry⏎alice leaves → carol< curry⏎alice leaves  ⇐ bytes left for alice
carol< curry⏎alice leaves⏎server| Client Token(1) disconnected → \
alice leaves⏎server| Client Token(1) disconnected  ⇐ bytes left for carol
alice leaves → alice dances  ⇐ \"alice dances\"
alice leaves → dave leaves  ⇐ client of this name
alice leaves → server sings  ⇐ \"server sings\"
alice leaves → other sings  ⇐ server of this name
$ cargo run -p milestone-4-write⏎server → $ cargo run -p milestone-9  ⇐ milestone-9⏎server
⏎server! Listening on 127.0.0.1:8080 →   ⇐ no line `server! Listening on
:8080⏎alice → :9000  ⇐ another address⏎alice";
    assert_changes_are_found(check_transcripts, "4-write.md", changes);
}
