//! The log of a test: the server's lines and the clients' actions, in order, with their times.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use predicates::Predicate;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::lines::LISTENING;
use crate::wait::{patience, wait_at_most};

/// The name of the server in the log.
pub(crate) const SERVER: &str = "server";

/// The name under which a test logs that it fails.
pub(crate) const TEST: &str = "test";

/// How many events a failure shows: the last ones, and no more than fit a terminal.
const SHOWN_EVENTS: usize = 12;

/// How many characters of an event a failure shows. With the time, the mark and a name of up to
/// eight letters before them that makes 80 columns.
const SHOWN_CHARS: usize = 58;

/// How many characters of bytes a failure shows: with their count after them they fit an event.
const SHOWN_BYTES: usize = 36;

/// How many of its last lines on stderr a failure shows for a server that has ended.
const LAST_WORDS: usize = 3;

/// How long a failure waits for the end of a server whose connections may have closed just now.
const MOMENT: Duration = Duration::from_millis(100);

/// How long it waits if the server has closed its pipes: then the end is near, even on a busy machine.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// The indentation of a further line of what was expected or received.
pub(crate) const INDENT: &str = "            ";

/// That many lines that no action of the test explains are a flood, whatever they say.
const FLOOD: usize = 100_000;

/// How many lines one action explains. One after which megabytes flow may cause more.
const EXPLAINED: usize = 100;

/// How a failure describes a server that has not ended.
pub(crate) const RUNS: &str = "still runs";

/// What kind of event this is, by its mark in the log.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Stdout = b'|' as isize,
    Stderr = b'!' as isize,
    Sent = b'>' as isize,
    Received = b'<' as isize,
    Done = b'.' as isize,
}

impl Kind {
    pub(crate) fn mark(self) -> char {
        char::from(self as u8)
    }
}

#[derive(Clone)]
pub(crate) struct Event {
    pub at: Duration,
    pub who: String,
    pub kind: Kind,
    pub text: String,
    /// Whether an assertion has asked for this line of the server's.
    expected: bool,
}

struct State {
    events: Vec<Event>,
    /// How many of stdout and stderr can still bring a line.
    open_pipes: usize,
    /// Those of them that are read.
    pipes: Vec<Arc<File>>,
    /// Whether a failure has shown this log already.
    shown: bool,
    /// Where the server listens, once it is known.
    address: Option<SocketAddr>,
    /// Each client with its address and what it has sent.
    peers: Vec<(String, SocketAddr, Vec<u8>)>,
    /// How many lines the server has printed that no action of the test's explains.
    unexplained: usize,
    /// Whether a client's actions are not logged: then any number of lines may have a cause.
    has_bare_client: bool,
}

