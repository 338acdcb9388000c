//! The chapters make the milestones, and a chapter that does not is found out, with the place.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers are part of the tests"
)]

mod common;

use std::fs;

use book_checks::{check_checkpoints, check_typing};
use course::{Book, Page, root};
use shared_testkit::{env::is_strict, skip};

use crate::common::{assert_none, assert_one};

#[test]
fn the_chapters_make_the_milestones() {
    assert_none(&check_typing(&Book::read()));
}

#[test]
fn the_checkpoints_hold() {
    if !is_strict() {
        skip("it builds a program for each checkpoint, and TESTKIT_STRICT is not set");
        return;
    }
    assert_none(&check_checkpoints(&Book::read()));
}

/// One chapter of the book with a change to it. Returns the number of the changed line, too.
fn changed(page: &str, from: &str, to: &str) -> (Book, usize) {
    let path = format!("docs/src/{page}");
    let text = fs::read_to_string(root().join(&path)).expect("the page can be read");
    let place = text
        .find(from)
        .unwrap_or_else(|| panic!("{path} has no {from:?}"));
    let line = text[..place].matches('\n').count() + 1;
    let page = Page::new(path, &text.replacen(from, to, 1));
    (Book::of_pages(vec![page]), line)
}

/// The change must be a problem in its first line or as many lines below it.
#[track_caller]
fn assert_is_found(page: &str, from: &str, to: &str, below: usize, part: &str) {
    let (book, line) = changed(page, from, to);
    let place = format!("docs/src/{page}:{}: ", line + below);
    assert_one(&check_typing(&book), &[&place, part]);
}

#[test]
fn one_changed_character_is_found() {
    for (page, from, to) in [
        ("1-accept.md", "skip(1);", "skip(2);"),
        (
            "1-accept.md",
            "                drop(stream);\n",
            "                drop(stream) ;\n",
        ),
        (
            "2-register.md",
            "+            connections: HashMap::new(),",
            "+            connections: HashMap::now(),",
        ),
        (
            "3-broadcast.md",
            "chunk.split_at(newline + 1)",
            "chunk.split_at(newline + 2)",
        ),
        (
            "4-write.md",
            "self.write_buf.drain(..n);",
            "self.write_buf.drain(..=n);",
        ),
    ] {
        assert_is_found(page, from, to, 0, "of the milestone's src/main.rs");
    }
}

#[test]
fn a_diff_with_lines_that_are_not_there_is_found() {
    for (from, to) in [
        // A removed line.
        (
            "-        Ok(Server { poll, listener })",
            "-        Ok(Server { listener, poll })",
        ),
        // A context line.
        (
            "     listener: TcpListener,\n",
            "     listener: TcpListener;\n",
        ),
        // Both lines are there, but not in this order.
        (
            "     poll: Poll,\n     listener: TcpListener,\n",
            "     listener: TcpListener,\n     poll: Poll,\n",
        ),
    ] {
        assert_is_found("2-register.md", from, to, 0, "0 times");
    }
}

#[test]
fn a_diff_without_one_place_is_found() {
    for (to, below, part) in [
        ("```diff\n-        loop {\n…\n", 1, "2 times"),
        ("```diff\n+a line\n…\n", 1, "where these lines go"),
        ("```diff,file=src/log.rs\n", 0, "no file src/log.rs"),
    ] {
        assert_is_found("2-register.md", "```diff\n", to, below, part);
    }
}

#[test]
fn a_block_without_a_place_is_found() {
    let page = "2-register.md";
    let register = "```rust,after=accept\n";
    for (to, part) in [
        ("```rust,after=nothing\n", "there is no nothing"),
        (
            "```rust\nfn accept() {}\n```\n```rust,after=accept\n",
            "more than one",
        ),
        ("```rust,append=src/log.rs\n", "no file src/log.rs"),
    ] {
        let below = to.matches('\n').count() - 1;
        assert_is_found(page, register, to, below, part);
    }
}

#[test]
fn a_missing_or_additional_file_is_found() {
    let empty = Book::of_pages(vec![Page::new("docs/src/1-accept.md", "# 1. Accept\n")]);
    let part = "in line 1 of the milestone's src/main.rs: //! Milestone 1";
    assert_one(&check_typing(&empty), &["docs/src/1-accept.md:1: ", part]);

    let (from, to) = (
        "## Experiments",
        "```rust,new=src/log.rs\nfn log() {}\n```\n",
    );
    assert_is_found("4-write.md", from, to, 1, "milestone's src/log.rs:");
}

#[test]
fn a_quotation_that_is_wrong_is_found() {
    let shown = "```rust,shown\nuse std::io::{self, Read, Write};\n```\n";
    for (page, from, to, below, part) in [
        (
            "2-register.md",
            "        stream.set_nodelay(true)?;\n```",
            "        stream.set_nodelay(false)?;\n```",
            0,
            "not in the source",
        ),
        // It is typed below.
        (
            "4-write.md",
            "## What is new",
            shown,
            1,
            "not in the source",
        ),
        (
            "4-write.md",
            "```rust,wrong\n                    self.write_buf.clear();",
            "```rust,wrong\n                    self.write_buf.drain(..n);",
            0,
            "marked as wrong",
        ),
    ] {
        assert_is_found(page, from, to, below, part);
    }
}

/// What a page that is not typed says of such a block.
fn problems_of(page: &str, block: &str) -> Vec<String> {
    let page = Page::new(format!("docs/src/{page}"), block);
    check_typing(&Book::of_pages(vec![page]))
}

