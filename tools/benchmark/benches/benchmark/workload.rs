//! The workloads: who sends what to how many clients.

use std::fmt;

use anyhow::{Context, Result};

/// A workload is played in rounds. In a round each sender sends its lines, and the round is over
/// when every client has received what the others sent. Two workloads differ:
///
/// - *churn*: in each round a new client connects, sends a line and leaves. It half-closes its
///   connection, so the round is over when the readers have the line and the server has closed the
///   connection as well.
/// - *slow*: the first reader receives at most 64 KiB/s. A round does not wait for it, and its lines
///   do not count as deliveries. Before a block, the load sends until the server cannot write to that
///   reader any more. After the block, the reader receives the rest at full speed: it must not lose
///   a byte, and no block begins with the queue of another.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// The name on the command line and in the report.
    pub(crate) name: &'static str,
    /// Clients that send, all at the same moment.
    pub(crate) senders: usize,
    /// Clients that only receive.
    pub(crate) readers: usize,
    /// The length of a line in bytes, newline included.
    pub(crate) line_bytes: usize,
    /// Lines that a sender sends at once.
    pub(crate) lines_per_sender: usize,
    /// Whether a sender connects for each round, and leaves after it. There can be only one.
    pub(crate) visitor: bool,
    /// Readers that receive at most 64 KiB/s: the first ones.
    pub(crate) slow_readers: usize,
    /// Rounds in a block. Blocks are short and numerous: other activity on the machine disturbs
    /// some of them, and the median ignores those.
    pub(crate) rounds_per_block: usize,
    /// Blocks that are measured.
    pub(crate) blocks: usize,
}

/// All workloads, in the order in which they run.
pub(crate) const ALL: [Workload; 7] = [
    // name, senders, readers, bytes of a line, lines of each sender, rounds in a block
    workload("lone", 1, 100, 64, 1, 180),
    workload("overlap", 10, 100, 64, 1, 30),
    workload("burst", 1, 100, 64, 256, 40),
    workload("big", 1, 100, 16 * 1024, 1, 90),
    workload("crowd", 1, 3_000, 64, 1, 10),
    Workload {
        visitor: true,
        ..workload("churn", 1, 10, 64, 1, 180)
    },
    Workload {
        slow_readers: 1,
        blocks: 5,
        ..workload("slow", 1, 100, 16 * 1024, 1, 10)
    },
];

const fn workload(
    name: &'static str,
    senders: usize,
    readers: usize,
    line_bytes: usize,
    lines_per_sender: usize,
    rounds_per_block: usize,
) -> Workload {
    Workload {
        name,
        senders,
        readers,
        line_bytes,
        lines_per_sender,
        visitor: false,
        slow_readers: 0,
        rounds_per_block,
        blocks: 25,
    }
}

impl Workload {
    /// The workload of this name.
    pub(crate) fn named(name: &str) -> Result<Workload> {
        let known = ALL.into_iter().find(|workload| workload.name == name);
        known.with_context(|| {
            let names = ALL.map(|workload| workload.name).join(", ");
            format!("{name:?} is not one of {names}, --quick")
        })
    }

    /// The same workload with few rounds, to see whether it works.
    pub(crate) fn quick(self) -> Workload {
        Workload {
            rounds_per_block: self.rounds_per_block / 10,
            blocks: 2,
            ..self
        }
    }

    /// Senders and readers together.
    pub(crate) fn clients(&self) -> usize {
        self.senders + self.readers
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let plural = if self.senders == 1 { "" } else { "s" };
        write!(
            f,
            "{}: {} sender{plural}, {} readers, {}-byte lines, {} in flight",
            self.name,
            self.senders,
            self.readers,
            self.line_bytes,
            self.senders * self.lines_per_sender
        )
    }
}
