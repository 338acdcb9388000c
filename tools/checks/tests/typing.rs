//! The chapters make the milestones, and a chapter that does not is found out, with the place.

mod common;

use book_checks::{check_checkpoints, check_typing};
use course::Book;
use shared_testkit::{env::is_strict, skip};

use crate::common::{assert_changes_are_found, assert_found, assert_none};

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

#[test]
fn one_changed_character_is_found() {
    let accept = "\
skip(1); → skip(2);  ⇐ of the milestone's src/main.rs
drop(stream); → drop(stream) ;  ⇐ of the milestone's src/main.rs";
    assert_changes_are_found(check_typing, "1-accept.md", accept);
    let write = "drain(..n); → drain(..=n);  ⇐ of the milestone's src/main.rs";
    assert_changes_are_found(check_typing, "4-write.md", write);
}

/// A removed line, a context line, two lines in another order, and lines that are there twice or nowhere.
#[test]
fn a_diff_without_one_place_is_found() {
    let changes = "\
-        Ok(Server { poll, listener }) → -        Ok(Server { listener })  ⇐ 0 times
     listener: TcpListener, →      listener: TcpListener;  ⇐ 0 times
     poll: Poll,⏎     listener: TcpListener,⏎ →      listener: TcpListener,  ⇐ 0 times⏎     poll: Poll,⏎
```diff⏎ → ```diff⏎-        loop {  ⇐ 2 times⏎…⏎
```diff⏎ → ```diff⏎+a line  ⇐ where these lines go⏎…⏎
```diff⏎ → ```diff,file=src/log.rs  ⇐ no file src/log.rs⏎";
    assert_changes_are_found(check_typing, "2-register.md", changes);
}

#[test]
fn a_block_without_a_place_is_found() {
    let changes = "\
```rust,after=accept → ```rust,after=nothing  ⇐ there is no nothing
```rust,after=accept → ```rust⏎fn accept() {}⏎```⏎```rust,after=accept  ⇐ more than one
```rust,after=accept → ```rust,append=src/log.rs  ⇐ no file src/log.rs";
    assert_changes_are_found(check_typing, "2-register.md", changes);
    let file = "\
## Experiments → ```rust,new=src/log.rs⏎fn log() {}  ⇐ milestone's src/log.rs:⏎```⏎";
    assert_changes_are_found(check_typing, "4-write.md", file);
}

/// What is typed below is not there yet.
#[test]
fn a_quotation_that_is_wrong_is_found() {
    let changes = "\
## What is new → ```rust,shown⏎use std::io::{self, Read, Write};  ⇐ not in the source⏎```⏎";
    assert_changes_are_found(check_typing, "4-write.md", changes);
    let changes = "\
stream.set_nodelay(true)?;⏎```⏎ → stream.set_nodelay(false)?;  ⇐ not in the source⏎```⏎";
    assert_changes_are_found(check_typing, "2-register.md", changes);
}

/// Not one that is typed.
const OTHER_PAGE: &str = r#"
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

```diff
-use std::net::SocketAddr;  ⇐ not in the source
```

```c
    setvbuf(stdout, NULL, _IOFBF, 0);  ⇐ not in the source
```

```ini
[Service]
ExecStart=/usr/local/bin/broadcast 0.0.0.0:8080  ⇐ not in the source
```
"#;

/// A page that is not typed quotes any source, and a chapter that is empty makes no milestone.
#[test]
fn a_block_on_another_page_is_in_its_source() {
    let chapter = "\
# 1. Accept  ⇐ in line 1 of the milestone's src/main.rs: //! Milestone 1

```rust,example
        for line in BufReader::new(alice).lines() {  ⇐ not in the source
```
";
    assert_found(
        check_typing,
        &[
            ("docs/src/a.md", OTHER_PAGE),
            ("docs/src/1-accept.md", chapter),
        ],
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
        let change = format!("{from} → ```sh,checkpoint,{checkpoint}⏎```⏎⏎{from}");
        assert_changes_are_found(check_checkpoints, "2-register.md", &change);
    }
}
