//! The step from one milestone to the next is the lesson, so it adds lines and changes few.

#![allow(clippy::expect_used, reason = "the helper is part of the test")]

use std::process::Command;

use course::{milestones, root};

/// At most so many lines of one `main.rs` are gone from the next.
const MOST: usize = 8;

/// From milestone 1 to 4: milestone 5 goes past the article.
#[test]
fn a_step_removes_at_most_eight_lines() {
    let milestones = milestones();
    for step in milestones[..4].windows(2) {
        let gone = lines_gone(&step[0], &step[1]);
        assert!(
            gone.len() <= MOST,
            "from {} to {} these lines are gone:\n{}",
            step[0],
            step[1],
            gone.join("\n")
        );
    }
}

/// The lines that a step removes, blank ones and the comment at the top of the file aside.
fn lines_gone(before: &str, after: &str) -> Vec<String> {
    let output = Command::new("git")
        .args([
            "diff",
            "--no-index",
            "--no-color",
            "--ignore-blank-lines",
            "--unified=0",
        ])
        .args([before, after].map(|package| format!("{package}/src/main.rs")))
        .current_dir(root())
        .output()
        .expect("git can be run");
    let difference = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(difference.contains("\n@@ "), "the two milestones differ");
    let removed = difference.lines().filter(|line| line.starts_with('-'));
    let code = removed.filter(|line| !line.starts_with("---") && !line.starts_with("-//!"));
    code.filter(|line| line.len() > 1)
        .map(str::to_owned)
        .collect()
}
