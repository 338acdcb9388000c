//! Finds the lines of a block in source files.

use std::collections::BTreeMap;

use crate::page::{Block, Page, Text};
use crate::workspace::read;

/// The lines of source files, by their path.
pub type Program = BTreeMap<String, Vec<String>>;

/// A block must be in one of these files.
pub fn check_quote(page: &Page, block: &Block, files: &Program) -> Result<(), String> {
    if files.values().any(|file| has_in_order(block, file)) {
        return Ok(());
    }
    let pieces = pieces(block).concat();
    let lines: Vec<_> = files.values().flatten().cloned().collect();
    let lost = lost(&pieces, &lines);
    let what = format!("not in the source, or in another order:\n{}", lost.text);
    Err(page.problem(lost.line, &what))
}

fn has_in_order(block: &Block, file: &[String]) -> bool {
    let mut rest = file;
    pieces(block).iter().all(|piece| {
        let place = places(piece, rest).first().copied();
        rest = &rest[place.map_or(0, |place| place + piece.len())..];
        place.is_some()
    })
}

/// The lines between those that stand for any number of lines.
pub fn pieces(block: &Block) -> Vec<&[Text]> {
    let is_gap = |line: &Text| matches!(line.text.trim(), "…" | "// …" | "# …");
    let pieces = block.lines.split(is_gap);
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// Where these lines are in a file, one after the other.
pub fn places(piece: &[Text], file: &[String]) -> Vec<usize> {
    let texts: Vec<_> = piece.iter().map(|line| &line.text).collect();
    let windows = file.windows(piece.len()).enumerate();
    let places = windows.filter(|(_, window)| window.iter().eq(texts.iter().copied()));
    places.map(|(place, _)| place).collect()
}

/// The first of these lines that is nowhere in the file, or else the first one.
pub fn lost<'a>(piece: &'a [Text], file: &[String]) -> &'a Text {
    let lost = piece.iter().find(|line| !file.contains(&line.text));
    lost.unwrap_or(&piece[0])
}

/// The lines of a file of the workspace.
pub fn lines(path: &str) -> Vec<String> {
    read(path).lines().map(str::to_owned).collect()
}
