//! Every limit of the server, with its unit and its reason.

use std::time::Duration;

/// Bytes of a line, its newline aside. Longer than anything a person types; a client that sends
/// more without a newline is closed, or it could fill the memory with a single line.
pub const MAX_LINE: usize = 64 << 10;

/// Bytes that one client is read in one turn of the loop, so that a client which never stops
/// sending leaves the others their share. Large enough that a `read` is worth its cost.
pub const READ_BUDGET: usize = 64 << 10;

/// Bytes that all clients together are read in one turn: what a turn may add to every queue.
pub const TURN_BUDGET: usize = 128 << 10;

/// How often a turn looks for further events before it delivers what it has. Lines that come
/// together go out together, and nobody's line waits for long.
pub const MAX_LOOKS: usize = 10;

/// Connections accepted in one turn, so that a flood of them leaves the clients their share.
pub const ACCEPT_BUDGET: usize = 256;

/// Bytes in a client's queue above which bulk senders have to wait for it. The kernel's own send
/// buffer holds some MiB on top, so a reader that keeps up never gets here.
pub const HIGH_WATER: usize = 64 << 10;

/// Bytes in a client's queue that are never exceeded by more than a turn: the client is closed.
pub const HARD_LIMIT: usize = 1 << 20;

/// How long a client's queue may stay above [`HIGH_WATER`]. All bulk senders wait as long.
pub const STALL_TIME: Duration = Duration::from_secs(10);

/// How long the server goes on delivering after the first SIGINT or SIGTERM.
pub const GRACE_TIME: Duration = Duration::from_secs(5);

/// Bytes of log lines that wait for a slow reader of stdout or stderr. Further lines are dropped.
pub const LOG_BACKLOG: usize = 256 << 10;
