//! Runs a server under strace(1) and reads the calls that it makes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use shared_testkit::{Builder, Server};

use crate::call::Call;
use crate::workspace::unnamed_file;

/// The system calls of event loops in any language, as far as this machine has them.
const TRACED: &str = "--trace=?epoll_create1,?epoll_ctl,?epoll_wait,?epoll_pwait,?socket,?setsockopt,?bind,\
    ?listen,?accept,?accept4,?read,?recvfrom,?recvmsg,?write,?writev,?sendto,?sendmsg,?shutdown,?close";

/// The system calls of a server, as strace writes them.
pub struct Strace {
    file: File,
    /// The server's process and first thread.
    pub pid: String,
    /// Whether its stop is the last that was read of it.
    pub is_stopped: bool,
    /// What was read of a line that is not complete.
    partial: Vec<u8>,
    /// The beginnings of calls that another thread's calls have interrupted, by thread.
    unfinished: BTreeMap<String, String>,
    /// Whether the language's own runtime has started, which is of no interest.
    has_begun: bool,
}

impl Strace {
    /// Starts a server. `None` where `strace` is not installed or not allowed.
    ///
    /// # Panics
    ///
    /// As [`Builder::start`].
    pub fn start(builder: Builder) -> Option<(Server, Strace)> {
        let (file, path) = unnamed_file();
        let output = format!("--output={path}");
        let builder = builder.under_strace(&[TRACED, "--string-limit=60", &output])?;
        let server = builder.start();
        let strace = Strace {
            file,
            pid: server.pid().to_string(),
            is_stopped: false,
            partial: Vec::new(),
            unfinished: BTreeMap::new(),
            has_begun: false,
        };
        Some((server, strace))
    }

    /// The calls of all threads that have returned since the last time. Left out: what precedes the
    /// first socket or epoll instance, and iterations of a loop in which nothing happened.
    ///
    /// # Panics
    ///
    /// If what strace writes cannot be read.
    pub fn new_calls(&mut self) -> Vec<Call> {
        let read = self.file.read_to_end(&mut self.partial);
        read.expect("the file is open");
        let end = self.partial.iter().rposition(|byte| *byte == b'\n');
        let lines: Vec<u8> = self.partial.drain(..end.map_or(0, |end| end + 1)).collect();
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let calls = lines.lines().filter_map(|line| self.call(line));
        calls.filter(|call| !call.is_idle()).collect()
    }

    /// The call that ends in this line: `THREAD CALL`.
    fn call(&mut self, line: &str) -> Option<Call> {
        let (thread, text) = line.split_once(' ')?;
        if self.pid == thread {
            self.is_stopped = text.trim() == "--- stopped by SIGSTOP ---";
        }
        if let Some(beginning) = text.strip_suffix(" <unfinished ...>") {
            let beginning = beginning.to_owned();
            self.unfinished.insert(thread.to_owned(), beginning);
            return None;
        }
        let text = match text.split_once(" resumed>") {
            Some((_, end)) => self.unfinished.remove(thread)? + end,
            None => text.to_owned(),
        };
        let call = Call::parse(thread, &text)?;
        self.has_begun |= ["epoll_create1", "socket"].contains(&call.name.as_str());
        Some(call).filter(|_| self.has_begun)
    }
}
