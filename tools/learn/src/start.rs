//! `cargo learn start`: the program as it stands where a page of the book begins.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use course::typed_crate::{manifest, write_crate};
use course::typing::type_book;
use course::{Book, milestones};

pub(crate) struct Start {
    /// The chapter, and the stop or 0.
    pub place: (usize, usize),
    /// The folder of the new crate.
    pub folder: PathBuf,
}

impl Start {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let folder = self.folder.display();
        let book = Book::read();
        let mut typed = type_book(&book.pages);
        let (chapter, stop) = self.place;
        let program = typed.starts.remove(&self.place);
        let program = program.with_context(|| format!("chapter {chapter} has no stop {stop}"))?;
        let exists = self.folder.exists();
        ensure!(!exists, "{folder} exists, and nothing in it is overwritten");

        let name = self.folder.file_name().and_then(|name| name.to_str());
        let name = name.context("the folder's name must be one for a crate")?;
        let manifest = manifest(name, &milestones()[chapter - 1]);
        write_crate(&self.folder, &manifest, &program)
            .with_context(|| format!("cannot write to {folder}"))?;
        println!("Wrote the crate {name} to {folder}. Build it there with `cargo build`.");
        Ok(ExitCode::SUCCESS)
    }
}
