//! Finding the processes that a test has started, however they are related.

use procfs::process::{Process, all_processes};

/// The environment variable that they inherit.
pub const MARK: &str = "LEARN_TEST";

/// The command lines of the processes that have this in their environment.
pub fn marked(mark: &str) -> Vec<String> {
    // A process that ends while we look, and one of another user's, have no environment.
    let environment = |process: &Process| process.environ().unwrap_or_default();
    let has_mark = |process: &Process| environment(process).values().any(|value| value == mark);
    let processes = all_processes().unwrap().flatten().filter(has_mark);
    let command_lines = processes.flat_map(|process| process.cmdline());
    command_lines.map(|words| words.join(" ")).collect()
}
