//! What is asked of the servers.

use std::fmt;

/// Who sends what to how many, round by round.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// The name by which the command line and the report call it.
    pub(crate) name: &'static str,
    /// How many clients send, all at the same moment.
    pub(crate) senders: usize,
    /// How many clients only receive.
    pub(crate) readers: usize,
    /// The length of a line in bytes, with its newline.
    pub(crate) line_bytes: usize,
    /// How many lines each sender sends at once.
    pub(crate) lines: usize,
    /// How many rounds a block has. Blocks are short, and there are many: what else the machine does
    /// spoils some of them, and the median passes over those.
    rounds: usize,
}

/// All workloads, in the order in which they run.
pub(crate) const ALL: [Workload; 5] = [
    Workload {
        name: "lone",
        senders: 1,
        readers: 100,
        line_bytes: 64,
        lines: 1,
        rounds: 180,
    },
    Workload {
        name: "overlap",
        senders: 10,
        readers: 100,
        line_bytes: 64,
        lines: 1,
        rounds: 30,
    },
    Workload {
        name: "burst",
        senders: 1,
        readers: 100,
        line_bytes: 64,
        lines: 256,
        rounds: 40,
    },
    Workload {
        name: "big",
        senders: 1,
        readers: 100,
        line_bytes: 16 * 1024,
        lines: 1,
        rounds: 90,
    },
    Workload {
        name: "crowd",
        senders: 1,
        readers: 3_000,
        line_bytes: 64,
        lines: 1,
        rounds: 10,
    },
];

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// How many turns each server has.
    pub(crate) blocks: usize,
    /// How many rounds are measured in each turn.
    pub(crate) rounds: usize,
}

impl Workload {
    /// All clients: those who send and those who only receive.
    pub(crate) fn clients(&self) -> usize {
        self.senders + self.readers
    }

    /// How long to measure this workload.
    pub(crate) fn plan(&self, quick: bool) -> Plan {
        if quick {
            return Plan {
                blocks: 2,
                rounds: self.rounds / 10,
            };
        }
        Plan {
            blocks: 25,
            rounds: self.rounds,
        }
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
            self.senders * self.lines
        )
    }
}
