//! The thread that writes a stream of the log. It may block: the event loop does not wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

/// Bytes that are written at a time. A pipe takes that many whole or not at all (`PIPE_BUF`, pipe(7)),
/// so it is known at any time which lines are out.
const PIECE: usize = 4096;

/// How long a thread waits for more lines when it has some. Waking it costs more than writing, so it
/// writes the lines of many turns at a time.
pub const PAUSE: Duration = Duration::from_millis(5);

/// What the event loop and the thread share.
#[derive(Default)]
pub struct Counts {
    /// Lines that are sent and not yet written.
    pub waiting: AtomicUsize,
    /// Lines that are lost and were not reported.
    pub dropped: AtomicUsize,
}

/// What the thread does, until the process ends.
pub fn write_lines(mut file: File, receiver: &Receiver<String>, counts: &Counts) {
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

pub fn count_lines(bytes: &[u8]) -> usize {
    // With a `u8`, the compiler compares and adds many bytes at once.
    let count = |part: &[u8]| part.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>();
    bytes.chunks(255).map(|part| usize::from(count(part))).sum()
}
