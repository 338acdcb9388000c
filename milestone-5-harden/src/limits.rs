//! Every limit of the server, with its unit and its reason.

use std::time::{Duration, Instant};

/// Bytes of a line, without its newline. Longer than anything a person types. A client that sends
/// more is closed: a single line without a newline could fill the memory.
pub const MAX_LINE: usize = 64 << 10;

/// Connections accepted in one turn, so that a flood of them leaves the clients their share.
pub const ACCEPT_BUDGET: usize = 64;

/// Minimum interval between repeats of a warning.
pub const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Whether a warning may be reported, given when it last was. If so, it counts as reported now.
pub fn is_due(last_report: &mut Option<Instant>) -> bool {
    let is_due = last_report.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
    if is_due {
        *last_report = Some(Instant::now());
    }
    is_due
}

/// Bytes read from one client before the others have their turn. Large enough to make a `read` worth
/// its cost, and not longer than a line may be: see `take_lines`.
pub const READ_BUDGET: usize = 64 << 10;

/// Bytes of lines after which no other client is read in this turn.
pub const TURN_BUDGET: u64 = 128 << 10;

/// Unsent bytes above which a client is a slow reader, and bulk senders wait for it. The kernel's
/// send buffer comes first and holds some MiB, so a reader that keeps up does not get here.
pub const HIGH_WATER: u64 = 64 << 10;

/// Bytes read from one client at a time while a reader is slow. Enough for interactive use; a client
/// that exceeds it is a bulk sender.
pub const TALK_BUDGET: usize = 8 << 10;

/// Bytes of lines that all clients together may send in a [`TALK_PERIOD`] while a reader is slow.
/// Two hundred typed lines, and little for a reader that is slow but steady.
pub const TALK_TOTAL: u64 = 16 << 10;

/// How often the talk is renewed, and the interval for retrying writes to slow readers.
pub const TALK_PERIOD: Duration = Duration::from_secs(1);

/// How long a client may be a slow reader without a break: bulk senders wait that long.
pub const STALL_TIME: Duration = Duration::from_secs(10);

/// How long the server delivers what is queued after the first SIGINT or SIGTERM.
pub const GRACE_TIME: Duration = Duration::from_secs(5);

/// At the end, how long a client that has received everything may be silent before it is closed.
pub const LINGER_TIME: Duration = Duration::from_millis(100);

/// At the end, reads from one client before others are written to again.
pub const LAST_READS: usize = 16;

/// Bytes of log lines that may wait for a reader. While there are more, the lines of a turn are dropped.
pub const LOG_QUEUE: usize = 256 << 10;

/// How long the end waits for a reader of stdout, and then for one of stderr.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// What `--help` prints. The test below compares the numbers.
pub const HELP: &str = "\
Passes every line that a client sends on to all other clients.

Usage: milestone-5-harden [ADDRESS]

ADDRESS is HOST:PORT by number, such as 127.0.0.1:8080 (the default) or [::1]:8080.
Port 0 lets the kernel choose. The first line on stderr reports the address.

Limits:
  a line                  65536 bytes; a client that sends a longer one is closed
  reading                 65536 bytes from one client before the others have their turn
  a client's queue        65536 bytes; above that, a client that sends more than 8192
                          bytes at once has to wait, and all others together may send
                          16384 bytes a second; the client is closed after 10 s of it
  lines of the log        262144 bytes if nobody reads them; more are dropped and counted
  clients                 as many as there are descriptors (ulimit -n); others stay pending

Signals:
  SIGINT, SIGTERM         accept and read no more, deliver what is queued for at most 5 s,
                          and end with status 0; a second one ends the server at once

Activity is logged to stdout, errors to stderr.
";

#[cfg(test)]
mod tests {
    use super::*;

    /// Below the mark, the turn that exceeds it, and talk for as long as a reader may be slow. The last
    /// read of the turn, and of the talk, may exceed its budget.
    #[test]
    fn a_queue_is_at_most_1_mib() {
        let turn = TURN_BUDGET + (MAX_LINE + READ_BUDGET) as u64;
        let seconds = STALL_TIME.as_secs() + 2 * TALK_PERIOD.as_secs();
        let talk = seconds * TALK_TOTAL + (MAX_LINE + TALK_BUDGET) as u64;
        assert!(HIGH_WATER + turn + talk <= 1 << 20);
    }

    #[test]
    fn the_help_states_the_limits() {
        for limit in [
            format!("a line                  {MAX_LINE} bytes"),
            format!("reading                 {READ_BUDGET} bytes"),
            format!("a client's queue        {HIGH_WATER} bytes"),
            format!("more than {TALK_BUDGET}\n"),
            format!("{TALK_TOTAL} bytes a second"),
            format!("after {} s of it", STALL_TIME.as_secs()),
            format!("lines of the log        {LOG_QUEUE} bytes"),
            format!("for at most {} s", GRACE_TIME.as_secs()),
        ] {
            assert!(HELP.contains(&limit), "{limit}");
        }
    }
}
