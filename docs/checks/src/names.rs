//! What the text names by its name: packages, targets, tests, files.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::page::Page;
use crate::{Problem, files, read};

/// The languages of blocks that hold commands.
const COMMANDS: [&str; 4] = ["sh", "bash", "console", "transcript"];

/// The subcommands of cargo whose arguments are looked at.
const SUBCOMMANDS: [&str; 8] = [
    "bench", "build", "check", "clippy", "doc", "fmt", "run", "test",
];

/// Options of these whose value is the next word, and that say nothing to be checked.
const OTHER_OPTIONS: [&str; 5] = ["--features", "-F", "--color", "--profile", "-j"];

/// What there is to be named.
pub(crate) struct Workspace {
    root: PathBuf,
    packages: Vec<Package>,
    /// The names in the sources that look like a test's.
    names: BTreeSet<String>,
}

struct Package {
    name: String,
    folder: PathBuf,
    targets: Vec<Target>,
    tests: BTreeSet<String>,
}

struct Target {
    name: String,
    /// `bin`, `lib`, `test`, `bench` or `example`.
    kind: String,
}

impl Workspace {
    /// What cargo says of the workspace, and the names of the tests in its sources.
    pub fn read(root: &Path) -> Workspace {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version=1"])
            .current_dir(root)
            .output()
            .expect("cargo can be run");
        assert!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
        let packages: Vec<_> = array(&metadata["packages"])
            .iter()
            .map(Package::new)
            .collect();
        let sources = packages.iter().map(|package| package.folder.clone());
        let sources = sources.flat_map(|folder| files(&folder, "rs"));
        Workspace {
            root: root.to_owned(),
            names: sources
                .flat_map(|source| names_in(&read(&source)))
                .collect(),
            packages,
        }
    }

    pub fn check(&self, page: &Page) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |line, result: Result<(), String>| {
            if let Err(what) = result {
                problems.push(Problem::new(page, line, what));
            }
        };
        for block in &page.blocks {
            if !COMMANDS.contains(&block.language.as_str()) {
                continue;
            }
            for (index, line) in block.lines.iter().enumerate() {
                // Where there is a prompt, the other lines are what the commands say.
                let command = match block.language.as_str() {
                    "sh" | "bash" => Some(line.as_str()),
                    _ => line.strip_prefix("$ "),
                };
                if let Some(command) = command {
                    note(block.line + index, self.check_command(command));
                }
            }
        }
        for code in &page.codes {
            note(code.line, self.check_command(&code.text));
            if code.is_test && is_snake_case(&code.text) || code.text.starts_with("row_") {
                note(code.line, self.check_test(&code.text));
            } else if looks_like_a_test(&code.text) {
                note(code.line, self.check_name(&code.text));
            }
        }
        problems
    }

    fn check_command(&self, command: &str) -> Result<(), String> {
        let command = command.split(" #").next().unwrap_or_default();
        let words: Vec<_> = command.split_whitespace().collect();
        for word in &words {
            self.check_path(word)?;
        }
        // Behind `cd … &&` and environment variables, and more than one in a line.
        for (index, pair) in words.windows(2).enumerate() {
            if pair[0] == "cargo" && SUBCOMMANDS.contains(&pair[1]) {
                let rest = &words[index + 2..];
                let end = rest
                    .iter()
                    .position(|word| ["&&", "||", "|", ";"].contains(word));
                let arguments = &rest[..end.unwrap_or(rest.len())];
                self.check_cargo(pair[1], arguments)
                    .map_err(|what| format!("`{command}`: {what}"))?;
            }
        }
        Ok(())
    }

    fn check_cargo(&self, subcommand: &str, arguments: &[&str]) -> Result<(), String> {
        let mut own = arguments.split(|word| *word == "--");
        let of_cargo = own.next().unwrap_or_default();
        let of_program = own.next().unwrap_or_default();

        let mut packages: Vec<&Package> = Vec::new();
        let mut targets = Vec::new();
        let mut filters = Vec::new();
        let mut words = of_cargo.iter();
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (*word, None),
            };
            let mut value = || value.or_else(|| words.next().copied()).unwrap_or_default();
            match option {
                "-p" | "--package" => packages.extend(self.package(value())?),
                "--test" | "--bench" | "--bin" | "--example" => {
                    targets.push((option.trim_start_matches('-'), value()));
                }
                option if OTHER_OPTIONS.contains(&option) => {
                    value();
                }
                option if option.starts_with('-') => {}
                filter => filters.push(filter),
            }
        }

        let packages = match packages.is_empty() {
            true => self.packages.iter().collect(),
            false => packages,
        };
        if subcommand == "run" {
            require(&packages, "bin", None)?;
        }
        for (kind, name) in targets {
            require(&packages, kind, Some(name))?;
        }
        if subcommand == "test" {
            filters.extend(of_program.iter().filter(|word| !word.starts_with('-')));
            for filter in filters.into_iter().filter(|filter| !is_placeholder(filter)) {
                let name = filter.rsplit("::").next().unwrap_or_default();
                let has = |package: &&Package| package.tests.iter().any(|t| t.contains(name));
                if !packages.iter().any(has) {
                    return Err(format!("no test has {filter:?} in its name"));
                }
            }
        }
        Ok(())
    }

    fn package(&self, name: &str) -> Result<Option<&Package>, String> {
        if is_placeholder(name) {
            return Ok(None);
        }
        match self.packages.iter().find(|package| package.name == name) {
            Some(package) => Ok(Some(package)),
            None => Err(format!("there is no package {name:?}")),
        }
    }

    fn check_test(&self, name: &str) -> Result<(), String> {
        if self
            .packages
            .iter()
            .any(|package| package.tests.contains(name))
        {
            return Ok(());
        }
        Err(format!("there is no test `{name}`"))
    }

    /// What is not said to be a test may be a function just as well.
    fn check_name(&self, name: &str) -> Result<(), String> {
        if self.names.contains(name) {
            return Ok(());
        }
        Err(format!("no test and no function is called `{name}`"))
    }

    /// A word that begins with one of the workspace's folders is a path in it.
    fn check_path(&self, word: &str) -> Result<(), String> {
        let word = word.trim_matches(['\'', '"', ',', ';', '(', ')']);
        let word = word.trim_start_matches("./").trim_end_matches('/');
        let Some((folder, rest)) = word.split_once('/') else {
            return Ok(());
        };
        let is_ours = self.packages.iter().any(|package| package.name == folder)
            || folder.starts_with("milestone-")
            || ["docs", ".ci", ".github"].contains(&folder);
        // What is built is not there before.
        let is_built = rest.starts_with("book");
        let is_pattern = rest.contains(['*', '…', '$', '{', '<']) || is_placeholder(folder);
        if !is_ours || is_built || is_pattern || self.root.join(word).exists() {
            return Ok(());
        }
        Err(format!("there is no file `{word}`"))
    }
}

