//! Every limit of the server, with its unit and its reason.

use std::time::{Duration, Instant};

/// Bytes of a line, without its newline. Longer than anything a person types. A client that sends
/// more is closed: a single line without a newline could fill the memory.
pub const MAX_LINE: usize = 64 << 10;

/// Connections that may be pending, unless the kernel allows fewer (`somaxconn`, listen(2)).
pub const BACKLOG: i32 = 4096;

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

/// Bytes after which no other client is read in this turn.
pub const TURN_BUDGET: u64 = 128 << 10;

/// Bytes after which no other talker is read in this turn. What is left is for bulk senders.
pub const TALKERS_SHARE: u64 = 64 << 10;

/// Bytes that a client may send in a second. One that sends more is a bulk sender. Enough for
/// interactive use.
pub const TALK_BUDGET: u64 = 8 << 10;

/// Bytes written to one client before the others have their turn.
pub const WRITE_BUDGET: u64 = 256 << 10;

/// Unsent bytes above which a client is a slow reader, and bulk senders wait for it. The kernel's
/// send buffer comes first and holds some MiB, so a reader that keeps up does not get here often.
pub const HIGH_WATER: u64 = 64 << 10;

/// While a reader is slow, the budgets of a turn are renewed after such a time, not with each turn.
pub const PERIOD: Duration = Duration::from_millis(8);

/// Bytes after which no other talker is read in this [`PERIOD`], while bulk senders wait.
pub const TALK_TOTAL: u64 = 64;

/// Bytes read from a talker at a time while bulk senders wait. A short line fits, and a client with a
/// longer one comes later for the next piece. With the last piece, all clients together send at most
/// 24 KB a second: hundreds of typed lines, and little for a reader that is slow but steady.
pub const TALK_PIECE: usize = 128;

/// The interval for retrying writes to slow readers: not all room is reported by an event.
pub const RETRY_PERIOD: Duration = Duration::from_millis(250);

/// How long a slow reader that receives nothing counts as one that reads.
pub const READING_TIME: Duration = Duration::from_secs(2);

/// How long a slow reader may receive nothing.
pub const STALL_TIME: Duration = Duration::from_secs(10);

/// How long bulk senders wait for slow readers that are few. Then they go on, at [`TURN_BUDGET`] bytes in
/// a [`PERIOD`]: 16 MB a second.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The patience refills by the time that passes, divided by this.
pub const PATIENCE_REFILL: u32 = 6;

/// Bytes of the feed that a client may be behind. It is closed if it is more: all clients share the
/// feed, so this is the memory that all slow readers together cost.
pub const MAX_BEHIND: u64 = 16 << 20;

/// Bytes that a piece of its own lines counts for in the queue of a client, besides its length. So it
/// has at most 512 of them, of 16 bytes of memory each.
pub const OWN_COST: u64 = 32 << 10;

/// How long the server delivers what is queued after the first signal.
pub const GRACE_TIME: Duration = Duration::from_secs(5);

/// At the end, how long a client that has received everything may be silent before it is closed. An
/// answer from the far side of the world takes as long.
pub const LINGER_TIME: Duration = Duration::from_millis(300);

/// At the end, reads from one client before others are written to again.
pub const LAST_READS: usize = 16;

/// Log lines that may wait for a reader. While there are more, the lines of a turn are dropped.
pub const LOG_QUEUE: usize = 8 << 10;

/// How long the end waits for a reader of stdout, and then for one of stderr.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How long a client may be silent before the kernel asks it for a sign of life.
pub const SILENCE: Duration = Duration::from_secs(30);

/// How long a client may not answer the kernel. After a silence the kernel asks twice, and the second
/// time it is over: 75 s later (`tcp_keepalive_intvl`, tcp(7)).
pub const ANSWER_TIME: Duration = Duration::from_secs(90);

/// How long no descriptor may be free until a client may have to give up its own. Until then new
/// connections stay pending: a client may disconnect.
pub const FULL_TIME: Duration = Duration::from_secs(10);

/// Bytes of all unfinished lines together. Their buffers may have room for twice as many: 16 MiB.
/// Above that, the client with the longest is closed: others may have just begun theirs.
pub const MAX_UNFINISHED: u64 = 8 << 20;

/// What `--help` prints. The test below compares the numbers.
pub const HELP: &str = include_str!("help.txt");

#[cfg(test)]
mod tests;
