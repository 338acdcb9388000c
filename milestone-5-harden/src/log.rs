//! A log that does no harm: the reader of stdout or stderr may be slow, or gone.
//!
//! To write to them may block, and the event loop must not. So there is a thread for each that does
//! nothing else, and the loop hands over its lines once a turn. If too many lines wait for the
//! thread, further ones are dropped, and counted.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::limits::{LOG_PATIENCE, LOG_QUEUE, is_due};

/// Bytes that are written at a time. A pipe takes that many whole or not at all (`PIPE_BUF`, pipe(7)),
/// so it is known at any time which lines are out.
const PIECE: usize = 4096;

/// How long a thread rests after it has written. Waking it costs more than
/// writing, so it writes the lines of many turns at a time.
const PAUSE: Duration = Duration::from_millis(5);

/// Activity is logged to `out`, errors to `err`.
pub struct Log {
    pub out: Output,
    pub err: Output,
    last_report: Option<Instant>,
}

impl Log {
    pub fn new() -> io::Result<Log> {
        Ok(Log {
            out: Output::new(io::stdout())?,
            err: Output::new(io::stderr())?,
            last_report: None,
        })
    }

    /// Hands over the lines of this turn.
    pub fn end_turn(&mut self) {
        let dropped = self.out.end_turn() + self.err.end_turn();
        if dropped > 0 && is_due(&mut self.last_report) {
            self.report_dropped();
        }
    }

    fn report_dropped(&mut self) {
        let dropped = [self.out.take_dropped(), self.err.take_dropped()];
        for (lines, stream) in dropped.into_iter().zip(["stdout", "stderr"]) {
            if lines > 0 {
                writeln!(
                    self.err,
                    "Dropped {lines} lines of {stream}: they could not be written"
                );
            }
        }
        // Even if the queue is full: a lost report would take its counts with it.
        self.err.hand_over(usize::MAX);
    }
}

/// However the server ends, its last lines are written.
impl Drop for Log {
    fn drop(&mut self) {
        self.out.finish();
        self.report_dropped();
        self.err.finish();
    }
}

/// One of the two streams.
pub struct Output {
    /// The lines of this turn.
    turn: Vec<u8>,
    /// What the event loop and the thread share.
    state: Arc<Mutex<State>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that the thread is writing now.
    in_writing: usize,
    /// Lines that are lost and were not reported.
    dropped: usize,
    is_over: bool,
}

impl Output {
    fn new(stream: impl AsFd) -> io::Result<Output> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        let state = Arc::<Mutex<State>>::default();
        let of_thread = Arc::clone(&state);
        let thread = thread::Builder::new().spawn(move || write_lines(&file, &of_thread))?;
        Ok(Output {
            turn: Vec::new(),
            state,
            thread,
        })
    }

    /// Adds a line: this is what `writeln!` calls.
    pub fn write_fmt(&mut self, line: fmt::Arguments) {
        // Writing to a `Vec` does not fail.
        let _ = self.turn.write_fmt(line);
    }

    /// Hands over the lines of this turn. Returns how many are lost and were not reported.
    fn end_turn(&mut self) -> usize {
        self.hand_over(LOG_QUEUE)
    }

    /// The same, unless that many bytes are waiting already: then the lines are dropped.
    fn hand_over(&mut self, limit: usize) -> usize {
        let mut state = lock(&self.state);
        if !self.turn.is_empty() {
            if state.waiting.len() < limit {
                state.waiting.append(&mut self.turn);
            }
            state.dropped += count_lines(&self.turn);
            self.turn.clear();
            self.thread.thread().unpark();
        }
        state.dropped
    }

    fn take_dropped(&self) -> usize {
        mem::take(&mut lock(&self.state).dropped)
    }

    /// Waits until all lines are written, for [`LOG_PATIENCE`] at most. The others are lost.
    fn finish(&mut self) {
        self.end_turn();
        lock(&self.state).is_over = true;
        self.thread.thread().unpark();
        let end = Instant::now() + LOG_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(PAUSE);
        }
        let mut state = lock(&self.state);
        state.dropped += state.in_writing + count_lines(&state.waiting);
    }
}

/// What each of the threads does.
fn write_lines(file: &File, shared: &Mutex<State>) {
    loop {
        let mut state = lock(shared);
        let batch = mem::take(&mut state.waiting);
        state.in_writing = count_lines(&batch);
        let is_over = state.is_over;
        drop(state);

        let mut rest = &batch[..];
        while !rest.is_empty() {
            let piece = whole_lines(rest);
            rest = &rest[piece.len()..];
            let lost = write(file, piece);
            let mut state = lock(shared);
            state.in_writing -= count_lines(piece);
            state.dropped += lost;
        }
        match batch.is_empty() {
            true if is_over => return,
            true => thread::park(),
            false => thread::sleep(PAUSE),
        }
    }
}

/// As many lines as a piece has room for.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let piece = &bytes[..bytes.len().min(PIECE)];
    let end = piece.iter().rposition(|&byte| byte == b'\n');
    end.map_or(piece, |end| &piece[..=end])
}

/// Returns how many lines are lost: nobody reads any more, or the disk is full.
fn write(mut file: &File, mut bytes: &[u8]) -> usize {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Another program has made it non-blocking, and it is full.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => break,
        }
    }
    count_lines(bytes)
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No thread panics while it holds the lock, and if one did, lines are still lines.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
