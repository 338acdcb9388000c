//! What keeps the book and the code together.
//!
//! [`Book`] reads the pages and checks what can be checked without running anything: code, diffs,
//! links, and the names of packages, targets, tests and files. [`replay`] runs the transcripts, for
//! which it needs a milestone's binary.
//!
//! How a block is checked is said by what follows its opening fence:
//!
//! | block | what holds |
//! | --- | --- |
//! | `rust` | its lines stand in the chapter's milestone one after the other; on a page that is no chapter, in any source file. A lone `// …` stands for left-out lines |
//! | `rust,wrong` | they stand nowhere there |
//! | `rust,sketch` | nothing: it is nobody's code |
//! | `diff` | it is a piece of the step from the milestone before. A lone `…` stands for left-out lines |
//! | `transcript` | it is replayed: see [`replay`] |
//! | `transcript,needs=TOOL` | the same, and passed over where the tool is missing |
//! | `sh`, `bash`, `console` | the packages, targets, tests and files that its commands name exist |

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "panicking is how a check fails"
)]

mod code;
mod links;
mod names;
mod page;
mod script;
mod transcript;

pub mod suite;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub use crate::page::Page;
pub use crate::transcript::replay;

/// Where the book's chapters lie in the workspace.
const CHAPTERS: &str = "docs/src";

/// Something in the book that is not as the code has it.
#[derive(Debug)]
pub struct Problem {
    file: PathBuf,
    line: usize,
    what: String,
}

impl Problem {
    fn new(page: &Page, line: usize, what: impl Into<String>) -> Problem {
        Problem {
            file: page.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// `FILE:LINE: what is wrong`, further lines indented.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.trim_end().replace('\n', "\n    ");
        write!(f, "{}:{}: {what}", self.file.display(), self.line)
    }
}

/// The pages, and the workspace that they are about.
pub struct Book {
    root: PathBuf,
    pages: Vec<Page>,
}

impl Book {
    /// Reads `README.md`, `docs/README.md` and every page in `docs/src` of this workspace.
    ///
    /// # Panics
    ///
    /// If one of them cannot be read.
    #[must_use]
    pub fn read() -> Book {
        let mut book = Book::of_pages(Vec::new());
        let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("docs/README.md")];
        paths.extend(
            files(&book.root.join(CHAPTERS), "md")
                .into_iter()
                .map(|path| {
                    let path = path
                        .strip_prefix(&book.root)
                        .expect("it lies below the root");
                    path.to_owned()
                }),
        );
        for path in paths {
            let text = read(&book.root.join(&path));
            book.pages.push(Page::new(path, &text));
        }
        book
    }

    /// A book of these pages about this workspace, to check the checks with.
    #[must_use]
    pub fn of_pages(pages: Vec<Page>) -> Book {
        Book {
            root: root(),
            pages,
        }
    }

    /// Checks that `rust` and `diff` blocks are what stands in the source.
    #[must_use]
    pub fn check_code(&self) -> Vec<Problem> {
        self.check_pages(|page| code::check(&self.root, page))
    }

    /// Checks that links lead somewhere, that their anchors exist, and that `SUMMARY.md` names every
    /// page.
    #[must_use]
    pub fn check_links(&self) -> Vec<Problem> {
        links::check(&self.root, &self.pages)
    }

    /// Checks that the packages, targets, tests and files that the text names exist.
    ///
    /// # Panics
    ///
    /// If `cargo metadata` cannot be run.
    #[must_use]
    pub fn check_names(&self) -> Vec<Problem> {
        let workspace = names::Workspace::read(&self.root);
        self.check_pages(|page| workspace.check(page))
    }

    /// Checks that `transcript` blocks can be read, and are replayed by a milestone.
    #[must_use]
    pub fn check_transcripts(&self) -> Vec<Problem> {
        self.check_pages(|page| script::check(&self.root, page))
    }

    fn check_pages(&self, check: impl Fn(&Page) -> Vec<Problem>) -> Vec<Problem> {
        self.pages.iter().flat_map(check).collect()
    }
}

/// The folder of the workspace.
///
/// # Panics
///
/// If this package is not in `docs/checks`.
#[must_use]
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2);
    root.expect("this package is in docs/checks").to_owned()
}

/// Fails with all problems, if there are any.
///
/// # Panics
///
/// If there is one.
#[track_caller]
pub fn assert_sound(problems: &[Problem]) {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(
        problems.is_empty(),
        "the book and the code have parted in {} places:\n\n{}\n",
        problems.len(),
        lines.join("\n\n")
    );
}

/// The files with this ending in a folder and its subfolders, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// The milestones' folders, in their order.
pub fn milestones(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).expect("the workspace can be listed");
    let names = entries.map(|e| e.expect("the workspace can be listed").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("milestone-"))
        .collect();
    names.sort();
    names
}
