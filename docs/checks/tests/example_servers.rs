//! Servers in other languages pass every chapter's tests: they require only what the chapter
//! describes.

#![allow(clippy::expect_used, reason = "the helpers are part of the tests")]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use book_checks::root;
use book_checks::suite::{self, Suite};
use shared_testkit::{env::is_strict, skip};

const LAST: &str = "milestone-4-write";

/// Each function returns the command that starts the server, or `None` without its tool.
macro_rules! servers {
    ($($language:ident)*) => {$(
        mod $language {
            use super::{LAST, passes};

            #[test]
            fn passes_chapter_1() {
                passes(super::$language(), 1, "milestone-1-accept");
            }

            #[test]
            fn passes_chapter_2() {
                passes(super::$language(), 2, "milestone-2-register");
            }

            #[test]
            fn passes_chapter_3() {
                passes(super::$language(), 3, "milestone-3-broadcast");
            }

            #[test]
            fn passes_chapter_4() {
                passes(super::$language(), 4, LAST);
            }
        }
    )*};
}

servers! { python c go }

fn python() -> Option<String> {
    let script = root().join("docs/examples/chat.py");
    has("python3").then(|| format!("python3 {}", suite::command(&script)))
}

fn c() -> Option<String> {
    static BUILT: OnceLock<String> = OnceLock::new();
    let options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2"];
    let build = || build(Command::new("gcc").args(options), "chat.c");
    has("gcc").then(|| BUILT.get_or_init(build).clone())
}

fn go() -> Option<String> {
    static BUILT: OnceLock<String> = OnceLock::new();
    let build = || build(Command::new("go").arg("build"), "chat.go");
    has("go").then(|| BUILT.get_or_init(build).clone())
}

/// Compiles an example and returns the command that starts it.
#[track_caller]
fn build(compiler: &mut Command, source: &str) -> String {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(source.replace('.', "-"));
    let output = compiler
        .arg("-o")
        .arg(&program)
        .arg(root().join("docs/examples").join(source))
        .output()
        .expect("the compiler can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source}:\n{errors}");
    suite::command(&program)
}

#[track_caller]
fn passes(server: Option<String>, chapter: u32, package: &str) {
    let Some(server) = server else {
        return;
    };
    let command = format!("{server} --chapter {chapter}");

    // Most tests of a chapter belong to the next one as well. Without TESTKIT_STRICT these run for
    // the last chapter only.
    let at_the_end = match package == LAST || is_strict() {
        true => Vec::new(),
        false => Suite::of(LAST).names(),
    };
    let is_run = |test: &str| !at_the_end.iter().any(|name| name == test);
    let outcomes = Suite::of(package).deadline_scale(1.0).run(&command, is_run);
    assert!(!outcomes.is_empty(), "{package} has no tests");
    for outcome in outcomes {
        assert!(outcome.passed, "{}:\n{}", outcome.test, outcome.output);
    }
}

/// Whether this machine has a tool. If not, reports the calling test as skipped.
fn has(tool: &str) -> bool {
    let result = Command::new(tool).arg("--version").output();
    if let Err(e) = &result {
        skip(&format!("{tool} cannot be run: {e}"));
    }
    result.is_ok()
}
