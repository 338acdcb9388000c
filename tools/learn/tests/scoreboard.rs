//! Whether `cargo learn check` says the right thing first, for each faulty server in a list.

#![allow(clippy::unwrap_used, reason = "the helpers are part of the test")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use course::test_runner;

/// A list of one's own, whose commands run in its folder.
const LIST: &str = "SCOREBOARD";

/// Each line of the list: a name, a chapter, a command, and words that the verdict must have, alternatives
/// separated by slashes. `ok` means that every promise may hold, or cannot be seen.
#[test]
#[ignore = "prints a table and takes minutes"]
fn scoreboard() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scoreboard.txt");
    let list = env::var_os(LIST).map_or(own, |path| fs::canonicalize(path).unwrap());
    let mut counts = BTreeMap::<_, usize>::new();
    let text = fs::read_to_string(&list).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [name, chapter, command, words] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line:?} has not four parts");
        };
        let said = said_first(chapter, command, list.parent().unwrap());
        let is_right = |words: &str| match words {
            "ok" => said.is_empty(),
            words => said.contains(words),
        };
        let result = match &said[..] {
            _ if words.split('/').any(is_right) => "right",
            said if said.is_empty() || said.contains("does not hold") => "no cause",
            _ => "false",
        };
        *counts.entry(result).or_default() += 1;
        println!("{result:8}  {name}: {said}");
    }
    println!("{counts:?}");
    assert!(!counts.contains_key("false"));
}

/// What is to be fixed first, in one line. Empty if nothing is.
fn said_first(chapter: &str, command: &str, folder: &Path) -> String {
    let mistaken = test_runner::program("mistaken");
    let command = command.replace("MISTAKEN", mistaken.to_str().unwrap());
    let mut learn = Command::new(env!("CARGO_BIN_EXE_learn"));
    learn.args(["check", chapter, "--"]);
    learn.args(shlex::split(&command).unwrap());
    learn.current_dir(folder).env("PWD", folder);
    let output = learn.output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{command} was not tested");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, said) = text.split_once("\nFix this first:\n").unwrap_or_default();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
