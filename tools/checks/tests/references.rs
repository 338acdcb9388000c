//! The links and names in the book are right, and a wrong one is found.

mod common;

use book_checks::{check_links, check_names};
use course::Book;
use course::workspace::read;

use crate::common::{assert_found, assert_none};

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
    let picture = read("docs/src/images/mistakes.svg");
    for section in read("docs/src/mistakes.md").split("\n## `").skip(1) {
        let name = section.split('`').next().unwrap_or_default();
        let is_there = picture.contains(&format!(">{name}<"));
        assert!(is_there, "{name} is not in images/mistakes.svg");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let readme = "\
[a](shared-testkit/src/lib.rs) [b](https://a.example)
[a](shared-testkit/src/no.rs)  ⇐ there is no shared-testkit/src/no.rs
![a](docs/no.svg)  ⇐ there is no docs/no.svg
[a](../no.md)  ⇐ out of the workspace
";
    let summary = "\
- [A](a.md)
- [No](no.md)  ⇐ there is no docs/src/no.md
";
    let a = "\
# To be, or not
# Two `three`
# Two `three`  ⇐ is on this page already
# Naïve  ⇐ is not ASCII
[a](#to-be-or-not) [b](b.md)
[a](../../README.md)  ⇐ out of the book & `README.md`
<img src=\"no.svg\">  ⇐ there is no docs/src/no.svg
";
    let b = "\
# Not in the table of contents  ⇐ not in SUMMARY.md
[a](a.md#two-three)
[b](a.md#two)  ⇐ \"a.md#two\" is dead & \"two-three\"
";
    let pages = [
        ("README.md", readme),
        ("docs/src/SUMMARY.md", summary),
        ("docs/src/a.md", a),
        ("docs/src/b.md", b),
    ];
    assert_found(check_links, &pages);
}

#[test]
fn a_name_of_nothing_is_found() {
    let page = "\
Run `cargo run -p milestone-4-write -- 127.0.0.1:9000`, or one test alone: the test
`row_9_turns_writable_on_once`, not `row_99_is_nothing`.  ⇐ `row_99_is_nothing`

| test |
| --- |
| `nothing_at_all` |  ⇐ `nothing_at_all`

It is in `milestone-1-accept/src/nothing.rs`.  ⇐ `milestone-1-accept/src/nothing.rs`
Run `docs/nothing.sh milestone-1-accept`.  ⇐ `docs/nothing.sh`
Run `cargo test -p milestone-1-accept --test attacks`.  ⇐ milestone-1-accept --test attacks
Run `cargo run -p mistaken --bin nothing`.  ⇐ mistaken --bin nothing
Run `cargo test -p milestone-1-accept no_such_test`.  ⇐ \"no_such_test\"

```console
$ cargo test -p milestone-1-accept --test article listens_on
not a command: cargo run -p nothing
$ cargo run -p milestone-9  ⇐ milestone-9
```

```sh
cargo test --test departures -- --nocapture row_1    # a comment: cargo run -p nothing
cargo bench -p benchmark --bench benchmark
cargo run -p PACKAGE
cargo run -p milestone-9  ⇐ milestone-9
```

```sh,checkpoint,red=nothing_at_all  ⇐ `nothing_at_all`
```
";
    assert_found(check_names, &[("docs/src/a.md", page)]);
}
