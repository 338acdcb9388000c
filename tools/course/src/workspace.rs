//! The files of the workspace, and one that nobody else has.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{MemfdFlags, memfd_create};

/// The book's pages, relative to the workspace's root.
pub const PAGES: &str = "docs/src";

/// The servers in other languages, each in a file named `chat`.
pub const EXAMPLES: &str = "docs/examples";

/// The table of contents, as mdBook reads it.
pub const SUMMARY: &str = "SUMMARY.md";

/// The workspace's root folder.
///
/// # Panics
///
/// If this package is not in `tools/course`.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2);
    root.expect("this package is in tools/course").to_owned()
}

/// The files with this extension in a folder and its subfolders, sorted. All paths are relative to
/// the workspace's root.
pub fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in names_in(folder) {
        let path = format!("{folder}/{name}");
        if root().join(&path).is_dir() {
            found.extend(files(&path, extension));
        } else if name.ends_with(&format!(".{extension}")) {
            found.push(path);
        }
    }
    found
}

/// The names of the files and folders in a folder, sorted.
pub fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder can be listed");
    let names = entries.map(|entry| entry.expect("the folder can be listed").file_name());
    let names = names.map(|name| name.into_string().expect("names are Unicode"));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The text of a file.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// The folders of the milestones, from the first to the last.
///
/// # Panics
///
/// If the workspace's folder cannot be listed.
pub fn milestones() -> Vec<String> {
    let mut names = names_in("");
    names.retain(|name| name.starts_with("milestone-"));
    names
}

/// All Rust source files.
pub fn source_files() -> Vec<String> {
    let others = ["docs", "shared-testkit", "tools"].map(str::to_owned);
    let folders = milestones().into_iter().chain(others);
    folders.flat_map(|folder| files(&folder, "rs")).collect()
}

/// A file without a name. By this path other processes find it, among the files that this one has open.
pub(crate) fn unnamed_file() -> (File, String) {
    let file = memfd_create("unnamed", MemfdFlags::CLOEXEC).expect("there is memory for a file");
    let path = format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd());
    (file.into(), path)
}
