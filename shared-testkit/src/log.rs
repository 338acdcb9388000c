//! The log of a test: the server's lines and the clients' actions, in order, with their times.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use predicates::Predicate;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Pid;

use crate::lines::LISTENING;
use crate::proc::process;
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

/// How long a failure waits for the end of a server that sleeps: its connections may have closed just now.
const MOMENT: Duration = Duration::from_millis(100);

/// The same for the end of a server that works.
const WORK: Duration = Duration::from_secs(2);

/// How long it waits if the server has closed its pipes: then the end is near, even on a busy machine.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// The indentation of a further line of what was expected or received.
pub(crate) const INDENT: &str = "            ";

/// That many lines that no action of the test explains are a flood, whatever they say.
const FLOOD: usize = 100_000;

/// How many lines one action explains. One after which megabytes flow may cause more.
const EXPLAINED: usize = 100;

/// More bytes of a client are not kept: those of a flood would fill the memory.
const MOST_BYTES: usize = 32 << 20;

/// A wait lasts at most so many times the usual time if there is progress.
const LONG: u32 = 2;

/// What kind of event this is, by its mark in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
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

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// Those of stdout and stderr that can still bring a line.
    pipes: Vec<Pipe>,
    conversations: Vec<Arc<Mutex<Conversation>>>,
    /// How many lines the server has printed that no action of the test's explains.
    unexplained: usize,
}

impl State {
    fn pipe(&self, file: &Arc<File>) -> Option<&Pipe> {
        let mut pipes = self.pipes.iter();
        pipes.find(|pipe| Arc::ptr_eq(&pipe.file, file))
    }
}

struct Pipe {
    file: Arc<File>,
    /// All of it, not only what comes first.
    is_read: bool,
}

/// What a client has sent and received.
#[derive(Clone)]
pub(crate) struct Conversation {
    pub name: String,
    pub address: SocketAddr,
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    /// How much each of the others had sent when it connected.
    pub before: Vec<(SocketAddr, usize)>,
    /// Whether it has sent end of file.
    pub has_half_closed: bool,
    /// How many bytes it has sent and received.
    pub bytes: usize,
    /// Whether more than [`MOST_BYTES`] were sent or received, and the others are not kept.
    pub is_cut: bool,
    /// Gone when the client is dropped.
    pub stream: Weak<TcpStream>,
}

