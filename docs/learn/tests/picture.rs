//! `cargo learn picture`, as a learner runs it.

use std::fs;

use assert_cmd::Command;
use book_checks::root;
use predicates::str::contains;
use shared_testkit::skip;

const LEARN: &str = env!("CARGO_BIN_EXE_learn");

#[test]
fn draws_what_the_book_shows() {
    if Command::new("strace").arg("true").ok().is_err() {
        return skip("strace is not installed, or not allowed");
    }
    let committed = fs::read_to_string(root().join("docs/src/loop/pictures/no-messages.svg"));
    Command::new(LEARN)
        .args(["picture", "3", "--scene", "no-messages"])
        .assert()
        .success()
        .stdout(committed.unwrap());
}

#[test]
fn bad_usage_is_a_clear_error() {
    for (words, said) in [
        (&["picture"][..], "which CHAPTER?"),
        (&["picture", "6"], "a number from 1 to 5"),
        (&["picture", "3", "--scene"], "\"--scene\" is unexpected"),
        (&["picture", "3", "--scene", "none"], "no such scene, only "),
    ] {
        let result = Command::new(LEARN).args(words).assert();
        result.code(2).stderr(contains(said));
    }
}
