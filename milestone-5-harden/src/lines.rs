//! Lines out of a byte stream.

use std::mem;

use memchr::memchr;

use crate::limits::MAX_LINE;

/// Cuts what one client sends into whole lines, in whatever pieces it comes.
#[derive(Default)]
pub struct LineSplitter {
    /// The beginning of a line that has not ended yet.
    partial: Vec<u8>,
}

/// A line was longer than [`MAX_LINE`].
#[derive(Debug, PartialEq)]
pub struct LineTooLong;

impl LineSplitter {
    /// How many bytes of an unfinished line are kept.
    pub fn partial(&self) -> usize {
        self.partial.len()
    }

    /// Appends all lines that end in `bytes` to `lines`, and keeps what follows the last of them.
    pub fn split(&mut self, bytes: &[u8], lines: &mut Vec<u8>) -> Result<(), LineTooLong> {
        let mut rest = bytes;
        while let Some(newline) = memchr(b'\n', rest) {
            self.check_length(newline)?;
            let (line, after) = rest.split_at(newline + 1);
            // `take` gives the memory back as well: a client that is quiet holds none.
            lines.append(&mut mem::take(&mut self.partial));
            lines.extend_from_slice(line);
            rest = after;
        }
        self.check_length(rest.len())?;
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn check_length(&self, more: usize) -> Result<(), LineTooLong> {
        if self.partial.len() + more > MAX_LINE {
            return Err(LineTooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The simplest thing that could be right: look at the whole stream at once.
    fn model(stream: &[u8]) -> (Vec<u8>, Result<(), LineTooLong>) {
        let mut lines = Vec::new();
        for line in stream.split_inclusive(|&byte| byte == b'\n') {
            if line.strip_suffix(b"\n").unwrap_or(line).len() > MAX_LINE {
                return (lines, Err(LineTooLong));
            }
            if line.ends_with(b"\n") {
                lines.extend(line);
            }
        }
        (lines, Ok(()))
    }

    fn split_in_pieces(stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(), LineTooLong>) {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        let mut rest = stream;
        for cut in cuts {
            let (piece, after) = rest.split_at(cut % (rest.len() + 1));
            if let Err(e) = splitter.split(piece, &mut lines) {
                return (lines, Err(e));
            }
            rest = after;
        }
        let result = splitter.split(rest, &mut lines);
        (lines, result)
    }

    /// Bytes with many newlines among them, and now and then a run of one byte about as long as a
    /// line may be.
    fn any_stream() -> impl Strategy<Value = Vec<u8>> {
        let short = vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..40);
        let long = (MAX_LINE - 20..MAX_LINE + 20).prop_map(|length| vec![b'x'; length]);
        let pieces = vec(prop_oneof![9 => short, 1 => long], 0..12);
        pieces.prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_cut_of_any_bytes_gives_the_same_lines(
            stream in any_stream(),
            cuts in vec(any::<usize>(), 0..20),
        ) {
            prop_assert_eq!(split_in_pieces(&stream, &cuts), model(&stream));
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        let mut line = vec![b'x'; MAX_LINE];
        line.push(b'\n');
        assert_eq!(split_in_pieces(&line, &[]), (line.clone(), Ok(())));

        line.insert(0, b'x');
        assert_eq!(split_in_pieces(&line, &[]), (vec![], Err(LineTooLong)));
    }

    #[test]
    fn a_quiet_client_holds_no_memory() {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        splitter.split(&[b'x'; 1000], &mut lines).unwrap();
        assert!(splitter.partial.capacity() >= 1000);
        splitter.split(b"\n", &mut lines).unwrap();
        assert_eq!(splitter.partial.capacity(), 0);
    }
}
