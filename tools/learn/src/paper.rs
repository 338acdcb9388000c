//! Text on a terminal: its width, and colour where that is wanted.

use std::env;
use std::io::{self, IsTerminal};

use ratatui::crossterm::terminal;
use textwrap::{Options, WordSplitter};

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
    let options = without_hyphens(width.min(WIDEST)).initial_indent(indent);
    textwrap::fill(text, options.subsequent_indent(indent))
}

/// Lines of this width. A word is split only if it does not fit one: it may be a name.
pub(crate) fn without_hyphens(width: usize) -> Options<'static> {
    Options::new(width).word_splitter(WordSplitter::NoHyphenation)
}
