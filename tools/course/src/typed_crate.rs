//! A crate of a program that was typed from the book.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::quote::Program;
use crate::workspace::read;

/// The `Cargo.toml` of a crate with the dependencies of a milestone.
///
/// # Panics
///
/// If the workspace or the milestone has no dependencies.
pub fn manifest(name: &str, milestone: &str) -> String {
    let workspace = section("workspace.dependencies", "Cargo.toml");
    let mut text = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[dependencies]\n");
    for line in section("dependencies", &format!("{milestone}/Cargo.toml")).lines() {
        // The milestone's lines name what the workspace's say.
        let (dependency, _) = line.split_once(['.', ' ']).unwrap_or_default();
        let is_it = |line: &&str| line.split(' ').next() == Some(dependency);
        let line = workspace.lines().find(is_it).unwrap_or_default();
        // A `String` takes everything.
        let _ = writeln!(text, "{line}");
    }
    // It may be in a folder of another workspace.
    text + "\n[workspace]\n"
}

/// Writes a crate into a folder, with the versions of the workspace's `Cargo.lock`.
///
/// # Errors
///
/// Those of the file system.
pub fn write_crate(folder: &Path, manifest: &str, program: &Program) -> io::Result<()> {
    write(&folder.join("Cargo.toml"), manifest)?;
    write(&folder.join("Cargo.lock"), &read("Cargo.lock"))?;
    for (path, lines) in program {
        write(&folder.join(path), &(lines.join("\n") + "\n"))?;
    }
    Ok(())
}

/// What follows the head of a section, up to an empty line.
fn section(head: &str, manifest: &str) -> String {
    let text = read(manifest);
    let parts = text.split_once(&format!("[{head}]\n"));
    let (_, rest) = parts.unwrap_or_else(|| panic!("{manifest} has no [{head}]"));
    rest.split("\n\n").next().unwrap_or_default().to_owned()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
    fs::write(path, text)
}
