//! What one turn of the event loop has to pass on.

use std::io::IoSlice;

use mio::Token;

/// All lines that were taken in a turn, one sender's after the other's.
#[derive(Default)]
pub struct Turn {
    pub lines: Vec<u8>,
    /// Who sent the lines, in order, each with where its lines end.
    senders: Vec<(Token, usize)>,
}

impl Turn {
    /// Says whose the lines are that were added since the last call.
    pub fn add_sender(&mut self, sender: Token) {
        self.senders.push((sender, self.lines.len()));
    }

    /// All lines, for a client that has sent none of them.
    pub fn everything(&self) -> IoSlice<'_> {
        IoSlice::new(&self.lines)
    }

    /// All lines but one sender's own, in order.
    pub fn without(&self, sender: Token) -> Vec<IoSlice<'_>> {
        // Cut at its own lines only: one call takes no more than 1024 pieces (`IOV_MAX`, writev(2)).
        let mut pieces = Vec::new();
        let (mut start, mut begin) = (0, 0);
        for &(token, end) in &self.senders {
            if token == sender {
                pieces.push(IoSlice::new(&self.lines[start..begin]));
                start = end;
            }
            begin = end;
        }
        pieces.push(IoSlice::new(&self.lines[start..]));
        pieces
    }

    pub fn clear(&mut self) {
        self.lines.clear();
        self.senders.clear();
    }
}
