//! Finding the processes that a test has started, however they are related.

use std::fs;
use std::path::PathBuf;

/// The environment variable that they inherit.
pub const MARK: &str = "LEARN_TEST";

/// The command lines of the processes that have this in their environment.
pub fn marked(mark: &str) -> Vec<String> {
    let has_mark = |process: &PathBuf| {
        // A process that ends while we look, and one of another user's, have none.
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    };
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let command_line = |process: PathBuf| fs::read(process.join("cmdline")).unwrap_or_default();
    let command_lines = processes.filter(has_mark).map(command_line);
    command_lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}
