//! What the text mentions by name: packages, targets, files, tests and functions.

use std::collections::BTreeSet;

use course::test_runner::cargo;
use course::workspace::{read, root, source_files};
use course::{Book, Page, regex};
use serde_json::Value;

/// The options of cargo that name a package or a target.
const OPTIONS: [&str; 4] = ["-p", "--bin", "--test", "--bench"];

/// The workspace's folders with files that the text may name, besides the milestones.
const SOURCES: [&str; 5] = ["docs", "shared-testkit", "tools", ".ci", ".github"];

/// Checks that what the text names exists: packages and targets (`-p`, `--test`, `--bench`,
/// `--bin`), files, and tests and functions. A snake-case name is checked if it begins with
/// `row_` or has three words.
///
/// # Panics
///
/// If `cargo metadata` fails.
#[must_use]
pub fn check_names(book: &Book) -> Vec<String> {
    let names = Names::read();
    book.pages.iter().flat_map(|p| names.check(p)).collect()
}

/// Everything that has a name.
#[derive(Default)]
struct Names {
    /// `PACKAGE OPTION NAME`
    options: BTreeSet<String>,
    functions: BTreeSet<String>,
}

impl Names {
    fn read() -> Names {
        let mut names = Names::default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for package in list(&cargo_metadata()["packages"]) {
            let name = text(&package["name"]);
            names.options.insert(format!("{name} -p {name}"));
            for target in list(&package["targets"]) {
                let (kind, target) = (text(&target["kind"][0]), text(&target["name"]));
                names.options.insert(format!("{name} --{kind} {target}"));
            }
        }
        let function = regex(r"fn (\w+)");
        for source in source_files() {
            let source = read(&source);
            let functions = function.captures_iter(&source);
            names
                .functions
                .extend(functions.map(|found| found[1].to_owned()));
        }
        names
    }

    fn check(&self, page: &Page) -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |line, result: Result<(), String>| {
            problems.extend(result.err().map(|what| page.problem(line, &what)));
        };
        for block in &page.blocks {
            for test in block.values("red").chain(block.values("green")) {
                note(block.line, self.check_function(test));
            }
            for line in &block.lines {
                // Where there is a prompt, the lines without it are output.
                let command = match block.language.as_str() {
                    "sh" | "bash" => line.text.as_str(),
                    "console" | "transcript" => line.text.strip_prefix("$ ").unwrap_or_default(),
                    _ => "",
                };
                note(line.line, self.check_command(command));
            }
        }
        for span in &page.spans {
            note(span.line, self.check_command(&span.text));
            note(span.line, self.check_function(&span.text));
        }
        problems
    }

    fn check_command(&self, command: &str) -> Result<(), String> {
        let command = command.split(" #").next().unwrap_or_default();
        let words: Vec<_> = command.split_whitespace().collect();
        let mut package = "";
        for pair in words.windows(2) {
            let (option, name) = (pair[0], pair[1]);
            if !OPTIONS.contains(&option) || is_placeholder(name) {
                continue;
            }
            if option == "-p" {
                package = name;
            }
            let wanted = format!("{package} {option} {name}");
            if !self.options.iter().any(|known| known.ends_with(&wanted)) {
                return Err(format!("there is no `{}`", wanted.trim()));
            }
        }
        for word in &words {
            check_path(word)?;
            // What follows `cargo test` is a part of a test's name.
            let is_known = || self.functions.iter().any(|name| name.contains(word));
            if command.contains("cargo test ") && is_function(word) && !is_known() {
                return Err(format!("no test has {word:?} in its name"));
            }
        }
        Ok(())
    }

    fn check_function(&self, name: &str) -> Result<(), String> {
        if is_function(name) && !self.functions.contains(name) {
            return Err(format!("there is no test and no function `{name}`"));
        }
        Ok(())
    }
}

/// A word that begins with one of the workspace's folders is a path.
fn check_path(word: &str) -> Result<(), String> {
    let path = word.trim_matches(['\'', '"', ',', ';', '(', ')', '/']);
    let (folder, file) = path.split_once('/').unwrap_or_default();
    let is_ours = folder.starts_with("milestone-") || SOURCES.contains(&folder);
    // The built book is not there before it is built.
    let is_exempt = is_placeholder(path) || folder == "docs" && file.starts_with("book");
    if is_ours && !is_exempt && !root().join(path).exists() {
        return Err(format!("there is no file `{path}`"));
    }
    Ok(())
}

/// A word that stands for what the reader puts there: `PACKAGE`, `milestone-N-…`, `*.rs`.
fn is_placeholder(word: &str) -> bool {
    let is_upper = |c: char| c.is_ascii_uppercase() || c == '_';
    word.contains(['…', '<', '$', '*', '{']) || word.contains("-N-") || word.chars().all(is_upper)
}

/// Whether this can only be a function: the name of a test is a sentence.
fn is_function(word: &str) -> bool {
    regex(r"^(row_|[a-z0-9]*_[a-z0-9]*_)[a-z0-9_]*$").is_match(word)
}

fn cargo_metadata() -> Value {
    let arguments = ["metadata", "--no-deps", "--format-version=1"];
    let output = cargo().args(arguments).current_dir(root()).output();
    let json = output.expect("cargo can be run").stdout;
    serde_json::from_slice(&json).expect("cargo metadata succeeds")
}
