//! Every limit of the server, with its unit and its reason.

use std::io::{self, Write};
use std::time::Duration;

use crate::DEFAULT_ADDRESS;

/// Bytes of a line, without its newline. Longer than anything a person types. A client that sends
/// more without a newline is closed: a single line could fill the memory.
pub const MAX_LINE: usize = 64 << 10;

/// Connections accepted in one turn, so that a flood of them leaves the clients their share.
pub const ACCEPT_BUDGET: usize = 256;

/// Minimum interval between repeats of a warning.
pub const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes read from one client at a time, so that a client which never stops sending leaves the others
/// their share. Large enough that a `read` is worth its cost, and not longer than a line may be: see
/// `take_lines`.
pub const READ_BUDGET: usize = 64 << 10;

/// Bytes of lines after which no other client is read in this turn.
pub const TURN_BUDGET: usize = 128 << 10;

/// How often a turn looks for more events before it writes. Lines that arrive together go out
/// together, and nobody's line is delayed for long.
pub const MAX_LOOKS: usize = 10;

/// Unsent bytes above which a client is a slow reader, and bulk senders wait for it. The kernel's
/// send buffer comes first and holds some MiB, so a reader that keeps up does not get here.
pub const HIGH_WATER: u64 = 64 << 10;

/// Bytes read from one client at a time while a reader is slow. Enough for interactive use; a client
/// that has more to say is a bulk sender.
pub const TALK_BUDGET: usize = 8 << 10;

/// Bytes of lines accepted from all clients together in a [`TALK_PERIOD`] while a reader is slow.
/// Two hundred typed lines, and little for a reader that is slow but steady.
pub const TALK_TOTAL: usize = 16 << 10;

/// How often talk is renewed while a reader is slow, and the interval for retrying writes to it.
pub const TALK_PERIOD: Duration = Duration::from_secs(1);

/// How long a client may be a slow reader without a break. All bulk senders wait for as long.
pub const STALL_TIME: Duration = Duration::from_secs(10);

/// How long the server delivers what is queued after the first SIGINT or SIGTERM.
pub const GRACE_TIME: Duration = Duration::from_secs(5);

/// At the end, how long a client that has everything may be silent before it is closed.
pub const LINGER_TIME: Duration = Duration::from_millis(100);

/// At the end, reads from one client before others are written to again.
pub const LAST_READS: usize = 16;

/// Bytes of log lines that are kept while nobody reads them. Further lines are dropped.
pub const LOG_QUEUE: usize = 256 << 10;

/// How long the end waits for a reader of stdout, and then for one of stderr.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// What `--help` says.
pub fn print_help() -> io::Result<()> {
    writeln!(
        io::stdout(),
        "\
Passes every line that a client sends on to all other clients.

Usage: milestone-5-harden [ADDRESS]

ADDRESS is HOST:PORT by number, such as {DEFAULT_ADDRESS} (the default) or [::1]:8080.
Port 0 lets the kernel choose. The first line on stderr reports the address.

Limits:
  a line                  {MAX_LINE} bytes; a client that sends a longer one is closed
  reading                 {READ_BUDGET} bytes from one client at a time
  a client's queue        {HIGH_WATER} bytes; above that, a client that sends more than
                          {TALK_BUDGET} bytes at once has to wait, and all others together
                          may send {TALK_TOTAL} bytes a second; the client is closed after
                          {stall} s above that
  lines of the log        {LOG_QUEUE} bytes if nobody reads them; more are dropped and counted
  clients                 as many as there are descriptors (ulimit -n); others stay pending

Signals:
  SIGINT, SIGTERM         accept and read no more, deliver what is queued for at most {grace} s,
                          and end with status 0; a second one ends the server at once

Activity is logged to stdout, errors to stderr.",
        stall = STALL_TIME.as_secs(),
        grace = GRACE_TIME.as_secs(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue holds what is below the mark, the turn that exceeds it, and talk for as long as a
    /// reader may stall. The last read of a turn and of a period may exceed their budgets.
    #[test]
    fn a_queue_stays_below_1_mib() {
        let turn = TURN_BUDGET + MAX_LINE + READ_BUDGET;
        let periods = STALL_TIME.as_secs() / TALK_PERIOD.as_secs() + 2;
        let talk = periods as usize * TALK_TOTAL + MAX_LINE + TALK_BUDGET;
        assert!(HIGH_WATER as usize + turn + talk <= 1 << 20);
    }
}