/// One log for a server and all its clients.
pub(crate) struct Log {
    /// The test, whichever of its threads fails.
    pub test: Option<String>,
    start: Instant,
    pub server: Pid,
    /// Where the server was to listen.
    pub wanted: Option<SocketAddr>,
    /// What strace makes fail, such as `accept fail with EINTR`.
    pub injection: Option<String>,
    /// Where the server listens, once it is known.
    pub address: OnceLock<SocketAddr>,
    /// Whether the test has asked the server to end.
    pub is_asked_to_end: AtomicBool,
    /// How it has ended, once it is no zombie any more.
    pub end: OnceLock<ExitStatus>,
    /// Whether a client's actions are not logged: then any number of lines may have a cause.
    pub has_bare_client: AtomicBool,
    /// Whether a failure has shown this log already.
    pub was_shown: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Log {
    /// An empty log for this server, whose stdout and stderr are pipes.
    pub(crate) fn new(server: Pid, wanted: Option<SocketAddr>, injection: Option<String>) -> Log {
        Log {
            test: thread::current().name().map(str::to_owned),
            injection,
            start: Instant::now(),
            server,
            wanted,
            address: OnceLock::new(),
            is_asked_to_end: AtomicBool::new(false),
            end: OnceLock::new(),
            has_bare_client: AtomicBool::new(false),
            was_shown: AtomicBool::new(false),
            state: Mutex::default(),
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

    /// Notes a new client.
    pub(crate) fn add_client(
        &self,
        name: &str,
        address: SocketAddr,
        stream: &Arc<TcpStream>,
    ) -> Arc<Mutex<Conversation>> {
        let mut state = self.lock();
        let sent = |other: &Arc<Mutex<Conversation>>| {
            let other = lock(other);
            (!other.sent.is_empty()).then_some((other.address, other.sent.len()))
        };
        let conversation = Arc::new(Mutex::new(Conversation {
            name: name.to_owned(),
            address,
            sent: Vec::new(),
            received: Vec::new(),
            before: state.conversations.iter().filter_map(sent).collect(),
            has_half_closed: false,
            bytes: 0,
            is_cut: false,
            stream: Arc::downgrade(stream),
        }));
        state.conversations.push(Arc::clone(&conversation));
        conversation
    }

    /// From now on, a client's bytes are not logged, and nothing can be compared.
    pub(crate) fn forget_client(&self, client: &Mutex<Conversation>) {
        lock(client).stream = Weak::new();
        self.has_bare_client.store(true, Relaxed);
    }

    /// Receives what has arrived at the clients.
    pub(crate) fn receive_all(&self) {
        let mut chunk = vec![0; 64 << 10];
        for client in &self.lock().conversations {
            let mut client = lock(client);
            if let Some(stream) = client.stream.upgrade() {
                while !client.is_cut && client.receive(&stream, &mut chunk).is_ok_and(|n| n > 0) {}
            }
        }
    }

    pub(crate) fn conversations(&self) -> Vec<Conversation> {
        let state = self.lock();
        let clients = state.conversations.iter();
        clients.map(|client| lock(client).clone()).collect()
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

    /// Takes charge of one of the server's pipes: moves what arrives into the log, line by line, so that
    /// the pipe never fills. One that is to be left unread is read only once. The thread ends with the pipe.
    pub(crate) fn add_pipe(self: &Arc<Log>, kind: Kind, pipe: OwnedFd, is_read: bool) {
        let (log, file) = (Arc::clone(self), Arc::new(File::from(pipe)));
        self.lock().pipes.push(Pipe {
            file: Arc::clone(&file),
            is_read,
        });
        thread::spawn(move || {
            let mut partial = Vec::new();
            while wait_for_bytes(&file).is_ok()
                && log.add_lines(&file, kind, &mut partial)
                && log.wait_until_read(&file)
            {}
            if !partial.is_empty() {
                log.add(SERVER, kind, String::from_utf8_lossy(&partial));
            }
            let mut state = log.lock();
            state.pipes.retain(|pipe| !Arc::ptr_eq(&pipe.file, &file));
            log.changed.notify_all();
        });
    }

    /// Waits while a pipe is to be left unread. Returns `false` if it is to be closed.
    fn wait_until_read(&self, file: &Arc<File>) -> bool {
        let is_unread = |state: &mut State| state.pipe(file).is_some_and(|pipe| !pipe.is_read);
        let state = self.changed.wait_while(self.lock(), is_unread);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.pipe(file).is_some()
    }

    /// Reads all pipes from now on.
    pub(crate) fn read_output(&self) {
        for pipe in &mut self.lock().pipes {
            pipe.is_read = true;
        }
        self.changed.notify_all();
    }

    /// Closes the pipes that are not read.
    pub(crate) fn close_output(&self) {
        self.lock().pipes.retain(|pipe| pipe.is_read);
        self.changed.notify_all();
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
                state.unexplained += usize::from(!self.has_bare_client.load(Relaxed));
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

    /// Whether a pipe is read that has not ended.
    pub(crate) fn is_reading(&self) -> bool {
        self.lock().pipes.iter().any(|pipe| pipe.is_read)
    }

    /// Whether the server can still print something.
    pub(crate) fn is_open(&self) -> bool {
        !self.lock().pipes.is_empty()
    }

    /// Whether the server sleeps and everything that it has printed is logged. No pipe is read in the
    /// meantime: a server that waits for room in a full pipe sleeps, too.
    pub(crate) fn is_at_rest(&self, sleeps: impl FnOnce() -> bool) -> bool {
        let state = self.lock();
        let is_empty = |pipe: &Pipe| ioctl_fionread(&pipe.file).expect("a pipe has a length") == 0;
        sleeps()
            && state
                .pipes
                .iter()
                .all(|pipe| !pipe.is_read || is_empty(pipe))
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
        let mut deadline = Deadline::new();
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
            if state.pipes.is_empty() || state.unexplained >= FLOOD {
                return None;
            }
            drop(state);
            let left = deadline.left(self)?;
            state = self.lock();
            if state.events.len() == from && !state.pipes.is_empty() {
                let result = self.changed.wait_timeout(state, left);
                state = result.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// The server's lines that no assertion has asked for.
    pub(crate) fn unexpected_lines(&self) -> Vec<(Kind, String)> {
        let state = self.lock();
        let lines = state.events.iter();
        lines
            .filter(|e| [Kind::Stdout, Kind::Stderr].contains(&e.kind) && !e.expected)
            // With `SERVER_ADDR` nothing waits for it, and it may come all the same.
            .filter(|e| !e.text.starts_with(LISTENING))
            .map(|e| (e.kind, e.text.clone()))
            .collect()
    }

    /// All lines of one kind, asked for or not.
    pub(crate) fn lines(&self, kind: Kind) -> Vec<String> {
        let state = self.lock();
        let lines = state.events.iter().filter(|e| e.kind == kind);
        lines.map(|e| e.text.clone()).collect()
    }

    /// The last events, one a line, and the state of the server.
    pub(crate) fn show(&self) -> String {
        let end = self.wait_for_end();
        self.was_shown.store(true, Relaxed);
        let state = self.lock();
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
        let Some(end) = end else {
            return text + "the server: still runs\n";
        };
        let _ = writeln!(text, "the server: has ended, {}", described(end));
        let errors = state.events.iter().filter(|e| e.kind == Kind::Stderr);
        let errors: Vec<_> = errors.collect();
        for line in &errors[errors.len().saturating_sub(LAST_WORDS)..] {
            let _ = writeln!(text, "   its last words: {}", shorten(&line.text));
        }
        text
    }

    /// How the server has ended, or is about to end.
    pub(crate) fn wait_for_end(&self) -> Option<ExitStatus> {
        let moment = Instant::now() + MOMENT;
        let is_done = || Instant::now() > moment && process::is_asleep(self.server);
        let patience = if self.is_open() { WORK } else { LAST_MOMENT };
        wait_at_most(patience, || {
            self.ended().is_some() || self.is_open() && is_done()
        });
        let end = self.ended()?;
        // Its last lines may still be in the pipes, and a busy machine takes its time to read them.
        wait_at_most(LAST_MOMENT, || self.is_at_rest(|| true));
        // The last one may have no newline. A child of its own could keep the pipes open.
        wait_at_most(MOMENT, || !self.is_open());
        Some(end)
    }

    /// How it has ended, if it has by now, and whatever traces it knows.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        let end = self.end.get().copied();
        end.or_else(|| process::end(self.server))
    }

    /// How many lines and bytes have come so far.
    fn progress(&self) -> usize {
        let state = self.lock();
        let bytes = state.conversations.iter().map(|client| lock(client).bytes);
        state.events.len() + bytes.sum::<usize>()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Poisoned only if a test failed while it held the lock; what was noted is still true.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conversation {
    /// Sends what there is room for, and notes it.
    pub(crate) fn send(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let n = retry_on_intr(|| send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))?;
        self.bytes += n;
        keep(&mut self.sent, &bytes[..n], &mut self.is_cut);
        Ok(n)
    }

    /// Receives what has arrived, and notes it: in one step, so that the order is known.
    pub(crate) fn receive(&mut self, stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let (n, _) = retry_on_intr(|| recv(stream, &mut *buffer, RecvFlags::DONTWAIT))?;
        self.bytes += n;
        keep(&mut self.received, &buffer[..n], &mut self.is_cut);
        Ok(n)
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8], is_cut: &mut bool) {
    *is_cut |= kept.len() + bytes.len() > MOST_BYTES;
    if !*is_cut {
        kept.extend(bytes);
    }
}

/// The end of a wait: twenty seconds after its beginning, unless it is put off, by five seconds each time.
///
/// Bytes and lines that still come put it off until [`LONG`]: beside a flood they never stop.
pub(crate) struct Deadline {
    start: Instant,
    end: Instant,
    /// How many lines and bytes had come at the last look. `None` before the first: most of what is waited
    /// for is there already.
    seen: Option<usize>,
}

impl Deadline {
    pub(crate) fn new() -> Deadline {
        let start = Instant::now();
        Deadline {
            start,
            end: start + patience(),
            seen: None,
        }
    }

    /// How long to wait yet. `None` if there is no use.
    pub(crate) fn left(&mut self, log: &Log) -> Option<Duration> {
        let before = *self.seen.get_or_insert_with(|| log.progress());
        let left = self.end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        let more = patience() / 4;
        self.end += more;
        self.seen = Some(log.progress());
        let goes_on = self.seen != Some(before) && self.end <= self.start + patience() * LONG;
        goes_on.then_some(more)
    }
}

/// An exit status or a signal, as a part of a sentence.
pub(crate) fn described(end: ExitStatus) -> String {
    end.to_string().replacen(": ", " ", 1)
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
