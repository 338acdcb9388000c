//! Every limit of the server, with its unit and its reason.

use std::time::Duration;

/// Bytes of a line, its newline aside. Longer than anything a person types; a client that sends
/// more without a newline is closed, or it could fill the memory with a single line.
pub const MAX_LINE: usize = 64 << 10;

/// Bytes that one client is read in one turn of the loop, so that a client which never stops
/// sending leaves the others their share. Large enough that a `read` is worth its cost.
pub const READ_BUDGET: usize = 64 << 10;

/// Bytes of lines after which nobody else is read in this turn. The last one who was read may have
/// gone past it by a [`READ_BUDGET`] and the beginning of its line: so much a turn adds to a queue.
pub const TURN_BUDGET: usize = 128 << 10;

/// Bytes that one client is read in one [`TALK_PERIOD`] while a reader is slow. Enough for whoever
/// talks; who sends more is a bulk sender, and waits until no reader is slow any more, however long
/// that is.
pub const TALK_BUDGET: usize = 8 << 10;

// Both are read into one buffer, which has the room of a READ_BUDGET.
const _: () = assert!(TALK_BUDGET <= READ_BUDGET);

/// How long a [`TALK_BUDGET`] lasts. As often a slow reader is tried without an event: not so often
/// that it costs anything, and often within a [`STALL_TIME`].
pub const TALK_PERIOD: Duration = Duration::from_secs(1);

/// How often a turn looks for further events before it delivers what it has. Lines that come
/// together go out together, and nobody's line waits for long.
pub const MAX_LOOKS: usize = 10;

/// Connections accepted in one turn, so that a flood of them leaves the clients their share.
pub const ACCEPT_BUDGET: usize = 256;

/// Bytes in a client's queue above which it is slow, and bulk senders wait for it. The kernel's own
/// send buffer comes first and holds some MiB, so a reader that keeps up does not get here.
pub const HIGH_WATER: usize = 64 << 10;

/// Bytes in a client's queue above which it is closed. The bulk senders alone cannot fill it: they
/// wait from [`HIGH_WATER`] on, and one turn adds 128 + 64 + 64 KiB at the most. Whoever gets here is
/// too slow even for those who talk, and a hundred connections can talk a lot.
pub const HARD_LIMIT: usize = 1 << 20;

/// How long a client's queue may stay above [`HIGH_WATER`]. All bulk senders wait as long. Whoever
/// gets below it once in this time is a slow reader, and the clock starts anew.
pub const STALL_TIME: Duration = Duration::from_secs(10);

/// The loop turns over at least this often: to look for stalled readers, and for a descriptor that
/// has become free elsewhere.
pub const TICK: Duration = Duration::from_millis(100);

/// How long the server goes on delivering after the first SIGINT or SIGTERM.
pub const GRACE_TIME: Duration = Duration::from_secs(5);

/// How long, at the end, a client that goes on sending is listened to after everything was sent to
/// it. To close a connection with bytes unread resets it, and a reset takes back what is still on
/// its way to the client (RFC 2525, section 2.17).
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// After so long a silence, at the end, a client is taken to send no more.
pub const QUIET_TIME: Duration = Duration::from_millis(100);

/// Reads, at the end, from a client that goes on sending, before others are written to again.
pub const LAST_READS: usize = 16;

/// Bytes of log lines that wait for a slow reader of stdout or stderr. Further lines are dropped.
pub const LOG_BACKLOG: usize = 256 << 10;

/// Bytes of log lines that are written at a time where that may block: a pipe takes so many whole or
/// not at all (`PIPE_BUF`, pipe(7)), so it is known at any time which lines are out.
pub const LOG_PIECE: usize = 4096;

/// How long the log waits when somebody has made stdout or stderr non-blocking, and it is full.
pub const LOG_PAUSE: Duration = Duration::from_millis(10);

/// How long the end waits for whoever reads stdout, and then for whoever reads stderr.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How long the same trouble is not told again.
pub const TELL_AGAIN: Duration = Duration::from_secs(60);
