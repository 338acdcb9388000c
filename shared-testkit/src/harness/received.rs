//! What a client received, and how a failure shows it.

use std::fmt;
use std::io::{Error, ErrorKind};

use crate::log::{INDENT, escape};
use crate::wait::patience;

/// How many equal bytes a failure shows before the first difference.
const CONTEXT: usize = 14;

/// How many columns of bytes leave room for the end of the connection on the same line.
const SHORT: usize = 30;

/// The bytes that a client received, and why there are no more of them.
pub(super) struct Received {
    pub bytes: Vec<u8>,
    /// `None` if everything that was asked for has come.
    pub end: Option<Error>,
}

impl Received {
    pub fn ended_by(&self) -> Option<ErrorKind> {
        self.end.as_ref().map(Error::kind)
    }

    /// Both sides from a little before the first difference, and a mark below it.
    pub fn compare(mut self, expected: &[u8]) -> (String, String) {
        let pairs = expected.iter().zip(&self.bytes);
        let equal = pairs.take_while(|(e, r)| e == r).count();
        // Deep inside a long message its beginning says nothing.
        let from = equal.saturating_sub(CONTEXT);
        let shown_from = match from {
            0 => String::new(),
            _ => format!("; shown from {from} on"),
        };
        let column = width(&expected[from..equal]);
        // Nothing came at all: there is no place to point at.
        let mark = match self.bytes.is_empty() {
            true => String::new(),
            false => format!(
                "\n{INDENT} {:column$}^ they differ at byte {equal}{shown_from}",
                ""
            ),
        };
        self.bytes.drain(..from);
        let shown = self.to_string();
        // The mark belongs below the bytes; their end may have a line of its own.
        let (bytes, end) = shown.split_at(shown.find('\n').unwrap_or(shown.len()));
        (escape(&expected[from..]), format!("{bytes}{mark}{end}"))
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = escape(&self.bytes);
        let end = self.end.as_ref().map(|end| match end.kind() {
            ErrorKind::UnexpectedEof => "end of file".to_owned(),
            ErrorKind::WouldBlock => format!("nothing more in {} s", patience().as_secs_f32()),
            _ => end.to_string(),
        });
        match end {
            None => write!(f, "{bytes}"),
            Some(end) if self.bytes.is_empty() => write!(f, "{end}"),
            Some(end) if width(&self.bytes) <= SHORT => write!(f, "{bytes}, then {end}"),
            Some(end) => write!(f, "{bytes},\n{INDENT}then {end}"),
        }
    }
}

fn width(bytes: &[u8]) -> usize {
    bytes.escape_ascii().count()
}
