//! All lines that are broadcast, one after the other, in one buffer for everybody.

use std::ops::Range;

/// The lines are one stream of bytes, and each byte has a position that never changes. What a client
/// has not received yet is a range of positions, not a copy.
#[derive(Default)]
pub struct Feed {
    /// What somebody still needs, from the position `start` on.
    bytes: Vec<u8>,
    start: u64,
}

impl Feed {
    /// The position of the next byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn get(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[self.index(range.start)..self.index(range.end)]
    }

    /// Nobody needs what comes before this position.
    pub fn forget_before(&mut self, position: u64) {
        let unneeded = self.index(position);
        // What stays is moved to the front. That costs time, so it has to be worth it.
        if unneeded >= self.bytes.len() / 2 {
            self.bytes.drain(..unneeded);
            self.start = position;
        }
    }

    fn index(&self, position: u64) -> usize {
        (position - self.start) as usize
    }
}
