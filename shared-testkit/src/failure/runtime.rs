//! The runtime that a server is written for, and what it does by itself.

use std::fs;
use std::path::PathBuf;

use rustix::process::Pid;

/// What a program for it cannot change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Runtime {
    pub name: &'static str,
    /// It reads before the program asks for it, and handles EMFILE itself.
    pub reads: bool,
}

/// Those whose selectors are level-triggered: a program's name, a word in a Python script or a library.
const RUNTIMES: &[(&str, Runtime)] = &[
    ("java", level("Java")),
    ("node", busy("Node")),
    ("ruby", level("Ruby")),
    ("php", level("PHP")),
    ("perl", level("Perl")),
    ("asyncio", busy("asyncio")),
    ("selectors", level("selectors")),
    ("select.select", level("select")),
    ("select.poll", level("select.poll")),
    ("libuv", busy("libuv")),
    ("libevent", level("libevent")),
];

const fn level(name: &'static str) -> Runtime {
    Runtime { name, reads: false }
}

const fn busy(name: &'static str) -> Runtime {
    Runtime { name, reads: true }
}

/// The runtime of a process, if its events cannot be edge-triggered.
pub(crate) fn of(pid: Pid) -> Option<Runtime> {
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
    let program = fs::read_link(proc.join("exe")).ok()?;
    let program = program.file_name()?.to_string_lossy().into_owned();
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let text = match program {
        "python" => script(&proc).unwrap_or_default(),
        _ => fs::read_to_string(proc.join("maps")).unwrap_or_default(),
    };
    let is_it = |word: &str| match program {
        "python" => !text.contains("EPOLLET") && text.contains(word),
        _ => program == word || word.starts_with("lib") && text.contains(word),
    };
    let runtime = RUNTIMES.iter().find(|(word, _)| is_it(word));
    runtime.map(|(_, runtime)| *runtime)
}

/// The text of the first word of the command line that is a file.
fn script(proc: &std::path::Path) -> Option<String> {
    let command = fs::read(proc.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).into_owned();
    let folder = fs::read_link(proc.join("cwd")).ok()?;
    let mut words = command.split('\0').skip(1).filter(|word| !word.is_empty());
    words.find_map(|word| fs::read_to_string(folder.join(word)).ok())
}
