//! Reads the book, and runs a chapter's programs and tests as a learner does.
//!
//! [`Book`] holds the pages. [`typing`] types a chapter's program from its blocks, [`transcript`]
//! replays a chat, [`test_runner`] runs a chapter's tests against any command, and [`strace`] watches
//! the system calls of a server. What the words after a block's opening fence mean is in
//! CONTRIBUTING.md, "The book stays true".

mod page;

pub mod call;
pub mod quote;
pub mod strace;
pub mod test_runner;
pub mod transcript;
pub mod typed_crate;
pub mod typing;
pub mod workspace;

pub use crate::page::{Block, Page, Text};
pub use crate::workspace::{milestones, root};

use regex_lite::Regex;

use crate::workspace::{PAGES, files, names_in, read};

/// A regular expression.
///
/// # Panics
///
/// If it is none.
pub fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is valid")
}

/// The pages of the book.
pub struct Book {
    /// The chapters are in their order, after all other pages.
    pub pages: Vec<Page>,
}

impl Book {
    /// Reads every page in `docs/src`, `docs/README.md`, and the pages at the top of the repository.
    ///
    /// # Panics
    ///
    /// If one of them cannot be read.
    pub fn read() -> Book {
        let mut paths = names_in("");
        paths.retain(|name| name.ends_with(".md"));
        paths.push("docs/README.md".to_owned());
        paths.extend(files(PAGES, "md"));
        let pages = paths.iter().map(|path| Page::new(path, &read(path)));
        let mut pages: Vec<_> = pages.collect();
        pages.sort_by_key(Page::place);
        Book { pages }
    }

    /// The lines of the first `transcript` block in a chapter. Empty if there is none.
    pub fn transcript(&self, chapter: usize) -> Vec<&str> {
        let mut blocks = self.blocks(&["transcript"]);
        let block = blocks.find(|(page, _)| page.milestone() == Some(chapter));
        let lines = block.into_iter().flat_map(|(_, block)| &block.lines);
        lines.map(|line| line.text.as_str()).collect()
    }

    /// The tests that pass at the end of a stop of a chapter ([`Page::place`]): those that the checkpoints up
    /// to there name as green.
    pub fn tests_until(&self, (chapter, stop): (usize, usize)) -> Vec<&str> {
        let is_until = |page: &&Page| {
            let place = page.place();
            place.is_some_and(|place| place.0 == chapter && place.1 <= stop)
        };
        let pages = self.pages.iter().filter(is_until);
        let blocks = pages.flat_map(|page| &page.blocks);
        blocks.flat_map(|block| block.values("green")).collect()
    }

    /// The blocks in any of these languages, each with its page.
    pub fn blocks(&self, languages: &[&str]) -> impl Iterator<Item = (&Page, &Block)> {
        let pages = self.pages.iter();
        let blocks = pages.flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
        blocks.filter(|(_, block)| languages.contains(&block.language.as_str()))
    }
}
