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
use course::workspace::{EXAMPLES, source_files};
use course::{Block, Book, Page, transcript, typing};

/// The example that a block in this language is from.
const EXAMPLES_BY_LANGUAGE: [(&str, &str); 7] = [
    ("c", "chat.c"),
    ("go", "chat.go"),
    ("java", "Chat.java"),
    ("js", "chat.js"),
    ("python", "chat_selectors.py"),
    ("ruby", "chat.rb"),
    ("ini", "broadcast.service"),
];

/// Types each chapter's program and compares it with the milestone's source files, byte for byte.
/// On the other pages, checks that `rust` blocks are in the sources. On all pages, checks that
/// `rust,example` blocks and those in other languages are in the examples.
#[must_use]
pub fn check_typing(book: &Book) -> Vec<String> {
    let mut problems = typing::type_book(&book.pages).problems;
    let files = source_files().into_iter();
    let sources = files.map(|path| (path.clone(), lines(&path))).collect();
    let mut languages = EXAMPLES_BY_LANGUAGE.map(|(language, _)| language).to_vec();
    languages.extend(["rust", "diff"]);
    let blocks = book.blocks(&languages);
    problems.extend(blocks.filter_map(|(page, block)| check_source(page, block, &sources).err()));
    problems
}

/// Checks a block from an example, or on a page that is not typed in Rust. There is no `diff` block on such a
/// page, and its marks would not be found.
fn check_source(page: &Page, block: &Block, sources: &Program) -> Result<(), String> {
    if let Some(file) = example(block) {
        let path = format!("{EXAMPLES}/{file}");
        let example = lines(&path);
        return check_quote(page, block, &[(path, example)].into());
    }
    if page.milestone().is_some() || block.has_flag("sketch") {
        return Ok(());
    }
    if block.has_flag("wrong") {
        let mut servers = sources.clone();
        servers.retain(|path, _| path.starts_with("milestone-") && path.contains("/src/"));
        return check_quote(page, block, &servers);
    }
    check_quote(page, block, sources)
}

fn example(block: &Block) -> Option<&'static str> {
    if block.has_flag("example") {
        return Some("blocking.rs");
    }
    let mut servers = EXAMPLES_BY_LANGUAGE.iter();
    let server = servers.find(|(language, _)| *language == block.language)?;
    Some(server.1)
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