fn require(packages: &[&Package], kind: &str, name: Option<&str>) -> Result<(), String> {
    if name.is_some_and(is_placeholder) {
        return Ok(());
    }
    let mut targets = packages.iter().flat_map(|package| &package.targets);
    if targets.any(|t| t.kind == kind && name.is_none_or(|name| t.name == name)) {
        return Ok(());
    }
    let places: Vec<_> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    Err(format!(
        "there is no {kind} {} in {}",
        name.unwrap_or("target"),
        places.join(", ")
    ))
}

/// A word that stands for what the reader puts there: `PACKAGE`, `NAME`, `milestone-N-…`.
fn is_placeholder(word: &str) -> bool {
    let is_upper = |c: char| c.is_ascii_uppercase() || c == '_' || c == '-';
    word.contains(['…', '<', '$']) || word.contains("-N-") || word.chars().all(is_upper)
}

fn is_snake_case(word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.contains('_') && word.chars().all(is_part)
}

/// A test's name is a sentence: three words at least.
fn looks_like_a_test(word: &str) -> bool {
    is_snake_case(word) && word.matches('_').count() >= 2
}

impl Package {
    fn new(package: &Value) -> Package {
        let mut targets = Vec::new();
        let mut tests = BTreeSet::new();
        for target in array(&package["targets"]) {
            let kind = string(&target["kind"][0]);
            let path = PathBuf::from(string(&target["src_path"]));
            let sources = match kind {
                // With the modules beside it.
                "bin" | "lib" => files(path.parent().expect("a file is in a folder"), "rs"),
                _ => vec![path],
            };
            tests.extend(sources.iter().flat_map(|source| tests_in(&read(source))));
            targets.push(Target {
                name: string(&target["name"]).to_owned(),
                kind: kind.to_owned(),
            });
        }
        Package {
            name: string(&package["name"]).to_owned(),
            folder: Path::new(string(&package["manifest_path"]))
                .parent()
                .expect("a manifest is in a folder")
                .to_owned(),
            targets,
            tests,
        }
    }
}

/// The names of the tests in a source file: functions under `#[test]`, and those that the testkit's
/// macro `behaviours!` makes tests of.
fn tests_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == "#[test]" {
            let signature = lines.by_ref().find(|line| !line.starts_with("#["));
            let name = signature.and_then(|line| line.strip_prefix("fn "));
            names.extend(
                name.and_then(|name| name.split('(').next())
                    .map(str::to_owned),
            );
        }
    }
    for (at, head) in source.match_indices("behaviours! {") {
        let body = source[at + head.len()..]
            .split('}')
            .next()
            .unwrap_or_default();
        for list in body.split(';') {
            let list = list
                .split_once(':')
                .map(|(_, names)| names)
                .unwrap_or_default();
            let words = list.split([',', '\n']).map(str::trim);
            names.extend(words.filter(|word| is_snake_case(word)).map(str::to_owned));
        }
    }
    names
}

fn names_in(source: &str) -> Vec<String> {
    let words = source.split(|c: char| !c.is_alphanumeric() && c != '_');
    words
        .filter(|word| looks_like_a_test(word))
        .map(str::to_owned)
        .collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn string(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a text here")
}
