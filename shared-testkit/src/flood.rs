//! A client that never stops sending.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Lines of 16 bytes that a [`Flooder`] sends in one write.
const LINES_PER_WRITE: u64 = 4096;

/// The lines with these numbers, as a [`Flooder`] sends them: 16 bytes each, so that a byte lost,
/// doubled or moved shows.
#[must_use]
pub fn numbered_lines(numbers: Range<u64>) -> String {
    let mut lines = String::new();
    for number in numbers {
        // Writing to a `String` does not fail.
        let _ = writeln!(lines, "{number:15}");
    }
    lines
}

/// A client that sends numbered lines, from 0 on, as fast as the server takes them, made by
/// [`Client::flood`](crate::Client::flood). It never reads. When it is dropped, its connection is
/// closed.
pub struct Flooder {
    stream: TcpStream,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flooder {
    pub(crate) fn start(stream: TcpStream) -> Flooder {
        let sent = Arc::new(AtomicU64::new(0));
        let of_thread = (
            stream.try_clone().expect("a second handle"),
            Arc::clone(&sent),
        );
        let thread = thread::spawn(move || {
            let (stream, sent) = of_thread;
            // Ends with an error, when the connection is closed by one side or the other.
            let _ = send_without_pause(stream, &sent);
        });
        Flooder {
            stream,
            sent,
            thread: Some(thread),
        }
    }

    /// How many whole lines the kernel has taken so far.
    #[must_use]
    pub fn lines_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn send_without_pause(mut stream: TcpStream, sent: &AtomicU64) -> io::Result<()> {
    // A server that holds it back for long is no reason to give up.
    stream.set_write_timeout(None)?;
    for first in (0..).step_by(LINES_PER_WRITE as usize) {
        stream.write_all(numbered_lines(first..first + LINES_PER_WRITE).as_bytes())?;
        sent.fetch_add(LINES_PER_WRITE, Ordering::Relaxed);
    }
    Ok(())
}

impl Drop for Flooder {
    fn drop(&mut self) {
        // Wakes the thread, if it waits. It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
