//! The step from one milestone to the next is the lesson, so it adds lines and changes few.

use std::process::Command;

use course::{milestones, root};

/// At most so many lines of one `main.rs` are gone from the next.
const MOST: usize = 8;

/// From milestone 1 to 4: milestone 5 goes past the article. Blank lines and the comment at the top of the
/// file do not count.
#[test]
fn a_step_removes_at_most_eight_lines() {
    for step in milestones()[..4].windows(2) {
        let mut git = Command::new("git");
        git.args(["diff", "--no-index", "--no-color", "--ignore-blank-lines"]);
        git.arg("--unified=0");
        git.args(step.iter().map(|name| format!("{name}/src/main.rs")));
        let output = git.current_dir(root()).output().expect("git can be run");
        let difference = String::from_utf8_lossy(&output.stdout);
        assert!(difference.contains("\n@@ "), "{step:?} do not differ");
        let removed = difference.lines().filter(|line| line.starts_with('-'));
        let is_other =
            |line: &str| line == "-" || line.starts_with("---") || line.starts_with("-//!");
        let gone: Vec<_> = removed.filter(|line| !is_other(line)).collect();
        assert!(
            gone.len() <= MOST,
            "from {step:?} these lines are gone:\n{gone:#?}"
        );
    }
}
