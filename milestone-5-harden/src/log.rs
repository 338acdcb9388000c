//! A log that does no harm: the reader of stdout or stderr may be slow, or gone.
//!
//! To write to them may block, and the event loop must not. So there is a thread for each that does
//! nothing else, and the loop sends it the lines of each turn. If too many lines wait for the thread,
//! further ones are dropped, and counted.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits;

/// Bytes that are written at a time. A pipe takes that many whole or not at all (`PIPE_BUF`, pipe(7)),
/// so it is known at any time which lines are out.
const PIECE: usize = 4096;

/// How long a thread waits for more lines when it has some. Waking it costs more than writing, so it
/// writes the lines of many turns at a time.
const PAUSE: Duration = Duration::from_millis(5);

/// Activity is logged to `out`, errors to `err`. With `--quiet`, `out` has only who comes and who goes.
pub struct Log {
    pub out: Output,
    pub err: Output,
    is_quiet: bool,
    last_report: Option<Instant>,
}

impl Log {
    pub fn new(is_quiet: bool) -> io::Result<Log> {
        Ok(Log {
            out: Output::new(io::stdout())?,
            err: Output::new(io::stderr())?,
            is_quiet,
            last_report: None,
        })
    }

    /// Adds a line that is not about who comes and who goes: what `writeln!(log, …)` calls.
    pub fn write_fmt(&mut self, line: fmt::Arguments) {
        if !self.is_quiet {
            self.out.write_fmt(line);
        }
    }

    /// Has the lines of this turn written.
    pub fn end_turn(&mut self) {
        let dropped = self.out.hand_over() + self.err.hand_over();
        if dropped > 0 && limits::is_due(&mut self.last_report) {
            self.report_dropped();
        }
    }

    fn report_dropped(&mut self) {
        for (output, stream) in [(&self.out, "stdout"), (&self.err, "stderr")] {
            let lines = output.counts.dropped.swap(0, Relaxed);
            if lines > 0 {
                // Even if too many are waiting: a lost report would take its count with it.
                let why = "they could not be written";
                self.err
                    .send(format!("Dropped {lines} lines of {stream}: {why}\n"));
            }
        }
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
    /// The lines of this turn.
    lines: String,
    sender: Sender<String>,
    counts: Arc<Counts>,
}

/// What the event loop and the thread share.
#[derive(Default)]
struct Counts {
    /// Lines that are sent and not yet written.
    waiting: AtomicUsize,
    /// Lines that are lost and were not reported.
    dropped: AtomicUsize,
}

impl Output {
    fn new(stream: impl AsFd) -> io::Result<Output> {
        let file = File::from(stream.as_fd().try_clone_to_owned()?);
        let (sender, receiver) = mpsc::channel();
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        thread::Builder::new().spawn(move || write_lines(file, &receiver, &shared))?;
        Ok(Output {
            lines: String::new(),
            sender,
            counts,
        })
    }

    /// Adds a line: this is what `writeln!` calls.
    pub fn write_fmt(&mut self, line: fmt::Arguments) {
        // Writing to a `String` does not fail.
        let _ = self.lines.write_fmt(line);
    }

    /// Sends the lines of this turn to the thread, unless too many are waiting. Returns how many lines
    /// are lost and were not reported.
    fn hand_over(&mut self) -> usize {
        let lines = self.lines.split_off(0);
        if lines.is_empty() {
            // Do not wake the thread.
        } else if self.counts.waiting.load(Relaxed) < limits::LOG_QUEUE {
            self.send(lines);
        } else {
            let count = count_lines(lines.as_bytes());
            self.counts.dropped.fetch_add(count, Relaxed);
        }
        self.counts.dropped.load(Relaxed)
    }

    fn send(&self, lines: String) {
        let count = count_lines(lines.as_bytes());
        self.counts.waiting.fetch_add(count, Relaxed);
        // The thread ends after the sender does.
        let _ = self.sender.send(lines);
    }

    /// Waits until all lines are written, for [`limits::LOG_PATIENCE`] at most. The others are lost.
    fn finish(&self) {
        let end = Instant::now() + limits::LOG_PATIENCE;
        while self.counts.waiting.load(Relaxed) > 0 && Instant::now() < end {
            thread::sleep(PAUSE);
        }
        let lost = self.counts.waiting.load(Relaxed);
        self.counts.dropped.fetch_add(lost, Relaxed);
    }
}

/// What each of the threads does, until the process ends.
fn write_lines(mut file: File, receiver: &Receiver<String>, counts: &Counts) {
    for mut lines in receiver {
        lines.extend(receiver.try_iter());
        let mut rest = lines.as_bytes();
        while !rest.is_empty() {
            let piece = first_piece(rest);
            match file.write_all(piece) {
                // Another program has made it non-blocking, and it is full.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(PAUSE);
                    continue;
                }
                // Nobody reads any more, or the disk is full.
                Err(_) => drop(counts.dropped.fetch_add(count_lines(piece), Relaxed)),
                Ok(()) => {}
            }
            counts.waiting.fetch_sub(count_lines(piece), Relaxed);
            rest = &rest[piece.len()..];
        }
        thread::sleep(PAUSE);
    }
}

/// As many lines as a piece has room for.
fn first_piece(lines: &[u8]) -> &[u8] {
    let piece = &lines[..lines.len().min(PIECE)];
    let end = piece.iter().rposition(|&byte| byte == b'\n');
    end.map_or(lines, |end| &lines[..=end])
}

fn count_lines(bytes: &[u8]) -> usize {
    // With a `u8`, the compiler compares and adds many bytes at once.
    let count = |part: &[u8]| part.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>();
    bytes.chunks(255).map(|part| usize::from(count(part))).sum()
}
