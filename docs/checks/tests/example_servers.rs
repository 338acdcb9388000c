//! A server in another language passes every chapter's tests: they require only what the chapter
//! describes.

use std::process::Command;

use book_checks::root;
use book_checks::suite::{self, Suite};
use shared_testkit::{env::is_strict, skip};

const LAST: &str = "milestone-4-write";

#[test]
fn the_python_server_passes_chapter_1() {
    passes(1, "milestone-1-accept");
}

#[test]
fn the_python_server_passes_chapter_2() {
    passes(2, "milestone-2-register");
}

#[test]
fn the_python_server_passes_chapter_3() {
    passes(3, "milestone-3-broadcast");
}

#[test]
fn the_python_server_passes_chapter_4() {
    passes(4, LAST);
}

#[track_caller]
fn passes(chapter: u32, package: &str) {
    if !has_python() {
        return;
    }
    let script = root().join("docs/examples/chat.py");
    let script = suite::command(&script);
    let command = format!("python3 {script} --chapter {chapter}");

    // Most tests of a chapter belong to the next one as well. Without TESTKIT_STRICT these run for
    // the last chapter only.
    let at_the_end = match package == LAST || is_strict() {
        true => Vec::new(),
        false => Suite::of(LAST).names(),
    };
    let is_run = |test: &str| !at_the_end.iter().any(|name| name == test);
    let outcomes = Suite::of(package).deadline_scale(1.0).run(&command, is_run);
    assert!(!outcomes.is_empty(), "{package} has no tests");
    for outcome in outcomes {
        assert!(outcome.passed, "{}:\n{}", outcome.test, outcome.output);
    }
}

/// Whether this machine has `python3`. If not, reports the calling test as skipped.
fn has_python() -> bool {
    let result = Command::new("python3").arg("--version").output();
    if let Err(e) = &result {
        skip(&format!("python3 cannot be run: {e}"));
    }
    result.is_ok()
}
