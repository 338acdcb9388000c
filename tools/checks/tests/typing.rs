//! The chapters make the milestones, and a chapter that does not is found out, with the place.

mod common;

use book_checks::{check_checkpoints, check_typing};
use course::Book;
use course::workspace::read;
use shared_testkit::{env::is_strict, skip};

use crate::common::{assert_found, assert_none};

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

/// The text of a page of the book with a change to it.
fn changed(page: &str, from: &str, to: &str) -> String {
    let text = read(&format!("docs/src/{page}"));
    assert!(text.contains(from), "{page} has no {from:?}");
    text.replacen(from, to, 1)
}

/// The change must be a problem, at the mark.
#[track_caller]
fn assert_change_is_found(page: &str, from: &str, to: &str) {
    let text = changed(page, from, to);
    assert_found(check_typing, &[(&format!("docs/src/{page}"), &text)]);
}

#[test]
fn one_changed_character_is_found() {
    let connections = "+            connections: HashMap::new(),";
    for (page, from, to) in [
        ("1-accept.md", "skip(1);", "skip(2);"),
        ("1-accept.md", "drop(stream);", "drop(stream) ;"),
        (
            "2-register.md",
            connections,
            &connections.replace("new", "now"),
        ),
        ("4-write.md", "drain(..n);", "drain(..=n);"),
    ] {
        let mark = "  ⇐ of the milestone's src/main.rs";
        assert_change_is_found(page, from, &format!("{to}{mark}"));
    }
}

#[test]
fn a_diff_without_one_place_is_found() {
    let (poll, listener) = ("     poll: Poll,\n", "     listener: TcpListener,\n");
    let server = "-        Ok(Server { poll, listener })";
    for (from, to) in [
        // A removed line, and a context line.
        (server, "-        Ok(Server { listener })  ⇐ 0 times"),
        (listener, "     listener: TcpListener;  ⇐ 0 times\n"),
        // Both lines are there, but not in this order.
        (
            &format!("{poll}{listener}"),
            &format!("     listener: TcpListener,  ⇐ 0 times\n{poll}"),
        ),
        ("```diff\n", "```diff\n-        loop {  ⇐ 2 times\n…\n"),
        ("```diff\n", "```diff\n+a line  ⇐ where these lines go\n…\n"),
        (
            "```diff\n",
            "```diff,file=src/log.rs  ⇐ no file src/log.rs\n",
        ),
    ] {
        assert_change_is_found("2-register.md", from, to);
    }
}

#[test]
fn a_block_without_a_place_is_found() {
    let register = "```rust,after=accept\n";
    for to in [
        "```rust,after=nothing  ⇐ there is no nothing\n",
        "```rust\nfn accept() {}\n```\n```rust,after=accept  ⇐ more than one\n",
        "```rust,append=src/log.rs  ⇐ no file src/log.rs\n",
    ] {
        assert_change_is_found("2-register.md", register, to);
    }
}

#[test]
fn an_additional_file_is_found() {
    let file = "```rust,new=src/log.rs\nfn log() {}  ⇐ milestone's src/log.rs:\n```\n";
    assert_change_is_found("4-write.md", "## Experiments", file);
}

#[test]
fn a_quotation_that_is_wrong_is_found() {
    // It is typed below.
    let shown = "```rust,shown\nuse std::io::{self, Read, Write};  ⇐ not in the source\n```\n";
    let wrong = "```rust,wrong  ⇐ marked as wrong\n                    self.write_buf.drain(..n);";
    let delay = "        stream.set_nodelay(false)?;  ⇐ not in the source\n```";
    for (page, from, to) in [
        (
            "2-register.md",
            "        stream.set_nodelay(true)?;\n```",
            delay,
        ),
        ("4-write.md", "## What is new", shown),
        (
            "4-write.md",
            "```rust,wrong\n                    self.write_buf.clear();",
            wrong,
        ),
    ] {
        assert_change_is_found(page, from, to);
    }
}

/// A page that is not typed quotes any source, and a chapter that is empty makes no milestone.
#[test]
fn a_block_on_another_page_is_in_its_source() {
    let chapter = "\
# 1. Accept  ⇐ in line 1 of the milestone's src/main.rs: //! Milestone 1

```rust,example
        for line in BufReader::new(alice).lines() {  ⇐ not in the source
```
";
    let page = r#"
```rust
        self.connections.remove(token, connection);  ⇐ not in the source
        // …
    }
```

Each line of the next block is in a file, but not all of them in one and in this order.

```rust
use mio::{Events, Interest, Poll, Token};  ⇐ in another order
// …
use std::env;
```

```rust,wrong  ⇐ marked as wrong
        self.connections.insert(token, connection);
```

```diff
-use std::net::SocketAddr;  ⇐ not in the source
```

```c
    setvbuf(stdout, NULL, _IOFBF, 0);  ⇐ not in the source
```

```go
  def run  ⇐ not in the source
```

```java
  def run  ⇐ not in the source
```

```js
  def run  ⇐ not in the source
```

```python
  def run  ⇐ not in the source
```

```ini
[Service]
ExecStart=/usr/local/bin/broadcast 0.0.0.0:8080  ⇐ not in the source
```
"#;
    assert_found(
        check_typing,
        &[("docs/src/a.md", page), ("docs/src/1-accept.md", chapter)],
    );
}

/// One at the heading after the last block that is typed, and one before it.
#[test]
fn a_checkpoint_holds_or_is_a_problem() {
    let end = "## Small writes without delay";
    // The program of chapter 1 fails it, and that of chapter 2 passes.
    let new = "row_3_small_lines_are_not_delayed";
    let unbuilt = "cannot find type `ClientConnection`";
    for (from, checkpoint) in [
        (end, &format!("red={new},green={new}")[..]),
        (end, "red=listens_on_ipv6  ⇐ passes before this"),
        (end, "green=no_such_test_at_all  ⇐ has no test"),
        (end, "green=a_client_sees_end_of_file  ⇐ has no test"),
        ("## The kernel knows", &format!("green=x  ⇐ {unbuilt}")),
    ] {
        let to = format!("```sh,checkpoint,{checkpoint}\n```\n\n{from}");
        let page = changed("2-register.md", from, &to);
        assert_found(check_checkpoints, &[("docs/src/2-register.md", &page)]);
    }
}
