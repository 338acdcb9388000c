//! A log that does no harm: the reader of stdout or stderr may be slow, or gone.
//!
//! To write to them may block, and the event loop must not. So there is a thread for each that does
//! nothing else, and the loop sends it the lines of each turn. If too many lines wait for the thread,
//! further ones are dropped, and counted.

mod writer;

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use crate::limits;
use crate::log::writer::{Counts, PAUSE, count_lines, write_lines};

/// Activity is logged to `out`, errors to `err`. With `--quiet`, `out` has only which clients connect
/// and disconnect.
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

    /// Adds a line that is not about a client that connects or disconnects: what `writeln!(log, …)`
    /// calls.
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
        for (output, name) in [(&self.out, "stdout"), (&self.err, "stderr")] {
            let n = output.counts.dropped.swap(0, Relaxed);
            if n > 0 {
                let report = format!("Dropped {n} lines of {name}: they could not be written\n");
                // Even if too many are waiting: a lost report would take its count with it.
                self.err.send(report);
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
