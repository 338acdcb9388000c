//! A log that does no harm: the reader of stdout or stderr may be slow, or gone.
//!
//! To write to them may block, and the event loop must not. So there is a thread for each that does
//! nothing else, and the loop hands it the lines of each turn. If too many lines wait for the thread,
//! further ones are dropped, and counted.

use std::fmt::{self, Write as _};
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

/// How long a thread rests when less than a piece is waiting. Waking it costs more than writing, so
/// it writes the lines of many turns at a time.
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

    /// Has the lines of this turn written.
    pub fn end_turn(&mut self) {
        let dropped = self.out.hand_over() + self.err.hand_over();
        if dropped > 0 && is_due(&mut self.last_report) {
            self.report_dropped();
        }
    }

    fn report_dropped(&mut self) {
        for (output, stream) in [(&self.out, "stdout"), (&self.err, "stderr")] {
            let lines = mem::take(&mut lock(&output.state).dropped);
            if lines > 0 {
                // Even if the queue is full: a lost report would take its count with it.
                let report =
                    format!("Dropped {lines} lines of {stream}: they could not be written\n");
                lock(&self.err.state).waiting.push_str(&report);
            }
        }
        self.err.hand_over();
    }
}

/// However the server ends, its last lines are written.
impl Drop for Log {
    fn drop(&mut self) {
        self.end_turn();
        self.out.finish();
        self.report_dropped();
        self.err.finish();
    }
}

/// One of the two streams.
pub struct Output {
    /// The lines of this turn. The thread does not see them, so adding one takes no lock.
    lines: String,
    /// What the event loop and the thread share.
    state: Arc<Mutex<State>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Lines stay here until they are written.
    waiting: String,
    /// Lines that are lost and were not reported.
    dropped: usize,
}

impl Output {
    fn new(stream: impl AsFd) -> io::Result<Output> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        let state = Arc::<Mutex<State>>::default();
        let of_thread = Arc::clone(&state);
        let thread = thread::Builder::new().spawn(move || write_lines(&file, &of_thread))?;
        Ok(Output {
            lines: String::new(),
            state,
            thread,
        })
    }

    /// Adds a line: this is what `writeln!` calls.
    pub fn write_fmt(&mut self, line: fmt::Arguments) {
        // Writing to a `String` does not fail.
        let _ = self.lines.write_fmt(line);
    }

    /// Hands the lines of this turn to the thread, unless too many are waiting. Returns how many lines
    /// are lost and were not reported.
    fn hand_over(&mut self) -> usize {
        let mut state = lock(&self.state);
        if state.waiting.len() < LOG_QUEUE {
            state.waiting.push_str(&self.lines);
        } else {
            state.dropped += count_lines(self.lines.as_bytes());
        }
        self.lines.clear();
        if !state.waiting.is_empty() {
            self.thread.thread().unpark();
        }
        state.dropped
    }

    /// Waits until all lines are written, for [`LOG_PATIENCE`] at most. The others are lost.
    fn finish(&self) {
        let end = Instant::now() + LOG_PATIENCE;
        while !lock(&self.state).waiting.is_empty() && Instant::now() < end {
            thread::sleep(PAUSE);
        }
        let mut state = lock(&self.state);
        state.dropped += count_lines(state.waiting.as_bytes());
    }
}

/// What each of the threads does, until the process ends.
fn write_lines(file: &File, shared: &Mutex<State>) {
    loop {
        let piece = first_piece(&lock(shared).waiting).to_owned();
        if piece.is_empty() {
            thread::park();
            continue;
        }
        let lost = write(file, piece.as_bytes());
        let mut state = lock(shared);
        state.waiting.drain(..piece.len());
        state.dropped += lost;
        if state.waiting.len() < PIECE {
            drop(state);
            thread::sleep(PAUSE);
        }
    }
}

/// As many lines as a piece has room for.
fn first_piece(lines: &str) -> &str {
    let piece = &lines.as_bytes()[..lines.len().min(PIECE)];
    let end = piece.iter().rposition(|&byte| byte == b'\n');
    end.map_or(lines, |end| &lines[..=end])
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
