//! Servers in other languages pass every chapter's tests: they require only what the chapter
//! describes, and what the language's own library can do. And the blocking server does what chapter 1
//! begins with.

#![allow(clippy::expect_used, reason = "the helpers are part of the tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use course::test_runner::{self, Suite};
use course::{milestones, root};
use shared_testkit::{Server, env::is_strict, skip};

/// The chapters that the examples implement.
const CHAPTERS: usize = 4;

/// Whether a language's own library cannot keep some promises, which the testkit then recognizes.
#[derive(Clone, Copy, PartialEq)]
enum Library {
    KeepsAll,
    HasLimits,
}

#[test]
fn the_server_in_c_passes_every_chapter() {
    // Without TESTKIT_STRICT, the last chapter: it has most tests of the others.
    let first = if is_strict() { 1 } else { CHAPTERS };
    if let Some(server) = c() {
        passes(&server, first, Library::KeepsAll);
    }
}

#[test]
fn the_server_in_go_passes_every_chapter() {
    passes_strictly(Library::KeepsAll, go);
}

#[test]
fn the_server_in_python_passes_every_chapter() {
    passes_strictly(Library::KeepsAll, || interpreted("python3", "chat.py"));
}

#[test]
fn the_server_in_java_passes_all_that_it_can() {
    passes_strictly(Library::HasLimits, java);
}

#[test]
fn the_server_in_javascript_passes_all_that_it_can() {
    passes_strictly(Library::HasLimits, || interpreted("node", "chat.js"));
}

#[test]
fn the_server_with_selectors_passes_all_that_it_can() {
    passes_strictly(Library::HasLimits, || {
        interpreted("python3", "chat_selectors.py")
    });
}

#[test]
fn the_server_in_ruby_passes_all_that_it_can() {
    passes_strictly(Library::HasLimits, || interpreted("ruby", "chat.rb"));
}

/// The program listens on a port of the kernel's choice here, and reports it.
#[test]
fn the_blocking_server_hears_nobody_but_alice() {
    let examples = root().join("docs/examples");
    let source = fs::read_to_string(examples.join("blocking.rs")).expect("it can be read");
    let bind = r#"TcpListener::bind("127.0.0.1:8080")?;"#;
    let report = r#"TcpListener::bind("127.0.0.1:0")?; eprintln!("Listening on {}", listener.local_addr()?);"#;
    assert!(source.contains(bind), "no {bind} in:\n{source}");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("blocking.rs");
    fs::write(&copy, source.replace(bind, report)).expect("it can be written");
    let program = copy.with_extension("");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-D", "warnings", "-o"]);
    let status = rustc.args([&program, &copy]).status();
    assert!(status.expect("rustc can be run").success());

    let server = Server::start(&program);
    let mut alice = server.connect("alice");
    let mut bob = server.connect("bob");
    bob.send_line("pizza or curry?");
    alice.send_line("putting the kettle on");
    server.expect_line("putting the kettle on");
    server.expect_no_more_lines();
    alice.leave();
    server.expect_line("pizza or curry?");
    server.expect_no_more_lines();
}

/// Runs every chapter's tests. Without `TESTKIT_STRICT`, the server in C is enough, which takes the shortest
/// time: the calling test is reported as skipped.
#[track_caller]
fn passes_strictly(library: Library, server: impl Fn() -> Option<String>) {
    if !is_strict() {
        return skip("the server in C is tested, and TESTKIT_STRICT is not set");
    }
    if let Some(server) = server() {
        passes(&server, 1, library);
    }
}

/// From this chapter on. What the library cannot keep is found to be a limit of it.
#[track_caller]
fn passes(server: &str, first: usize, library: Library) {
    let mut limits = 0;
    // What a library cannot keep is waited for in vain, in each chapter.
    let scale = match library {
        Library::KeepsAll => 1.0,
        Library::HasLimits => 0.5,
    };
    for (chapter, package) in (1..=CHAPTERS).zip(milestones()).skip(first - 1) {
        let command = format!("{server} --chapter {chapter}");
        let outcomes = Suite::of(&package)
            .deadline_scale(scale)
            .run(&command, |_| true);
        assert!(!outcomes.is_empty(), "{package} has no tests");
        for outcome in outcomes {
            let is_limit = outcome.limit().is_some();
            limits += usize::from(is_limit);
            let is_right = outcome.passed || is_limit;
            assert!(is_right, "{}:\n{}", outcome.test, outcome.output);
        }
    }
    assert_eq!(limits > 0, library == Library::HasLimits, "{limits} limits");
}

/// The command that starts an example, or `None` without its tool.
fn interpreted(tool: &str, file: &str) -> Option<String> {
    let script = root().join("docs/examples").join(file);
    has(tool).then(|| format!("{tool} {}", test_runner::command(&script)))
}

/// A class is a file in a folder, not a program.
fn java() -> Option<String> {
    if !has("javac") {
        return None;
    }
    let classes = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let options = ["-Xlint:all", "-Werror", "-d"];
    compile(
        Command::new("javac").args(options).arg(classes),
        "Chat.java",
    );
    Some(format!("java -cp {} Chat", test_runner::command(classes)))
}

fn c() -> Option<String> {
    let options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2"];
    has("gcc").then(|| build(Command::new("gcc").args(options), "chat.c"))
}

fn go() -> Option<String> {
    has("go").then(|| build(Command::new("go").arg("build"), "chat.go"))
}

/// Compiles an example and returns the command that starts it.
#[track_caller]
fn build(compiler: &mut Command, source: &str) -> String {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(source.replace('.', "-"));
    compile(compiler.arg("-o").arg(&program), source);
    test_runner::command(&program)
}

#[track_caller]
fn compile(compiler: &mut Command, source: &str) {
    let path = root().join("docs/examples").join(source);
    let output = compiler
        .arg(path)
        .output()
        .expect("the compiler can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source}:\n{errors}");
}

/// Whether this machine has a tool. If not, reports the calling test as skipped.
fn has(tool: &str) -> bool {
    let result = Command::new(tool).arg("--version").output();
    if let Err(e) = &result {
        skip(&format!("{tool} cannot be run: {e}"));
    }
    result.is_ok()
}
