//! The end of the server: no client is accepted or read any more, and what is queued is delivered.

use std::io::{self, Read};
use std::net::Shutdown;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use mio::Events;

use crate::log::Log;
use crate::{ClientConnection, Server, TICK, limits, wait};

impl Server {
    /// Delivers until every client has received everything, the time is up, or a second signal comes.
    ///
    /// This takes the server apart. The listener goes first, so another server may have the address,
    /// and from then on the compiler refuses to accept, to read, or to broadcast.
    pub fn drain(mut self, events: &mut Events) -> Result<ExitCode> {
        drop(self.listener);
        let end = Instant::now() + limits::GRACE_TIME;
        loop {
            let (feed, registry, log) = (&self.feed, self.poll.registry(), &mut self.log);
            // No log line for a client that is closed: this is a shutdown, not a disconnect.
            self.connections.retain(|&token, connection| {
                if let Err(e) = connection.flush(feed, registry, log) {
                    let address = connection.address;
                    writeln!(log.err, "Write error for {token:?}: {e} ({address})");
                    return false;
                }
                connection.unsent(feed) > 0 || !connection.may_close(&mut *self.chunk)
            });
            if self.connections.is_empty() || self.signals_seen > 1 || Instant::now() >= end {
                break;
            }
            log.end_turn();
            // Some room is not reported by an event, and silence never is: hence the tick.
            wait(&mut self.poll, events, Some(TICK))?;
            self.signals_seen += self.signals.pending().count();
        }

        let clients = self.connections.values();
        let bytes: u64 = clients.map(|client| client.unsent(&self.feed)).sum();
        Ok(report_end(bytes, self.signals_seen > 1, &mut self.log))
    }
}

/// Reports what was not delivered. Returns the exit status.
fn report_end(bytes: u64, is_forced: bool, log: &mut Log) -> ExitCode {
    let undelivered = format!("{bytes} bytes undelivered");
    let seconds = limits::GRACE_TIME.as_secs();
    if is_forced {
        writeln!(log.err, "Ended by a second signal with {undelivered}");
    } else if bytes > 0 {
        writeln!(log.err, "Ended with {undelivered} after {seconds} s");
    }
    ExitCode::from(u8::from(is_forced))
}

impl ClientConnection {
    /// Lets a client that has received everything see end of file, and discards what it still sends,
    /// until it closes or is silent.
    ///
    /// To close a connection with bytes unread resets it, and a reset may destroy what is still on
    /// its way to the client (RFC 2525, section 2.17).
    fn may_close(&mut self, chunk: &mut [u8]) -> bool {
        let last_heard = self.last_heard.get_or_insert_with(Instant::now);
        // If this fails, the client is gone, and `read` finds out.
        let _ = self.stream.shutdown(Shutdown::Write);
        for _ in 0..limits::LAST_READS {
            match self.stream.read(chunk) {
                Ok(n) if n > 0 => *last_heard = Instant::now(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // End of file, or an error.
                _ => return true,
            }
        }
        last_heard.elapsed() >= limits::LINGER_TIME
    }
}
