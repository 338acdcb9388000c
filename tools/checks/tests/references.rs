//! The links and names in the book are right, and a wrong one is found.

mod common;

use std::fs;
use std::path::Path;

use book_checks::{check_links, check_names};
use course::{Book, Page};

use crate::common::{assert_none, assert_one};

#[test]
fn links_and_anchors_lead_somewhere() {
    assert_none(&check_links(&Book::read()));
}

#[test]
fn packages_targets_tests_and_files_exist() {
    assert_none(&check_names(&Book::read()));
}

/// The picture at the top of the page on mistakes says where each of them is made.
#[test]
fn every_mistake_is_in_the_picture() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let read = |name| fs::read_to_string(pages.join(name)).expect(name);
    let picture = read("images/mistakes.svg");
    for heading in read("mistakes.md").lines() {
        let name = heading
            .strip_prefix("## `")
            .map(|name| name.trim_end_matches('`'));
        let is_missing = name.is_some_and(|name| !picture.contains(&format!(">{name}<")));
        assert!(!is_missing, "{heading} is not in images/mistakes.svg");
    }
}

fn book(path: &str, text: &str) -> Book {
    Book::of_pages(vec![Page::new(path, text)])
}

#[test]
fn links_that_lead_somewhere_are_found() {
    let links = "[a](shared-testkit/src/lib.rs) [b](https://a.example)";
    assert_none(&check_links(&book("README.md", links)));
    let anchor = "# To be, or not\n\n[a](#to-be-or-not)";
    assert_none(&check_links(&book("docs/src/a.md", anchor)));
}

#[test]
fn a_dead_link_is_a_problem() {
    for (path, text, parts) in [
        (
            "README.md",
            "Text\n\n[a](shared-testkit/src/no.rs)",
            ["README.md:3: ", "there is no shared-testkit/src/no.rs"],
        ),
        (
            "README.md",
            "![a](docs/no.svg)",
            ["README.md:1: ", "there is no docs/no.svg"],
        ),
        (
            "README.md",
            "[a](../no.md)",
            ["README.md:1: ", "out of the workspace"],
        ),
        (
            "docs/src/a.md",
            "<img src=\"no.svg\">",
            ["docs/src/a.md:1: ", "there is no docs/src/no.svg"],
        ),
        (
            "docs/src/a.md",
            "[a](../../README.md)",
            ["out of the book", "`README.md`"],
        ),
        (
            "docs/src/a.md",
            "# One\n\n# One\n",
            ["docs/src/a.md:3: ", "already"],
        ),
        ("docs/src/a.md", "# Naïve\n", ["docs/src/a.md:1: ", "ASCII"]),
    ] {
        assert_one(&check_links(&book(path, text)), &parts);
    }
}

#[test]
fn a_dead_anchor_is_a_problem() {
    let pages = vec![
        Page::new("docs/src/a.md", "# One\n\n## Two `three`\n"),
        Page::new("docs/src/b.md", "[a](a.md#two-three)\n[b](a.md#two)\n"),
    ];
    assert_one(
        &check_links(&Book::of_pages(pages)),
        &["docs/src/b.md:2: ", "\"a.md#two\"", "\"two-three\""],
    );
}

#[test]
fn a_page_that_the_summary_leaves_out_is_a_problem() {
    let pages = vec![
        Page::new("docs/src/SUMMARY.md", "- [One](one.md)\n"),
        Page::new("docs/src/one.md", "# One\n"),
        Page::new("docs/src/two.md", "# Two\n"),
    ];
    assert_one(
        &check_links(&Book::of_pages(pages)),
        &["docs/src/two.md:1: ", "not in SUMMARY.md"],
    );
    let summary = book("docs/src/SUMMARY.md", "- [No](no.md)\n");
    assert_one(
        &check_links(&summary),
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
cargo bench -p benchmark --bench benchmark
cargo run -p PACKAGE
```
";
    assert_none(&check_names(&book("docs/src/a.md", text)));
}

/// This text must have one problem, in this line.
#[track_caller]
fn assert_is_found(text: &str, line: usize, part: &str) {
    let place = format!("docs/src/a.md:{line}: ");
    assert_one(&check_names(&book("docs/src/a.md", text)), &[&place, part]);
}

#[test]
fn a_command_with_a_name_of_nothing_is_a_problem() {
    for (text, line, part) in [
        (
            "```sh\ncd x\ncargo run -p milestone-9\n```",
            3,
            "milestone-9",
        ),
        (
            "```console\n$ cargo run -p milestone-9\n```",
            2,
            "milestone-9",
        ),
        (
            "`cargo test -p milestone-1-accept --test attacks`",
            1,
            "milestone-1-accept --test attacks",
        ),
        (
            "`cargo run -p mistaken --bin nothing`",
            1,
            "mistaken --bin nothing",
        ),
        (
            "`docs/nothing.sh milestone-1-accept`",
            1,
            "`docs/nothing.sh`",
        ),
        (
            "`cargo test -p milestone-1-accept no_such_test`",
            1,
            "\"no_such_test\"",
        ),
    ] {
        assert_is_found(text, line, part);
    }
}

#[test]
fn a_name_of_nothing_is_a_problem() {
    for (text, line, part) in [
        (
            "as in `milestone-1-accept/src/nothing.rs`",
            1,
            "`milestone-1-accept/src/nothing.rs`",
        ),
        ("The row `row_99_is_nothing`", 1, "`row_99_is_nothing`"),
        (
            "| test |\n| --- |\n| `nothing_at_all` |",
            3,
            "`nothing_at_all`",
        ),
        (
            "```sh,checkpoint,red=nothing_at_all\n```",
            1,
            "`nothing_at_all`",
        ),
    ] {
        assert_is_found(text, line, part);
    }
}
