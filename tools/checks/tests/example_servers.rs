//! Servers in other languages pass every chapter's tests: they require only what the chapter
//! describes, and what the language's own library can do. And the blocking server does what chapter 1
//! begins with.

use std::fs;
use std::path::Path;
use std::process::Command;

use course::test_runner::{self, Suite, is_installed};
use course::workspace::EXAMPLES;
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
    let gcc = "gcc -std=c11 -Wall -Wextra -Werror -O2 -o OUT/chat-c EXAMPLES/chat.c";
    passes(Library::KeepsAll, gcc, "OUT/chat-c");
}

#[test]
fn the_server_in_go_passes_every_chapter() {
    let go = "go build -o OUT/chat-go EXAMPLES/chat.go";
    passes(Library::KeepsAll, go, "OUT/chat-go");
}

#[test]
fn the_server_in_python_passes_every_chapter() {
    passes(Library::KeepsAll, "python3 -V", "python3 EXAMPLES/chat.py");
}

#[test]
fn the_server_in_java_passes_all_that_it_can() {
    let javac = "javac -Xlint:all -Werror -d OUT EXAMPLES/Chat.java";
    passes(Library::HasLimits, javac, "java -cp OUT Chat");
}

#[test]
fn the_server_in_javascript_passes_all_that_it_can() {
    passes(Library::HasLimits, "node -v", "node EXAMPLES/chat.js");
}

#[test]
fn the_server_with_selectors_passes_all_that_it_can() {
    let start = "python3 EXAMPLES/chat_selectors.py";
    passes(Library::HasLimits, "python3 -V", start);
}

#[test]
fn the_server_in_ruby_passes_all_that_it_can() {
    passes(Library::HasLimits, "ruby -v", "ruby EXAMPLES/chat.rb");
}

/// The program listens on a port of the kernel's choice here, and reports it.
#[test]
fn the_blocking_server_hears_nobody_but_alice() {
    let examples = root().join(EXAMPLES);
    let source = fs::read_to_string(examples.join("blocking.rs")).expect("it can be read");
    let bind = r#"TcpListener::bind("127.0.0.1:8080")?;"#;
    let report = r#"TcpListener::bind("127.0.0.1:0")?; eprintln!("Listening on {}", listener.local_addr()?);"#;
    assert!(source.contains(bind), "no {bind} in:\n{source}");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("blocking.rs");
    fs::write(&copy, source.replace(bind, report)).expect("it can be written");
    run("rustc --edition 2024 -D warnings -o OUT/blocking OUT/blocking.rs");

    let server = Server::start(copy.with_extension(""));
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

/// Builds an example with one command, and tests what another one starts, for every chapter. What the library
/// cannot keep is found to be a limit of it. Without its tool, the calling test is reported as skipped.
///
/// Without `TESTKIT_STRICT`, the server in C is enough, which takes the shortest time, and of the chapters the
/// last, which has most tests of the others.
#[track_caller]
fn passes(library: Library, build: &str, start: &str) {
    let tool = build.split(' ').next().unwrap_or_default();
    if !is_installed(tool) {
        return skip(&format!("there is no {tool}"));
    }
    let first = match (is_strict(), tool) {
        (true, _) => 1,
        (false, "gcc") => CHAPTERS,
        _ => return skip("the server in C is tested, and TESTKIT_STRICT is not set"),
    };
    run(build);
    // What a library cannot keep is waited for in vain, in each chapter.
    let scale = match library {
        Library::KeepsAll => 1.0,
        Library::HasLimits => 0.5,
    };
    let mut limits = 0;
    for (chapter, package) in (1..=CHAPTERS).zip(milestones()).skip(first - 1) {
        let command = format!("{} --chapter {chapter}", with_paths(start));
        let suite = Suite::of(&package).deadline_scale(scale);
        let outcomes = suite.run(&command, |_| true);
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

#[track_caller]
fn run(command: &str) {
    let output = Command::new("sh")
        .args(["-c", &with_paths(command)])
        .output();
    let output = output.expect("there is a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}:\n{errors}");
}

/// `OUT` is the folder for what is built.
fn with_paths(command: &str) -> String {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let command = command.replace("OUT", &test_runner::command(out));
    command.replace("EXAMPLES", &test_runner::command(&root().join(EXAMPLES)))
}
