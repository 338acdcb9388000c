//! `cargo learn picture`, as a learner runs it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use book_checks::{root, suite};
use predicates::str::contains;
use shared_testkit::env::{DEADLINE_SCALE, PICTURES};
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

/// Of a real server, whose sockets are in the last rows.
#[test]
fn a_failed_check_is_drawn() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    let _ = fs::remove_dir_all(&folder);
    let picture = folder.join("accepts_a_burst_behind_one_event.svg");
    let mistaken = suite::program("mistaken");
    Command::new(LEARN)
        .args(["check", "4", "--all", "--"])
        .arg(mistaken)
        .arg("accepts-once")
        .env(PICTURES, &folder)
        .env(DEADLINE_SCALE, "0.1")
        .assert()
        .code(1)
        .stdout(contains(format!("picture: {}", picture.display())));

    let svg = fs::read_to_string(picture).unwrap();
    let texts = svg.lines().filter(|line| line.starts_with("<text "));
    let end = texts.skip_while(|text| !text.contains(" fails after "));
    let end = end.collect::<Vec<_>>().join("\n");
    for fact in [">asleep in epoll_wait<", ">connections pending: "] {
        assert!(end.contains(fact), "no {fact} at the end of:\n{svg}");
    }
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