#[test]
fn a_block_on_another_page_is_in_some_source() {
    let block =
        "```rust\n        self.connections.insert(token, connection);\n        // …\n    }\n```\n";
    assert_none(&problems_of("a.md", block));
    assert_one(
        &problems_of("a.md", &block.replace("insert", "remove")),
        &["docs/src/a.md:2: ", "not in the source"],
    );
    // Each line is in a file, but not all of them in one and in this order.
    assert_one(
        &problems_of(
            "a.md",
            "```rust\nuse mio::{Events, Interest, Poll, Token};\n// …\nuse std::env;\n```\n",
        ),
        &["docs/src/a.md:2: ", "in another order"],
    );
    assert_one(
        &problems_of("a.md", &block.replace("rust", "rust,wrong")),
        &["docs/src/a.md:1: ", "marked as wrong"],
    );
    assert_none(&problems_of("a.md", "```rust,sketch\nnobody's code\n```\n"));
    assert_one(
        &problems_of("a.md", "```diff\n-use std::net::SocketAddr;\n```\n"),
        &["docs/src/a.md:2: "],
    );
}

#[test]
fn an_example_is_in_its_file() {
    let block = "```rust,example\n        for line in BufReader::new(client).lines() {\n```\n";
    assert_none(&problems_of("a.md", block));
    assert_one(
        &problems_of("1-accept.md", &block.replace("client", "alice"))[1..],
        &["docs/src/1-accept.md:2: ", "not in the source"],
    );
}

#[test]
fn a_block_in_another_language_is_in_its_example_server() {
    let c = "```c\n    setvbuf(stdout, NULL, _IOLBF, 0);\n```\n";
    assert_none(&problems_of("a.md", c));
    assert_one(
        &problems_of("a.md", &c.replace("_IOLBF", "_IOFBF")),
        &["docs/src/a.md:2: ", "not in the source"],
    );
    let go = "```go\n\tif s.chapter == 2 {\n// …\n\t\treturn\n```\n";
    assert_none(&problems_of("a.md", go));
    assert_one(
        &problems_of("a.md", &go.replace("go", "c")),
        &["docs/src/a.md:2: ", "not in the source"],
    );
    let ruby = "```ruby\n  def run\n    # …\n  private\n```\n";
    assert_none(&problems_of("a.md", ruby));
    for other in ["java", "js", "python"] {
        assert_one(
            &problems_of("a.md", &ruby.replace("ruby", other)),
            &["docs/src/a.md:2: ", "not in the source"],
        );
    }
}

#[test]
fn a_unit_is_the_example() {
    let unit = "```ini\n[Service]\nExecStart=/usr/local/bin/broadcast --quiet 0.0.0.0:8080\n```\n";
    assert_none(&problems_of("a.md", unit));
    assert_one(
        &problems_of("a.md", &unit.replace("--quiet ", "")),
        &["docs/src/a.md:3: ", "not in the source"],
    );
}

/// Chapter 2 with a checkpoint in the place of a text.
fn checked(from: &str, checkpoint: &str) -> Vec<String> {
    let to = format!("```sh,checkpoint,{checkpoint}\n```\n\n{from}");
    check_checkpoints(&changed("2-register.md", from, &to).0)
}

/// The heading after the last block that is typed.
const END: &str = "## Small writes without delay";

/// A test that the program of chapter 1 fails and that of chapter 2 passes.
const NEW: &str = "row_3_small_lines_are_not_delayed";

#[test]
fn a_checkpoint_that_holds_is_no_problem() {
    assert_none(&checked(END, &format!("red={NEW},green={NEW}")));
}

#[test]
fn a_checkpoint_that_does_not_hold_is_a_problem() {
    let old = "a_client_sees_end_of_file";
    for (from, checkpoint, part) in [
        (END, "red=listens_on_ipv6", "passes before this"),
        (END, "green=no_such_test_at_all", "has no test"),
        (END, &format!("green={old}"), "has no test"),
        (
            "## The kernel knows",
            "green=x",
            "cannot find type `ClientConnection`",
        ),
    ] {
        assert_one(
            &checked(from, checkpoint),
            &["docs/src/2-register.md:", part],
        );
    }
}

/// Blocks of every kind, which change chapter 2's program and do not change what it does.
const EVERY_KIND: &str = "\
```rust,new=src/first.rs
//! What is printed first.
```

```rust,append=src/first.rs
pub const LISTENING: &str = \"Listening at\";
```

```diff,file=src/first.rs
 
-pub const LISTENING: &str = \"Listening at\";
+pub const LISTENING: &str = \"Listening on\";
```

```diff
-use std::env;
+mod first;
+
+use std::env;
…
-        eprintln!(\"Listening on {address}\");
+        eprintln!(\"{} {address}\", first::LISTENING);
```

```rust,after=DEFAULT_ADDRESS
/// Here because an item may be a constant.
#[expect(dead_code)]
const NOTHING: () = ();
```

```rust,after=Server
/// Not an item of the `impl`.
#[expect(dead_code)]
fn nothing() {}
```

```sh,checkpoint,green=listens_on_ipv6
```

## Experiments";

/// A program of several files builds and is the one that is tested.
#[test]
fn every_kind_of_block_is_typed() {
    let (book, _) = changed("2-register.md", "## Experiments", EVERY_KIND);
    assert_none(&check_checkpoints(&book));
}
