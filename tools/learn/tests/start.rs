//! `cargo learn start`, as a learner runs it.

#![allow(clippy::unwrap_used, reason = "panicking is how a test fails")]

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use course::root;
use predicates::str::contains;

fn start(place: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_learn"));
    command.args(["start", place]).arg(folder);
    command
}

/// What chapter 1 has left, in a crate that needs nothing but its own dependencies.
#[test]
fn writes_what_the_chapter_before_has_left() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rat");
    let _ = fs::remove_dir_all(&folder);
    start("2", &folder).assert().success();
    let written = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    let source = root().join("milestone-1-accept/src/main.rs");
    assert_eq!(written("src/main.rs"), fs::read_to_string(source).unwrap());
    let dependencies = "\n[dependencies]\nanyhow = \"1";
    assert!(written("Cargo.toml").contains(dependencies));

    let refused = start("2", &folder).assert().code(2);
    refused.stderr(contains("rat exists, and nothing in it is overwritten"));
}
