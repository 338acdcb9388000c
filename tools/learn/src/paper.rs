//! Text on a terminal: its width, and colour where that is wanted.

use std::env;
use std::io::{self, IsTerminal};

use ratatui::crossterm::terminal;

pub(crate) const RED: &str = "31";
pub(crate) const GREEN: &str = "32";
pub(crate) const DIM: &str = "2";
pub(crate) const BOLD: &str = "1";

/// Where there is no terminal.
const WIDTH: usize = 80;

/// Longer lines are hard to read.
const WIDEST: usize = 100;

/// In this colour on a terminal (ECMA-48), and plain elsewhere or with `NO_COLOR` (no-color.org).
pub(crate) fn paint(color: &str, text: &str) -> String {
    let is_plain = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    match io::stdout().is_terminal() && !is_plain("NO_COLOR") && !is_dumb {
        true => format!("\x1b[{color}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// In lines that fit the terminal, each with this in front.
pub(crate) fn wrap(indent: &str, text: &str) -> String {
    let columns = terminal::size().ok().filter(|_| io::stdout().is_terminal());
    let width = columns.map_or(WIDTH, |(columns, _)| usize::from(columns));
    let lines = split(text, width.min(WIDEST).saturating_sub(indent.len()));
    let lines = lines.iter().map(|line| format!("{indent}{line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Splits a text between words, and a word only if it does not fit a line.
pub(crate) fn split(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        for (n, piece) in pieces(word, width).iter().enumerate() {
            let line = lines.last_mut().filter(|_| n == 0);
            let fits = |line: &&mut String| {
                line.is_empty() || line.chars().count() + 1 + piece.chars().count() <= width
            };
            match line.filter(fits) {
                Some(line) if line.is_empty() => line.push_str(piece),
                Some(line) => *line += &format!(" {piece}"),
                None => lines.push(piece.clone()),
            }
        }
    }
    lines
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let chars: Vec<_> = word.chars().collect();
    let pieces = chars.chunks(width.max(1)).map(String::from_iter);
    let pieces: Vec<_> = pieces.collect();
    if pieces.is_empty() {
        vec![String::new()]
    } else {
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_text_is_split_between_words() {
        assert_eq!(split("one two three", 7), ["one two", "three"]);
        assert_eq!(split("a long_word b", 4), ["a", "long", "_wor", "d b"]);
        assert_eq!(split("", 7), [""]);
    }
}
