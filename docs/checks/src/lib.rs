//! Keeps the book and the code together.
//!
//! [`Book`] holds the pages. Its methods check them and return everything that is not true, each with
//! its file and line. [`suite`] runs a chapter's tests the way a learner does.
//!
//! The info string of a fenced block says what the block is. The first word is the language, which
//! is all that GitHub and mdBook look at.
//!
//! In the chapters the reader types a program, and so does [`Book::check_typing`]: from an empty
//! `src/main.rs`, chapter by chapter and block by block. `FILE` is `src/main.rs` unless the info
//! string has `file=FILE`.
//!
//! | block | what happens with it |
//! | --- | --- |
//! | `rust` | is added to the end of the file, after a blank line |
//! | `rust,after=NAME` | is added after the end of the item `NAME`: a function, a constant or a type (after its `impl`, if it has one) |
//! | `rust,append=FILE` | is added to the end of another file |
//! | `rust,new=FILE` | becomes a new file |
//! | `diff`, `diff,file=FILE` | each hunk is applied to the one place that has its context and its removed lines; a lone `…` separates hunks |
//! | `rust,shown` | is in the program as typed so far |
//! | `rust,wrong` | is not in the milestone's source |
//! | `rust,sketch` | nothing: it is nobody's code |
//! | `sh,checkpoint,red=TEST,green=TEST` | the program typed so far can be built and tested, see [`Book::check_checkpoints`] |
//!
//! On all other pages a `rust` block is in some source file, and one that is `wrong` in no server's.
//! A `c` or `go` block is in the example server in that language, on any page.
//! There and in a block that is `shown`, a lone `…` or `// …` stands for any number of lines.
//!
//! | block | what is checked |
//! | --- | --- |
//! | `text,calls=MILESTONE` | the milestone makes these system calls, see [`Book::check_calls`] |
//! | `transcript`, `transcript,needs=TOOL` | it is replayed, see [`Book::check_transcripts`] |
//! | `sh`, `bash`, `console` | what its commands name exists, see [`Book::check_names`] |

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "panicking is how a check fails"
)]

mod checkpoint;
mod excerpt;
mod links;
mod names;
mod page;
mod quote;
mod typing;
mod workspace;

pub mod picture;
pub mod record;
pub mod suite;
pub mod transcript;

pub use crate::page::Page;
pub use crate::workspace::{milestones, root};

use crate::page::Block;
use crate::workspace::{PAGES, files, names_in, read};

/// The pages, the chapters in their order.
pub struct Book {
    pages: Vec<Page>,
}

impl Book {
    /// Reads every page in `docs/src`, `docs/README.md`, and the pages at the top of the repository.
    ///
    /// # Panics
    ///
    /// If one of them cannot be read.
    #[must_use]
    pub fn read() -> Book {
        let mut paths = names_in("");
        paths.retain(|name| name.ends_with(".md"));
        paths.push("docs/README.md".to_owned());
        paths.extend(files(PAGES, "md"));
        let pages = paths.iter().map(|path| Page::new(path, &read(path)));
        Book::of_pages(pages.collect())
    }

    /// A book of these pages about this workspace: the tests of the checks make such books.
    #[must_use]
    pub fn of_pages(pages: Vec<Page>) -> Book {
        Book { pages }
    }

    /// Types each chapter's program and compares it with the milestone's source files, byte for byte.
    /// On the other pages, checks that `rust` blocks are in the sources. On all pages, checks that `c`
    /// and `go` blocks are in the example servers.
    #[must_use]
    pub fn check_typing(&self) -> Vec<String> {
        let (mut problems, _) = typing::type_book(&self.pages);
        let sources = quote::sources();
        let blocks = self.blocks(&["rust", "diff", "c", "go"]);
        problems
            .extend(blocks.filter_map(|(page, block)| quote::check(page, block, &sources).err()));
        problems
    }

    /// Builds the program at each checkpoint, where a warning is an error, and runs the tests that
    /// the checkpoint names: `red` ones must fail with the program of the checkpoint before (or the
    /// end of the chapter before), `green` ones must pass with this one.
    ///
    /// The end of a chapter needs no checkpoint: the program is the milestone's, and that is built
    /// and tested anyway.
    #[must_use]
    pub fn check_checkpoints(&self) -> Vec<String> {
        checkpoint::check(&typing::type_book(&self.pages).1)
    }

    /// Checks that links lead somewhere, that their anchors exist, and that the table of contents
    /// has every page.
    #[must_use]
    pub fn check_links(&self) -> Vec<String> {
        links::check(&self.pages)
    }

    /// Checks that what the text names exists: packages and targets (`-p`, `--test`, `--bench`,
    /// `--bin`), files, and tests and functions. A snake-case name is checked if it begins with
    /// `row_` or has three words.
    ///
    /// # Panics
    ///
    /// If `cargo metadata` fails.
    #[must_use]
    pub fn check_names(&self) -> Vec<String> {
        let names = names::Names::read();
        self.pages.iter().flat_map(|p| names.check(p)).collect()
    }

    /// Replays every `transcript` block against the real servers.
    ///
    /// The steps are taken one after the other. Before each of them, the server has printed the lines
    /// of the transcript up to there (in any order since the last step) and no other. Clients have
    /// received what the transcript says, and at the end nothing else. `xxxxx` is any port. Servers
    /// listen on a port that the kernel chooses; it is compared as if it were the written one.
    ///
    /// # Panics
    ///
    /// If a milestone's program cannot be built.
    #[must_use]
    pub fn check_transcripts(&self) -> Vec<String> {
        let blocks = self.blocks(&["transcript"]);
        let problems = blocks.filter_map(|(page, block)| transcript::replay(page, block).err());
        problems.collect()
    }

    /// Records the system calls that each `text,calls=MILESTONE` block quotes, as `docs/strace.sh` prints
    /// them. The lines of a block come one after the other.
    ///
    /// # Panics
    ///
    /// As [`record::calls`].
    #[must_use]
    pub fn check_calls(&self) -> Vec<String> {
        let blocks = self.blocks(&["text"]);
        let problems = blocks.filter_map(|(page, block)| quote::check_calls(page, block).err());
        problems.collect()
    }

    /// The lines of the first `transcript` block in a chapter. Empty if there is none.
    #[must_use]
    pub fn transcript(&self, chapter: usize) -> Vec<&str> {
        let mut blocks = self.blocks(&["transcript"]);
        let block = blocks.find(|(page, _)| page.milestone() == Some(chapter));
        let lines = block.into_iter().flat_map(|(_, block)| &block.lines);
        lines.map(|line| line.text.as_str()).collect()
    }

    /// The blocks in these languages, each with its page.
    fn blocks(&self, languages: &[&str]) -> impl Iterator<Item = (&Page, &Block)> {
        let pages = self.pages.iter();
        let blocks = pages.flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
        blocks.filter(|(_, block)| languages.contains(&block.language.as_str()))
    }
}
