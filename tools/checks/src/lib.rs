//! Keeps the book and the code together. Each check takes a book and returns everything that is not true,
//! each with its file and line.

mod checkpoint;
mod links;
mod names;

pub use crate::checkpoint::check_checkpoints;
pub use crate::links::check_links;
pub use crate::names::check_names;

use course::quote::{Program, check_quote, lines};
use course::workspace::{EXAMPLES, names_in, source_files};
use course::{Book, transcript, typing};

/// Blocks in these languages are from the examples.
const OF_EXAMPLES: [&str; 7] = ["c", "go", "ini", "java", "js", "python", "ruby"];

/// Types each chapter's program and compares it with the milestone's source files, byte for byte.
/// On the other pages, checks that `rust` blocks are in the sources. On all pages, checks that
/// `rust,example` blocks and those in other languages are in the examples.
#[must_use]
pub fn check_typing(book: &Book) -> Vec<String> {
    let mut problems = typing::type_book(&book.pages).problems;
    let examples = names_in(EXAMPLES).into_iter();
    let examples: Vec<_> = examples.map(|name| format!("{EXAMPLES}/{name}")).collect();
    let [examples, sources] = [examples, source_files()].map(|paths| {
        let files = paths.iter().map(|path| (path.clone(), lines(path)));
        files.collect::<Program>()
    });
    let languages = [&OF_EXAMPLES[..], &["rust", "diff"]].concat();
    for (page, block) in book.blocks(&languages) {
        let is_of_example = OF_EXAMPLES.contains(&block.language.as_str());
        let files = match is_of_example || block.has_flag("example") {
            true => &examples,
            // It is typed. On another page, there is no `diff` block: its marks would not be found.
            false if page.milestone().is_some() => continue,
            false => &sources,
        };
        if !block.has_flag("sketch") {
            problems.extend(check_quote(page, block, files).err());
        }
    }
    problems
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
