//! All lines that are broadcast, one after the other, in one buffer for all clients.

use std::ops::Range;

/// Bytes of memory that the feed keeps when it needs less.
const KEPT: usize = 1 << 20;

/// A stream of bytes, each with a position that never changes. The unsent bytes of a client are a
/// range of positions, not a copy.
#[derive(Default)]
pub struct Feed {
    /// The bytes that a client may still need, from the position `start` on.
    bytes: Vec<u8>,
    start: u64,
}

impl Feed {
    /// The position after the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn get(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[self.index(range.start)..self.index(range.end)]
    }

    /// No client needs the bytes before this position any more.
    pub fn forget_before(&mut self, position: u64) {
        let unneeded = self.index(position);
        // The bytes that stay are moved to the front, so do it only if enough others go.
        if unneeded >= self.bytes.len() / 4 {
            self.bytes.drain(..unneeded);
            self.bytes.shrink_to(KEPT);
            self.start = position;
        }
    }

    fn index(&self, position: u64) -> usize {
        (position - self.start) as usize
    }
}
