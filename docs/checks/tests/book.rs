//! The book and the code are the same, and if they were not, that would be noticed.
//!
//! What the transcripts show is replayed by `transcripts.rs`.

use book_checks::{Book, Page, Problem, assert_sound};

#[test]
fn code_and_differences_stand_in_the_source() {
    assert_sound(&Book::read().check_code());
}

#[test]
fn links_and_anchors_lead_somewhere() {
    assert_sound(&Book::read().check_links());
}

#[test]
fn packages_targets_tests_and_files_exist() {
    assert_sound(&Book::read().check_names());
}

#[test]
fn transcripts_can_be_read() {
    assert_sound(&Book::read().check_transcripts());
}

fn book(path: &str, text: &str) -> Book {
    Book::of_pages(vec![Page::new(path, text)])
}

fn text(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect()
}

/// There must be one problem, and it must say all this.
#[track_caller]
fn assert_one(problems: &[Problem], parts: &[&str]) {
    let message = text(problems);
    assert_eq!(problems.len(), 1, "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

#[track_caller]
fn assert_none(problems: &[Problem]) {
    assert_eq!(text(problems), "");
}

/// A piece of `accept`, less indented, with a gap.
const CODE: &str = "\
# 1. Accept

```rust
fn accept(&mut self) {
    loop {
        match self.listener.accept() {
            Ok((stream, address)) => {
                println!(\"Accepted connection from {address}\");
                // …
                drop(stream);
            }
```
";

#[test]
fn a_block_of_the_source_is_found() {
    assert_none(&book("docs/src/1-accept.md", CODE).check_code());
}

#[test]
fn a_changed_line_in_a_block_is_a_problem() {
    let changed = CODE.replace("Accepted connection", "Accepted a connection");
    assert_one(
        &book("docs/src/1-accept.md", &changed).check_code(),
        &[
            "docs/src/1-accept.md:8: ",
            "milestone-1-accept/src/main.rs from line ",
            "-                println!(\"Accepted a connection from {address}\");",
            "+                println!(\"Accepted connection from {address}\");",
        ],
    );
}

#[test]
fn a_changed_indentation_is_a_problem() {
    let changed = CODE.replace("    loop {", "  loop {");
    assert_one(
        &book("docs/src/1-accept.md", &changed).check_code(),
        &["-  loop {", "+    loop {"],
    );
}

#[test]
fn pieces_in_another_order_are_a_problem() {
    let page = "```rust\nuse mio::net::TcpListener;\n// …\nuse std::env;\n```\n";
    assert_one(
        &book("docs/src/1-accept.md", page).check_code(),
        &["docs/src/1-accept.md:2: ", "not in one file, in this order"],
    );
}

#[test]
fn a_block_of_another_milestone_is_a_problem() {
    let page = "```rust\nself.connections.insert(token, connection);\n```\n";
    assert_none(&book("docs/src/2-register.md", page).check_code());
    assert_none(&book("docs/src/some-page.md", page).check_code());
    assert_one(
        &book("docs/src/1-accept.md", page).check_code(),
        &["no line of this rust block stands in milestone-1-accept/src/main.rs"],
    );
}

#[test]
fn a_wrong_block_must_be_absent() {
    let wrong = "```rust,wrong\nself.listener.accept().unwrap();\n```\n";
    assert_none(&book("docs/src/1-accept.md", wrong).check_code());
    assert_one(
        &book(
            "docs/src/1-accept.md",
            &CODE.replace("```rust", "```rust,wrong"),
        )
        .check_code(),
        &["marked as wrong, but it stands in milestone-1-accept/src/main.rs"],
    );
}

/// A piece of the step from milestone 1 to 2.
const STEP: &str = "\
```diff
     listener: TcpListener,
+    connections: HashMap<Token, ClientConnection>,
…
                     println!(\"Accepted connection from {address}\");
-                    // Nothing keeps the stream yet, so it is closed: the client sees end of file.
-                    drop(stream);
+                    if let Err(e) = self.register(stream) {
```
";

#[test]
fn a_difference_of_the_sources_is_found() {
    assert_none(&book("docs/src/2-register.md", STEP).check_code());
}

#[test]
fn a_difference_that_is_none_is_a_problem() {
    let problems = |from: &str, to: &str| {
        assert!(STEP.contains(from), "{from:?} is not in the block");
        book("docs/src/2-register.md", &STEP.replace(from, to)).check_code()
    };
    // A line that neither side has
    assert_one(
        &problems("self.register(stream)", "self.register(client)"),
        &[
            "docs/src/2-register.md:8: ",
            "-                    if let Err(e) = self.register(client)",
            "+                    if let Err(e) = self.register(stream)",
        ],
    );
    // A line that was there before
    assert_one(
        &problems("     listener: TcpListener", "+    listener: TcpListener"),
        &["docs/src/2-register.md:2: ", "does not add this line"],
    );
    // A line that is still there
    let page = "```diff\n-use std::env;\n```\n";
    assert_one(
        &book("docs/src/2-register.md", page).check_code(),
        &["docs/src/2-register.md:2: ", "does not take away this line"],
    );
    // No step
    assert_one(
        &book("docs/src/1-accept.md", STEP).check_code(),
        &["a milestone that has one before it"],
    );
}

#[test]
fn a_dead_link_is_a_problem() {
    let check = |path, text| book(path, text).check_links();
    assert_none(&check(
        "README.md",
        "[a](shared-testkit/src/lib.rs) [b](https://a.example)",
    ));
    assert_none(&check(
        "docs/src/a.md",
        "# To be, or not\n\n[a](#to-be-or-not)",
    ));
    assert_one(
        &check("README.md", "Text\n\n[a](shared-testkit/src/no.rs)"),
        &["README.md:3: ", "there is no shared-testkit/src/no.rs"],
    );
    assert_one(
        &check("README.md", "![a](docs/no.svg)"),
        &["README.md:1: ", "there is no docs/no.svg"],
    );
    assert_one(
        &check("docs/src/a.md", "<img src=\"no.svg\">"),
        &["docs/src/a.md:1: ", "there is no docs/src/no.svg"],
    );
    assert_one(
        &check("docs/src/a.md", "[a](../../README.md)"),
        &["leads out of the book", "`README.md`"],
    );
}

#[test]
fn a_dead_anchor_is_a_problem() {
    let pages = vec![
        Page::new("docs/src/a.md", "# One\n\n## Two `three`\n"),
        Page::new("docs/src/b.md", "[a](a.md#two-three)\n[b](a.md#two)\n"),
    ];
    assert_one(
        &Book::of_pages(pages).check_links(),
        &["docs/src/b.md:2: ", "\"a.md#two\"", "#two-three"],
    );
}

#[test]
fn a_heading_without_a_sure_anchor_is_a_problem() {
    let check = |text| book("docs/src/a.md", text).check_links();
    assert_one(
        &check("# One\n\n# One\n"),
        &["docs/src/a.md:3: ", "already"],
    );
    assert_one(&check("# Naïve\n"), &["docs/src/a.md:1: ", "ASCII"]);
}

#[test]
fn a_page_that_the_summary_leaves_out_is_a_problem() {
    let pages = vec![
        Page::new("docs/src/SUMMARY.md", "- [One](one.md)\n"),
        Page::new("docs/src/one.md", "# One\n"),
        Page::new("docs/src/two.md", "# Two\n"),
    ];
    assert_one(
        &Book::of_pages(pages).check_links(),
        &["docs/src/two.md:1: ", "does not stand in SUMMARY.md"],
    );
    let pages = vec![Page::new("docs/src/SUMMARY.md", "- [No](no.md)\n")];
    assert_one(
        &Book::of_pages(pages).check_links(),
        &["docs/src/SUMMARY.md:1: ", "there is no docs/src/no.md"],
    );
}

#[test]
fn names_that_exist_are_found() {
    let text = "\
Run `cargo run -p milestone-4-write -- 127.0.0.1:9000`, or one test alone: the test
`row_9_turns_writable_on_once`.

```console
$ cargo test -p milestone-1-accept --test article listens_on
not a command: cargo run -p nothing
```

```sh
cargo test --test departures -- --nocapture row_1    # a comment: cargo run -p nothing
cargo bench -p milestone-5-harden --bench broadcast
cargo run -p PACKAGE
```

| what | shown by the test |
| --- | --- |
| `not_a_test` | `listens_on_ipv6`, `row_2_a_port_in_use_is_a_clear_error` |
";
    assert_none(&book("docs/src/a.md", text).check_names());
}

#[test]
fn a_name_of_nothing_is_a_problem() {
    let check = |text: &str| book("docs/src/a.md", text).check_names();
    for (text, parts) in [
        (
            "```sh\ncd x\ncargo run -p milestone-9\n```",
            ["docs/src/a.md:3: ", "there is no package \"milestone-9\""],
        ),
        (
            "`cargo test -p milestone-1-accept --test nothing`",
            [
                "docs/src/a.md:1: ",
                "there is no test nothing in milestone-1-accept",
            ],
        ),
        (
            "`cargo run -p book-checks --bin nothing`",
            [
                "docs/src/a.md:1: ",
                "there is no bin nothing in book-checks",
            ],
        ),
        (
            "`cargo test -p milestone-1-accept no_such_test`",
            [
                "docs/src/a.md:1: ",
                "no test has \"no_such_test\" in its name",
            ],
        ),
        (
            "The row `row_99_is_nothing`",
            ["docs/src/a.md:1: ", "there is no test `row_99_is_nothing`"],
        ),
        (
            "seen in the tests `listens_on_ipv6` and `nothing_at_all`",
            ["docs/src/a.md:1: ", "there is no test `nothing_at_all`"],
        ),
        (
            "| what | test |\n| --- | --- |\n| `some_word` | `nothing_here` |",
            ["docs/src/a.md:3: ", "there is no test `nothing_here`"],
        ),
        (
            "as in `milestone-1-accept/src/nothing.rs`",
            ["docs/src/a.md:1: ", "`milestone-1-accept/src/nothing.rs`"],
        ),
    ] {
        assert_one(&check(text), &parts);
    }
    // Put together here, because what stands in a source is a name that exists.
    let name = ["some", "thing", "else"].join("_");
    let what = format!("no test and no function is called `{name}`");
    assert_one(
        &check(&format!("See `{name}`.")),
        &["docs/src/a.md:1: ", &what],
    );
}

#[test]
fn a_transcript_that_cannot_be_read_is_a_problem() {
    let check = |lines: &str| {
        let text = format!("```transcript\n{lines}\n```\n");
        book("docs/src/a.md", &text).check_transcripts()
    };
    let start = "$ cargo run -p milestone-4-write\nserver! Listening on 127.0.0.1:8080";
    assert_none(&check(start));
    for (lines, parts) in [
        (
            "$ cargo run -p milestone-9\nserver! Listening on 127.0.0.1:8080".to_owned(),
            ["docs/src/a.md:2: ", "there is no milestone \"milestone-9\""],
        ),
        (
            "$ cargo run -p milestone-4-write -- 127.0.0.1:9000\nalice connects".to_owned(),
            [
                "docs/src/a.md:2: ",
                "\"server! Listening on 127.0.0.1:9000\"",
            ],
        ),
        (
            format!("{start}\nalice> Hello"),
            ["docs/src/a.md:4: ", "\"alice\" has not connected"],
        ),
        (
            format!("{start}\nother| Hello"),
            ["docs/src/a.md:4: ", "no server is called \"other\""],
        ),
        (
            format!("{start}\nalice sings"),
            ["docs/src/a.md:4: ", "\"alice sings\""],
        ),
    ] {
        assert_one(&check(&lines), &parts);
    }
}
