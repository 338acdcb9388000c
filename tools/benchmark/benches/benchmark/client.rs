//! A client, and what it must receive.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};

use crate::protocol::{PING, PONG};

/// Bytes that one read takes at most.
pub(crate) const BUFFER: usize = 64 * 1024;

/// What every receiver gets: one message over and over.
pub(crate) struct Pattern {
    /// The length of the message.
    pub(crate) message_bytes: usize,
    /// Long enough to compare a whole buffer with, from any offset in the message.
    bytes: Vec<u8>,
}

impl Pattern {
    /// The pattern of a message.
    pub(crate) fn new(message: &str) -> Pattern {
        Pattern {
            message_bytes: message.len(),
            bytes: message.repeat(BUFFER / message.len() + 2).into_bytes(),
        }
    }

    /// What follows when `missing` bytes remain until the end of a message.
    fn tail(&self, missing: usize) -> &[u8] {
        let offset = self.message_bytes - missing % self.message_bytes;
        &self.bytes[offset % self.message_bytes..]
    }
}

/// A client of a server.
pub(crate) struct Client {
    /// The connection.
    pub(crate) stream: TcpStream,
    /// Bytes that were sent to it and have not arrived.
    pub(crate) missing: usize,
    /// Bytes received of an incomplete ping.
    pub(crate) ping: usize,
}

impl Client {
    /// Reads once, and verifies what has arrived. Returns its size in bytes, pings not counted.
    pub(crate) fn receive(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<usize> {
        let n = match self.stream.read(buffer) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
            result => result.context("a client cannot receive")?,
        };
        ensure!(n > 0, "the server closed the connection of a client");
        let before = self.missing;
        if self.ping == 0 && n <= before && pattern.tail(before).starts_with(&buffer[..n]) {
            self.missing -= n;
        } else {
            self.verify_bytes(pattern, &buffer[..n])?;
        }
        Ok(before - self.missing)
    }

    /// The slow path, for a chunk that contains a ping between two messages, or a part of one.
    fn verify_bytes(&mut self, pattern: &Pattern, chunk: &[u8]) -> Result<()> {
        for &byte in chunk {
            let between = self.missing.is_multiple_of(pattern.message_bytes);
            if self.ping == 0 && self.missing > 0 && byte == pattern.tail(self.missing)[0] {
                self.missing -= 1;
            } else if between && byte == PING[self.ping] {
                self.ping += 1;
            } else {
                bail!("a client received {byte:#04x}, which was not sent");
            }
            if self.ping == PING.len() {
                self.ping = 0;
                self.stream.write_all(PONG)?;
            }
        }
        Ok(())
    }
}
