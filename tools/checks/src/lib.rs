//! Keeps the book and the code together. Each check takes a book and returns everything that is not true,
//! each with its file and line.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "panicking is how a check fails"
)]

mod checkpoint;
mod links;
mod names;

pub use crate::checkpoint::check_checkpoints;
pub use crate::links::check_links;
pub use crate::names::check_names;

use course::quote::{Program, check_quote, lines};
use course::workspace::{EXAMPLES, names_in, source_files};
use course::{Block, Book, Page, transcript, typing};

/// Blocks in these languages are from the examples.
const OF_EXAMPLES: [&str; 7] = ["c", "go", "ini", "java", "js", "python", "ruby"];

/// Types each chapter's program and compares it with the milestone's source files, byte for byte.
/// On the other pages, checks that `rust` blocks are in the sources. On all pages, checks that
/// `rust,example` blocks and those in other languages are in the examples.
#[must_use]
pub fn check_typing(book: &Book) -> Vec<String> {
    let mut problems = typing::type_book(&book.pages).problems;
    let examples = names_in(EXAMPLES).into_iter();
    let examples = examples.map(|name| format!("{EXAMPLES}/{name}"));
    let files = source_files().into_iter().chain(examples);
    let sources = files.map(|path| (path.clone(), lines(&path))).collect();
    let languages = [&OF_EXAMPLES[..], &["rust", "diff"]].concat();
    let blocks = book.blocks(&languages);
    problems.extend(blocks.filter_map(|(page, block)| check_source(page, block, &sources).err()));
    problems
}

/// Checks a block from an example, or on a page that is not typed in Rust. There is no `diff` block on such a
/// page, and its marks would not be found.
fn check_source(page: &Page, block: &Block, sources: &Program) -> Result<(), String> {
    let is_example = block.has_flag("example") || OF_EXAMPLES.contains(&block.language.as_str());
    if !is_example && (page.milestone().is_some() || block.has_flag("sketch")) {
        return Ok(());
    }
    if !is_example && !block.has_flag("wrong") {
        return check_quote(page, block, sources);
    }
    let mut files = sources.clone();
    files.retain(|path, _| match is_example {
        true => path.starts_with(EXAMPLES),
        false => path.starts_with("milestone-") && path.contains("/src/"),
    });
    check_quote(page, block, &files)
}

/// Replays every `transcript` block against the real servers.
///
/// # Panics
///
/// If a milestone's program cannot be built.
#[must_use]
pub fn check_transcripts(book: &Book) -> Vec<String> {
    let blocks = book.blocks(&["transcript"]);
    let problems = blocks.filter_map(|(page, block)| transcript::replay(page, block).err());
    problems.collect()
}
