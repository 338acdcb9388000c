//! Log lines that never harm: whoever reads them may be slow, or gone.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Token;
use rustix::io::{ReadWriteFlags, pwritev2};

use crate::limits::{LOG_BACKLOG, LOG_PAUSE, LOG_PIECE};

/// One of the two log streams.
///
/// To write to it may block, and the event loop must not. So the loop writes only what is taken at
/// once, and leaves the rest to a thread that has nothing else to do.
pub struct Output {
    /// The lines of this turn.
    turn: Vec<u8>,
    shared: Arc<Shared>,
}

/// What the event loop and the thread share.
struct Shared {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<u8>,
    /// What the thread is writing now. It came before all that waits.
    piece: Vec<u8>,
    /// Lines that are lost and were not told of.
    dropped: u64,
    /// No more lines will come.
    is_finished: bool,
    /// The thread has ended, and all is written.
    has_ended: bool,
}

impl Output {
    /// Starts the thread that writes to `stream`, which is stdout or stderr.
    pub fn new(stream: impl AsFd) -> io::Result<Output> {
        let shared = Arc::new(Shared {
            file: File::from(stream.as_fd().try_clone_to_owned()?),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().spawn(move || of_thread.write_what_waits())?;
        Ok(Output {
            turn: Vec::new(),
            shared,
        })
    }

    /// Adds a line to this turn's.
    pub fn line(&mut self, line: fmt::Arguments) {
        // Writing to a `Vec` does not fail.
        let _ = writeln!(self.turn, "{line}");
    }

    /// Adds the line that comes with every delivery. It is put together by hand, because to format
    /// it takes five times as long.
    pub fn wrote(&mut self, bytes: usize, token: Token) {
        let mut digits = itoa::Buffer::new();
        self.turn.extend(b"Wrote ");
        self.turn.extend(digits.format(bytes).as_bytes());
        self.turn.extend(b" bytes to Token(");
        self.turn.extend(digits.format(token.0).as_bytes());
        self.turn.extend(b")\n");
    }

    /// Writes this turn's lines as far as that does not block, and lets the thread have the rest.
    /// Where too many wait for it already, they are dropped.
    pub fn hand_over(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        let written = match state.is_idle() {
            true => write_without_blocking(&self.shared.file, &self.turn),
            false => 0,
        };
        let rest = &self.turn[written..];
        if state.has_room() {
            state.waiting.extend(rest);
        } else {
            state.dropped += count_lines(rest);
        }
        let is_idle = state.is_idle();
        // Unlocked first, or the thread would wake up only to wait for the lock.
        drop(state);
        if !is_idle {
            self.shared.changed.notify_one();
        }
        self.turn.clear();
    }

    /// Whether further lines are written sooner or later, instead of dropped.
    pub fn has_room(&self) -> bool {
        self.shared.lock().has_room()
    }

    /// Whether lines were dropped and not told of.
    pub fn has_dropped(&self) -> bool {
        self.shared.lock().dropped > 0
    }

    /// How many lines were dropped and not told of. They count as told from now on.
    pub fn take_dropped(&self) -> u64 {
        mem::take(&mut self.shared.lock().dropped)
    }

    /// Waits until all lines are written, but not longer than `patience`. Returns how many lines are
    /// lost and were not told of.
    pub fn finish(mut self, patience: Duration) -> u64 {
        self.hand_over();
        let mut state = self.shared.lock();
        state.is_finished = true;
        self.shared.changed.notify_one();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        let (front, back) = state.waiting.as_slices();
        state.dropped + count_lines(&state.piece) + count_lines(front) + count_lines(back)
    }
}

impl Shared {
    /// The thread's work.
    fn write_what_waits(&self) {
        let mut state = self.lock();
        loop {
            state.piece.clear();
            if !state.waiting.is_empty() {
                let length = state.waiting.len().min(LOG_PIECE);
                state.piece = state.waiting.drain(..length).collect();
                let piece = state.piece.clone();
                drop(state);
                let written = write_all(&self.file, &piece);
                state = self.lock();
                state.dropped += count_lines(&piece[written..]);
            } else if !state.is_finished {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            } else {
                break;
            }
        }
        state.has_ended = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; if so, the lines are still lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.piece.is_empty()
    }

    fn has_room(&self) -> bool {
        self.waiting.len() <= LOG_BACKLOG
    }
}

/// Returns how much was taken. That is nothing where this kind of file can only be written to with
/// the risk to block, such as a terminal or a file on most disks: `EOPNOTSUPP`. (pwritev2(2) tells of
/// `RWF_NOWAIT` for reads only; a full pipe answers with `EAGAIN`.)
fn write_without_blocking(file: &File, bytes: &[u8]) -> usize {
    // This offset stands for the file's own position.
    let offset = u64::MAX;
    // An error is left to the thread, which finds it as well.
    pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// Returns how much was written. What was not is lost: nobody reads any more, or the disk is full.
fn write_all(mut file: &File, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOG_PAUSE),
            Err(_) => break,
        }
    }
    written
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
