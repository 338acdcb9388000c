//! What strace has written about the server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

/// A file to which strace adds lines.
pub(crate) struct Trace {
    file: File,
    /// What was read of a line that is not complete.
    partial: Vec<u8>,
    /// The beginnings of calls that another thread's calls have interrupted, by thread.
    unfinished: BTreeMap<String, String>,
    /// Whether the language's own runtime has started, which is of no interest.
    has_begun: bool,
}

impl Trace {
    pub(crate) fn new(file: File) -> Trace {
        Trace {
            file,
            partial: Vec::new(),
            unfinished: BTreeMap::new(),
            has_begun: false,
        }
    }

    /// The calls that have ended since the last time.
    pub(crate) fn new_calls(&mut self) -> Vec<String> {
        // It fails only if strace does not run.
        let _ = self.file.read_to_end(&mut self.partial);
        let end = self.partial.iter().rposition(|byte| *byte == b'\n');
        let lines: Vec<u8> = self.partial.drain(..end.map_or(0, |end| end + 1)).collect();
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let calls = lines.lines().filter_map(|line| self.call(line));
        calls.filter(|call| !is_noise(call)).collect()
    }

    /// The call that ends in this line: `THREAD CALL`.
    fn call(&mut self, line: &str) -> Option<String> {
        let (thread, call) = line.split_once(' ')?;
        self.has_begun |= call.contains("socket(") || call.contains("epoll_create");
        if let Some(beginning) = call.strip_suffix(" <unfinished ...>") {
            self.unfinished
                .insert(thread.to_owned(), beginning.to_owned());
            return None;
        }
        let beginning = self.unfinished.remove(thread).unwrap_or_default();
        let end = call.split_once(" resumed>").map_or(call, |(_, end)| end);
        self.has_begun.then(|| abridge(&(beginning + end)))
    }
}

/// The log, which has a pane of its own, and iterations in which nothing happened.
fn is_noise(call: &str) -> bool {
    let is_log = call.starts_with("write(1,") || call.starts_with("write(2,");
    is_log || call.starts_with("epoll_") && call.contains("wait(") && call.ends_with(" = 0")
}

/// A call with each token in one form instead of two, and without an error's text.
fn abridge(call: &str) -> String {
    let call = call.replace(" (Resource temporarily unavailable)", "");
    let mut pieces = call.split(", u64=");
    let mut abridged = pieces.next().unwrap_or_default().replace("{u32=", "");
    for piece in pieces {
        let rest = piece.split_once('}').map_or("", |(_, rest)| rest);
        abridged += &rest.replace("{u32=", "");
    }
    abridged.split_whitespace().collect::<Vec<_>>().join(" ")
}