/// One log for a server and all its clients.
pub(crate) struct Log {
    start: Instant,
    server: Pid,
    /// Whether the server's argument has port 0.
    wants_free_port: bool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Log {
    /// An empty log for this server, whose stdout and stderr are pipes. It may have been asked to listen
    /// on port 0.
    pub(crate) fn new(server: Pid, wants_free_port: bool) -> Log {
        Log {
            start: Instant::now(),
            server,
            wants_free_port,
            state: Mutex::new(State {
                events: Vec::new(),
                open_pipes: 2,
                pipes: Vec::new(),
                shown: false,
                address: None,
                peers: Vec::new(),
                unexplained: 0,
                has_bare_client: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn add(&self, who: &str, kind: Kind, text: impl Into<String>) {
        let mut state = self.lock();
        if who != SERVER || kind == Kind::Done {
            state.unexplained = state.unexplained.saturating_sub(EXPLAINED);
        }
        self.add_to(&mut state, who, kind, text.into());
        self.changed.notify_all();
    }

    /// Notes where the server listens.
    pub(crate) fn set_address(&self, address: SocketAddr) {
        self.lock().address = Some(address);
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.lock().address
    }

    pub(crate) fn server(&self) -> Pid {
        self.server
    }

    /// Whether the server was to choose a free port.
    pub(crate) fn wants_free_port(&self) -> bool {
        self.wants_free_port
    }

    /// Notes a new client.
    pub(crate) fn add_peer(&self, name: &str, address: SocketAddr) {
        self.lock()
            .peers
            .push((name.to_owned(), address, Vec::new()));
    }

    /// Notes what a client has sent.
    pub(crate) fn add_sent(&self, address: SocketAddr, bytes: &[u8]) {
        let mut state = self.lock();
        if let Some(peer) = state.peers.iter_mut().find(|peer| peer.1 == address) {
            peer.2.extend(bytes);
        }
    }

    /// Forgets a client whose bytes are not logged any more.
    pub(crate) fn forget_peer(&self, address: SocketAddr) {
        let mut state = self.lock();
        state.peers.retain(|peer| peer.1 != address);
        state.has_bare_client = true;
    }

    pub(crate) fn peers(&self) -> Vec<(String, SocketAddr, Vec<u8>)> {
        self.lock().peers.clone()
    }

    /// Whether the server prints without end.
    pub(crate) fn is_flooding(&self) -> bool {
        self.lock().unexplained >= FLOOD
    }

    /// How many lines the server has printed, and how many of them no action of the test's explains.
    pub(crate) fn printed(&self) -> (usize, usize) {
        let state = self.lock();
        let is_printed = |event: &&Event| [Kind::Stdout, Kind::Stderr].contains(&event.kind);
        let count = state.events.iter().filter(is_printed).count();
        (count, state.unexplained)
    }

    fn add_to(&self, state: &mut State, who: &str, kind: Kind, text: String) {
        state.events.push(Event {
            at: self.start.elapsed(),
            who: who.to_owned(),
            kind,
            text,
            expected: false,
        });
    }

    /// Moves what arrives through a pipe into the log from now on, line by line, so that the pipe
    /// never fills. The thread ends with the pipe.
    pub(crate) fn read_pipe(
        self: &Arc<Log>,
        pipe: impl Into<OwnedFd>,
        kind: Kind,
    ) -> JoinHandle<()> {
        let pipe = Arc::new(File::from(pipe.into()));
        self.lock().pipes.push(Arc::clone(&pipe));
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut partial = Vec::new();
            while wait_for_bytes(&pipe).is_ok() && log.add_lines(&pipe, kind, &mut partial) {}
            if !partial.is_empty() {
                log.add(SERVER, kind, String::from_utf8_lossy(&partial));
            }
            log.pipe_ended();
        })
    }

    /// Moves only one line into the log, and leaves the rest in the pipe.
    pub(crate) fn read_line(self: &Arc<Log>, pipe: &impl AsFd, kind: Kind) {
        let copy = pipe.as_fd().try_clone_to_owned();
        let mut pipe = File::from(copy.expect("a pipe can have two descriptors"));
        let log = Arc::clone(self);
        thread::spawn(move || {
            let (mut line, mut byte) = (Vec::new(), [0]);
            while pipe.read_exact(&mut byte).is_ok() && byte != *b"\n" {
                line.extend(byte);
            }
            log.add(SERVER, kind, String::from_utf8_lossy(&line));
        });
    }

    /// Reads once, under the lock: whoever holds it and finds the pipe empty knows that everything
    /// that came through it is logged. Returns `false` at the end of file.
    fn add_lines(&self, mut pipe: &File, kind: Kind, partial: &mut Vec<u8>) -> bool {
        let mut chunk = [0; 64 << 10];
        let mut state = self.lock();
        let Ok(n) = pipe.read(&mut chunk) else {
            return false;
        };
        for piece in chunk[..n].split_inclusive(|&byte| byte == b'\n') {
            partial.extend(piece);
            if let Some(line) = partial.strip_suffix(b"\n") {
                let text = String::from_utf8_lossy(line).into_owned();
                state.unexplained += usize::from(!state.has_bare_client);
                // What comes after these says nothing new, and would fill the memory.
                if state.unexplained < FLOOD {
                    self.add_to(&mut state, SERVER, kind, text);
                }
                partial.clear();
            }
        }
        self.changed.notify_all();
        n > 0
    }

    /// Notes that one of the server's two pipes has ended.
    pub(crate) fn pipe_ended(&self) {
        self.lock().open_pipes -= 1;
        self.changed.notify_all();
    }

    /// Whether the server can still print something.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open_pipes > 0
    }

    /// Whether the server sleeps and everything that it has printed is logged. No pipe is read in the
    /// meantime: a server that waits for room in a full pipe sleeps, too.
    pub(crate) fn is_at_rest(&self, sleeps: impl FnOnce() -> bool) -> bool {
        let state = self.lock();
        let mut pipes = state.pipes.iter();
        sleeps() && pipes.all(|pipe| ioctl_fionread(pipe).expect("a pipe reports its bytes") == 0)
    }

    /// Waits for a line of the server's that no assertion has asked for yet, and returns it.
    /// `None` at the deadline, or as soon as the server can print nothing more.
    pub(crate) fn take_line(&self, kinds: &[Kind], wanted: &impl Predicate<str>) -> Option<String> {
        self.take(0, kinds, wanted).map(|(_, line)| line)
    }

    /// The same from one place in the log on. Returns the line's place as well.
    pub(crate) fn take(
        &self,
        mut from: usize,
        kinds: &[Kind],
        wanted: &impl Predicate<str>,
    ) -> Option<(usize, String)> {
        let end = Instant::now() + patience();
        let mut state = self.lock();
        loop {
            let events = &mut state.events[from..];
            let found = events
                .iter_mut()
                .enumerate()
                .find(|(_, e)| kinds.contains(&e.kind) && !e.expected && wanted.eval(&e.text));
            if let Some((index, event)) = found {
                event.expected = true;
                return Some((from + index, event.text.clone()));
            }
            from += events.len();

            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open_pipes == 0 || state.unexplained >= FLOOD {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The server's lines that no assertion has asked for, each with its mark.
    pub(crate) fn unexpected_lines(&self) -> Vec<String> {
        self.lock()
            .events
            .iter()
            .filter(|e| [Kind::Stdout, Kind::Stderr].contains(&e.kind) && !e.expected)
            // With `SERVER_ADDR` nothing waits for it, and it may come all the same.
            .filter(|e| !e.text.starts_with(LISTENING))
            .map(|e| format!("{} {}", e.kind.mark(), shorten(&e.text)))
            .collect()
    }

    /// All lines of one kind, asked for or not.
    pub(crate) fn lines(&self, kind: Kind) -> Vec<String> {
        let state = self.lock();
        let lines = state.events.iter().filter(|e| e.kind == kind);
        lines.map(|e| e.text.clone()).collect()
    }

    /// Whether one of this crate's own assertions has shown the log already.
    pub(crate) fn was_shown(&self) -> bool {
        self.lock().shown
    }

    /// The last events, one a line, and the state of the server.
    pub(crate) fn show(&self) -> String {
        let fate = self.fate();
        let mut state = self.lock();
        state.shown = true;
        let width = state.events.iter().map(|e| e.who.len()).max().unwrap_or(0);
        let left_out = state.events.len().saturating_sub(SHOWN_EVENTS);

        let mut text = String::from("what happened, in milliseconds since the start:\n");
        if left_out > 0 {
            let _ = writeln!(text, "         ({left_out} earlier events left out)");
        }
        for event in &state.events[left_out..] {
            let (at, mark) = (event.at.as_millis(), event.kind.mark());
            let shown = shorten(&event.text);
            let _ = writeln!(text, "{at:>7}  {:width$} {mark}  {shown}", event.who);
        }
        let _ = writeln!(text, "the server: {fate}");
        if fate != RUNS {
            let errors = state.events.iter().filter(|e| e.kind == Kind::Stderr);
            let errors: Vec<_> = errors.collect();
            for line in &errors[errors.len().saturating_sub(LAST_WORDS)..] {
                let _ = writeln!(text, "   its last words: {}", shorten(&line.text));
            }
        }
        text
    }

    /// Whether the server still runs, or how it has ended. It stays a zombie for whatever waits for
    /// it (`WNOWAIT`, waitid(2)).
    pub(crate) fn fate(&self) -> String {
        let (has_ended, status) = self.wait_for_end();
        if !has_ended {
            return RUNS.to_owned();
        }
        let end = status.map(|status| (status.exit_status(), status.terminating_signal()));
        let (code, signal) = end.unwrap_or_default();
        describe_end(code, signal)
    }

    /// Whether the server has ended, and the signal that has ended it.
    pub(crate) fn end(&self) -> (bool, Option<i32>) {
        let (has_ended, status) = self.wait_for_end();
        (
            has_ended,
            status.and_then(|status| status.terminating_signal()),
        )
    }

    fn wait_for_end(&self) -> (bool, Option<WaitIdStatus>) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut status = None;
        let patience = if self.is_open() { MOMENT } else { LAST_MOMENT };
        let has_ended = wait_at_most(patience, || {
            let result = waitid(WaitId::Pid(self.server), options);
            status = result.as_ref().ok().cloned().flatten();
            result.is_err() || status.is_some()
        });
        if has_ended {
            // Its last lines may still be in the pipes, and a busy machine takes its time to read them.
            wait_at_most(LAST_MOMENT, || self.is_at_rest(|| true));
            // The last one may have no newline. A child of its own could keep the pipes open.
            wait_at_most(MOMENT, || !self.is_open());
        }
        (has_ended, status)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Poisoned only if a test failed while it held the lock; what was logged is still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a process has ended, by its exit status or a signal.
pub(crate) fn describe_end(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("has ended, exit status {code}"),
        (None, Some(signal)) => format!("has ended, by signal {signal}"),
        (None, None) => "has ended".to_owned(),
    }
}

/// Waits until a read would not block, and reads nothing.
fn wait_for_bytes(pipe: &File) -> io::Result<()> {
    retry_on_intr(|| poll(&mut [PollFd::new(pipe, PollFlags::IN)], None))?;
    Ok(())
}

/// Bytes as in a Rust string literal, cut to what fits a line.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut escaped = bytes.escape_ascii().map(char::from);
    let shown: String = escaped.by_ref().take(SHOWN_BYTES).collect();
    match escaped.next() {
        Some(_) => format!("\"{shown}…\" ({} bytes)", bytes.len()),
        None => format!("\"{shown}\""),
    }
}

pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
