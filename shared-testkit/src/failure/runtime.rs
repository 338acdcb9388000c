//! The runtime that a server is written for, and what it does by itself.

use std::fs;

use procfs::process::Process;
use rustix::process::Pid;

/// What a program for it cannot change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Runtime {
    pub name: &'static str,
    /// It reads before the program asks for it, and handles EMFILE itself.
    pub reads: bool,
}

/// Those whose selectors are level-triggered: a program's name, a word in a Python script or a library; the
/// name of the runtime; and whether it reads by itself.
const RUNTIMES: &[(&str, &str, bool)] = &[
    ("java", "Java", false),
    ("node", "Node", true),
    ("ruby", "Ruby", false),
    ("php", "PHP", false),
    ("perl", "Perl", false),
    ("asyncio", "asyncio", true),
    ("selectors", "selectors", false),
    ("select.select", "select", false),
    ("select.poll", "select.poll", false),
    ("libuv", "libuv", true),
    ("libevent", "libevent", false),
];

/// The runtime of a process, if its events cannot be edge-triggered.
pub(crate) fn of(pid: Pid) -> Option<Runtime> {
    let process = Process::new(pid.as_raw_pid()).ok()?;
    let program = process.exe().ok()?;
    let program = program.file_name()?.to_string_lossy();
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let text = match program {
        "python" => script(&process).unwrap_or_default(),
        _ => fs::read_to_string(format!("/proc/{}/maps", pid.as_raw_pid())).unwrap_or_default(),
    };
    let is_it = |word: &str| match program {
        "python" => !text.contains("EPOLLET") && text.contains(word),
        _ => program == word || word.starts_with("lib") && text.contains(word),
    };
    let runtime = RUNTIMES.iter().find(|(word, ..)| is_it(word));
    runtime.map(|&(_, name, reads)| Runtime { name, reads })
}

/// The text of the first word of the command line that is a file.
fn script(process: &Process) -> Option<String> {
    let (command, folder) = (process.cmdline().ok()?, process.cwd().ok()?);
    let mut words = command.iter().skip(1);
    words.find_map(|word| fs::read_to_string(folder.join(word)).ok())
}
