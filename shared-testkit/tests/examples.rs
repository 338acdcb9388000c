//! A server in another language passes every chapter's tests: they ask for nothing but what a
//! chapter says.

use std::path::Path;

use shared_testkit::has_python;
use shared_testkit::suite::Suite;

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
    passes(4, "milestone-4-write");
}

#[track_caller]
fn passes(chapter: u32, package: &str) {
    if !has_python() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/chat.py");
    let chapter = chapter.to_string();
    let command = ["python3", &script.to_string_lossy(), "--chapter", &chapter].map(str::to_owned);
    let command = shlex::try_join(command.iter().map(String::as_str)).unwrap_or_default();

    let outcomes = Suite::of(package)
        .deadline_scale(1.0)
        .run(&command, |_| true);
    assert!(!outcomes.is_empty(), "{package} has no tests");
    for outcome in outcomes {
        assert!(outcome.passed, "{}:\n{}", outcome.test, outcome.output);
    }
}
