//! Log lines that never harm: whoever reads them may be slow, or gone.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mio::Token;

use crate::limits::LOG_BACKLOG;

/// One of the two log streams. To write to it may block, and nothing else here does, so that has a
/// thread of its own. The event loop only puts lines where the thread finds them.
pub struct Output {
    /// The lines of this turn.
    turn: Vec<u8>,
    /// Lines that found no room since [`Output::take_dropped`].
    dropped: u64,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the thread has not begun to write.
    waiting: Vec<u8>,
    /// No more lines will come.
    finished: bool,
    /// The thread has ended: all is written, or nobody reads any more.
    ended: bool,
}

impl Output {
    /// Starts the thread that writes to `stream`.
    pub fn new(stream: impl Write + Send + 'static) -> io::Result<Output> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().spawn(move || {
            // An error means that nobody reads any more. `hand_over` counts the lines from now on.
            let _ = of_thread.write_all_to(stream);
            of_thread.lock().ended = true;
            of_thread.changed.notify_all();
        })?;
        Ok(Output {
            turn: Vec::new(),
            dropped: 0,
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

    /// Lets the thread have this turn's lines, or drops them where too many wait already.
    pub fn hand_over(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        if state.ended || state.waiting.len() > LOG_BACKLOG {
            self.dropped += self.turn.iter().filter(|&&byte| byte == b'\n').count() as u64;
        } else {
            state.waiting.append(&mut self.turn);
        }
        self.turn.clear();
        // Unlocked first, or the thread would wake up only to wait for the lock.
        drop(state);
        self.shared.changed.notify_one();
    }

    /// How many lines were dropped, as soon as there is room again.
    pub fn take_dropped(&mut self) -> Option<u64> {
        if self.dropped == 0 || self.shared.lock().waiting.len() > LOG_BACKLOG {
            return None;
        }
        Some(mem::take(&mut self.dropped))
    }

    /// Waits until all lines are written, but not longer than `patience`.
    pub fn finish(mut self, patience: Duration) {
        self.hand_over();
        let mut state = self.shared.lock();
        state.finished = true;
        self.shared.changed.notify_all();
        // Whether it came to its end or not, the process ends now.
        let _ = self
            .shared
            .changed
            .wait_timeout_while(state, patience, |state| !state.ended);
    }
}

impl Shared {
    /// The thread's work: writes what waits, until no more will come.
    fn write_all_to(&self, mut stream: impl Write) -> io::Result<()> {
        let mut lines = Vec::new();
        while self.wait_for(&mut lines) {
            stream.write_all(&lines)?;
            stream.flush()?;
            lines.clear();
        }
        Ok(())
    }

    /// Swaps what waits for the empty `lines`. Returns false when there is nothing to come.
    fn wait_for(&self, lines: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.finished {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        mem::swap(&mut state.waiting, lines);
        !lines.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; if so, the lines are still lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
