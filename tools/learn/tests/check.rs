//! `cargo learn check`, as a learner runs it.

#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};

use assert_cmd::Command;
use course::test_runner::{self, free_address};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with};
use rustix::process::{Pid, Signal, kill_process};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_ADDR};
use shared_testkit::wait_until;

use crate::common::{MARK, marked};

const LEARN: &str = env!("CARGO_BIN_EXE_learn");

/// Tests that are meant to fail wait a tenth of the time.
const SHORT: &str = "0.1";

/// A chapter's check with these further words, and deadlines of this fraction.
fn check<'a>(words: impl IntoIterator<Item = &'a str>, scale: &str) -> Command {
    let mut command = Command::new(LEARN);
    command.arg("check").args(words).env_remove(SERVER_ADDR);
    command.env(DEADLINE_SCALE, scale);
    command
}

/// A folder of this name for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The words of the command reach the server as they are, and the order is that of the chapter.
#[test]
fn a_server_that_is_right_keeps_all_promises() {
    let program = test_runner::program("milestone-1-accept");
    let program = program.to_str().unwrap();
    let words = ["1", "--", "sh", "-c", "exec \"$0\" \"$@\"", program];
    let first = "\n\n  ✓ with port 0";
    let later = "\n  ✓ one event for five pending connections: all are accepted\n";
    let shown = contains(first).and(contains(later));
    let shown = shown.and(contains("✓").count(17));
    let shown = shown.and(ends_with("\n17 of 17 promises hold.\n"));
    check(words, "1").assert().code(0).stdout(shown);
}

#[test]
fn a_known_mistake_is_what_to_fix_first() {
    let mistaken = test_runner::program("mistaken");
    let words = ["4", "--", mistaken.to_str().unwrap(), "accepts-once"];
    let broken = "✗ one event for five pending connections: all are accepted\n";
    let first = " of 60 promises hold.\n\nFix this first:\n  ";
    let read = "\n  Read: docs/src/1-accept.md, 'Accept until WouldBlock'\n";
    let shown = contains(broken).and(contains(first)).and(contains(read));
    let shown = shown.and(contains("what happened, in milliseconds").count(1));
    check(words, SHORT).assert().code(1).stdout(shown);
}

#[test]
fn a_server_that_hangs_keeps_no_promise() {
    let words = ["1", "--all", "--", "sh", "-c", "exec sleep 1000"];
    let shown = contains("\n0 of 17 promises hold.\n\nFix this first:\n  ")
        .and(contains(" of the 17 failures)\n  Read: "))
        .and(contains("the server did not report where it listens").count(12));
    check(words, SHORT).assert().code(1).stdout(shown);
}

/// A program that does not take its address from the tests. They take turns at the one port, and those
/// about the argument are skipped.
#[test]
fn a_server_without_an_argument_has_an_address() {
    let address = free_address().to_string();
    let program = test_runner::program("milestone-1-accept");
    let words = ["1", "--", program.to_str().unwrap(), &address];
    let skipped = contains("  - a second argument is a clear error with exit status 1 (skipped:")
        .and(contains("\n10 of 17 promises hold, 7 skipped.\n"));
    let checked = check(words, "1").env(SERVER_ADDR, &address).assert();
    checked.code(0).stdout(skipped);
}

/// A file in a folder of the one that the command names.
#[test]
fn it_runs_again_when_a_file_changes() {
    let (watched, output) = (folder("watch"), folder("watched").join("output"));
    let file = folder("watch/log").join("writer.rs");
    fs::write(&file, "").unwrap();
    let words = ["1", "--watch", "--", "false", watched.to_str().unwrap()];
    let mut learn = start(&words, &output);
    let has_run = |times| {
        let text = fs::read_to_string(&output).unwrap();
        text.matches("\nWaiting for a change").count() == times
    };
    assert!(in_time(|| has_run(1)));
    fs::write(&file, "").unwrap();
    assert!(in_time(|| has_run(2)));
    interrupt(&mut learn);
}

#[test]
fn ctrl_c_leaves_no_process_behind() {
    let output = folder("ctrl-c").join("output");
    // Everything that is started inherits the environment, with the path of this file in it.
    let mark = output.to_str().unwrap();
    let server = "exec sleep 1000";
    let mut learn = start(&["1", "--", "sh", "-c", server], &output);
    let is_server = |command: &&String| command.starts_with("sleep");
    let have_started = || marked(mark).iter().filter(is_server).count() > 5;
    assert!(in_time(have_started), "no servers were started");
    interrupt(&mut learn);
    let ended = wait_until(|| marked(mark).is_empty());
    assert!(ended, "still running: {:?}", marked(mark));
}

/// Waits for a whole check, which shares the machine with those of the other tests: three times as long as
/// for any other fact.
fn in_time(condition: impl Fn() -> bool) -> bool {
    (0..3).any(|_| wait_until(&condition))
}

fn start(words: &[&str], output: &Path) -> Child {
    let mut learn = process::Command::new(LEARN);
    learn.arg("check").args(words).env_remove(SERVER_ADDR);
    learn.env(MARK, output).env(DEADLINE_SCALE, SHORT);
    learn.stdout(File::create(output).unwrap());
    learn.stderr(Stdio::null()).spawn().unwrap()
}

fn interrupt(learn: &mut Child) {
    kill_process(Pid::from_child(learn), Signal::INT).unwrap();
    assert_eq!(learn.wait().unwrap().code(), Some(130));
}
