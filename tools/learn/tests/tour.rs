//! `cargo learn tour`, without a terminal and on one.

#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use course::test_runner::{self, is_installed};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use shared_testkit::env::{DEADLINE_SCALE, SERVER_ADDR};
use shared_testkit::{skip, wait_until};

use crate::common::{MARK, marked};

const LEARN: &str = env!("CARGO_BIN_EXE_learn");

/// Plays with deadlines of this fraction.
fn tour<'a>(scale: &str, words: impl IntoIterator<Item = &'a str>) -> Assert {
    let mut command = Command::new(LEARN);
    command.arg("tour").args(words).env_remove(SERVER_ADDR);
    command.env(DEADLINE_SCALE, scale).assert()
}

#[test]
fn every_chapter_can_be_played() {
    for (chapter, last_step) in [
        ("1", "step 3 of 3: bob connects\n"),
        ("2", "step 6 of 6: bob leaves\n"),
        ("3", "step 9 of 9: carol leaves\n"),
        ("4", "step 8 of 8: alice leaves\n"),
        ("5", "step 7 of 7: server gets SIGINT\n"),
    ] {
        let played = tour("1", [chapter]).code(0);
        played.stdout(contains(last_step).and(contains("did not come").not()));
    }
}

#[test]
fn each_step_shows_who_has_done_what() {
    let played = tour("1", []).code(0);
    let output = played.get_output();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    for line in [
        "The server reads until WouldBlock and writes alice's line to the others.\n",
        "  server        | Broadcast 16 bytes from Token(1)\n",
        "  system calls  recvfrom(5, \"pizza or curry?\\n\", 4096, 0, NULL, NULL) = 16\n",
        "  alice         > pizza or curry?\n",
        "  carol         < curry\n",
    ] {
        // Where strace is missing, stderr says so.
        let is_shown = output.stderr.is_empty() || !line.contains("system calls");
        assert!(!is_shown || text.contains(line), "no {line:?} in:\n{text}");
    }
}

#[test]
fn what_the_own_server_does_not_do_is_marked() {
    let mistaken = test_runner::program("mistaken");
    let words = ["4", "--", mistaken.to_str().unwrap(), "forgets-the-last"];
    let missing = contains("  expected, but it did not come: carol< pizza or curry?\n")
        .and(contains("  bob           < pizza or curry?\n"));
    tour("0.25", words).code(1).stdout(missing);
}

#[test]
fn a_terminal_is_left_as_it_was() {
    let Some(mut terminal) = Terminal::start("left") else {
        return skip("there is no `script`");
    };
    let first = terminal.shows("step 1 of 3");
    terminal.press("\r");
    // Only what differs is drawn, so a space may be left out.
    let second = terminal.shows("Accepted");
    terminal.press("bq");
    // It has left the alternate screen.
    assert!(first && second && terminal.shows("\u{1b}[?1049l"));
    assert!(terminal.script.wait().unwrap().success());
}

#[test]
fn the_end_of_the_terminal_leaves_no_process_behind() {
    let Some(mut terminal) = Terminal::start("ended") else {
        return skip("there is no `script`");
    };
    let first = terminal.shows("step 1 of 3");
    terminal.script.kill().unwrap();
    terminal.script.wait().unwrap();
    let mark = terminal.screen.to_str().unwrap();
    let ended = wait_until(|| marked(mark).is_empty());
    assert!(first && ended, "still running: {:?}", marked(mark));
}

/// A tour of chapter 1 on a pseudo-terminal, made by script(1).
struct Terminal {
    script: Child,
    /// The file with everything that was drawn.
    screen: PathBuf,
}

impl Terminal {
    /// `None` where there is no `script`.
    fn start(name: &str) -> Option<Terminal> {
        let screen = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&screen);
        // A new pseudo-terminal has no size.
        let command = format!("stty cols 80 rows 24; exec {LEARN} tour 1");
        let mut script = process::Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &command]);
        script.arg(&screen).env("TERM", "xterm").env(MARK, &screen);
        script.env_remove(SERVER_ADDR).stdin(Stdio::piped());
        let script = script.stdout(Stdio::null());
        is_installed("script").then(|| Terminal {
            script: script.spawn().unwrap(),
            screen,
        })
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.script.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
    }

    fn shows(&self, text: &str) -> bool {
        let screen = || fs::read(&self.screen).unwrap_or_default();
        wait_until(|| String::from_utf8_lossy(&screen()).contains(text))
    }
}
