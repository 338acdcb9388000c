//! `SERVER_CMD` and `SERVER_ADDR`: the learner's own command runs as intended, or the failure says
//! what is wrong with it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use std::net::TcpListener;

use course::test_runner::{self, Suite, free_address};

const CHAPTER: &str = "milestone-1-accept";

/// A server that prints nothing. (`sleep` alone would take the address for a second duration.)
const SILENT: &str = "sh -c 'exec sleep 1000'";

/// The output of a test of the first chapter, which must fail with this command.
#[track_caller]
fn failure_with(suite: &Suite, command: &str) -> String {
    let outcomes = suite.run(command, |test| test == "a_client_sees_end_of_file");
    let [outcome] = &outcomes[..] else {
        panic!("one test was asked for");
    };
    assert!(!outcome.passed, "with the command {command:?}");
    outcome.output.clone()
}

#[test]
fn a_command_that_cannot_be_run_is_a_clear_failure() {
    let suite = Suite::of(CHAPTER);
    for (command, said) in [
        ("", "SERVER_CMD is empty"),
        ("  ", "SERVER_CMD is empty"),
        ("rat 'unfinished", "SERVER_CMD is not a command line"),
        (
            "./no/such/rat",
            "SERVER_CMD names a program that does not exist: /",
        ),
        ("no-such-rat", "cannot start no-such-rat: "),
        (
            "sh -c 'echo no luck >&2; exit 3'",
            "its last words: no luck",
        ),
        ("true", "the server: has ended, exit status 0"),
    ] {
        let output = failure_with(&suite, command);
        assert!(output.contains(said), "no {said:?} in:\n{output}");
    }
}

/// Without a server, the cause is not what the test is about.
#[test]
fn a_server_that_does_not_start_gets_likely_causes() {
    let suite = Suite::of(CHAPTER);
    for (command, cause) in [
        ("no-such-rat", "often: The command cannot be started."),
        ("true", "[does-not-start]"),
        (SILENT, "[does-not-listen]"),
    ] {
        let output = failure_with(&suite, command);
        for said in [
            cause,
            "read: docs/src/your-own-server.md, 'Run a chapter's tests against it'",
        ] {
            assert!(output.contains(said), "no {said:?} in:\n{output}");
        }
    }
    let page = include_str!("../../../docs/src/your-own-server.md");
    assert!(page.contains("\n## Run a chapter's tests against it\n"));
}

/// Many languages buffer what is printed to a pipe, and then a server that works looks dead.
#[test]
fn a_silent_server_is_asked_whether_it_flushes() {
    let output = failure_with(&Suite::of(CHAPTER), SILENT);
    let said = "received: nothing more in 2 s, and no line on stdout yet: does it flush them?\n";
    assert!(output.contains(said), "no {said:?} in:\n{output}");
}

/// A command of several words, some of them quoted, that prints its address on stdout.
#[test]
fn a_command_line_is_split_as_a_shell_does() {
    let program = test_runner::command(&test_runner::program(CHAPTER));
    let command = format!("sh -c 'exec \"$0\" \"$@\" 2>&1' {program}");
    let suite = Suite::of(CHAPTER).deadline_scale(1.0);
    for outcome in suite.run(&command, |test| test == "a_client_sees_end_of_file") {
        // The test finds the line `Listening on` on either stream.
        assert!(outcome.passed, "{}", outcome.output);
    }
}

/// Killing a wrapper does not kill what it has started.
#[test]
fn a_wrapper_is_ended_with_its_server() {
    let program = test_runner::command(&test_runner::program(CHAPTER));
    let command = format!("sh -c '\"$0\" \"$1\"; exit 1' {program}");
    let suite = Suite::of(CHAPTER).deadline_scale(1.0);
    for outcome in suite.run(&command, |test| test == "a_client_sees_end_of_file") {
        // The test ends: it does not wait for a pipe that the server holds open.
        assert!(outcome.passed, "{}", outcome.output);
        assert!(
            !outcome.output.contains("still holds"),
            "{}",
            outcome.output
        );
    }
}

/// A program that does not take its address from the tests. They take turns at the one port, and those
/// about the argument are skipped.
#[test]
fn a_program_with_an_address_of_its_own() {
    let address = free_address();
    let program = test_runner::command(&test_runner::program(CHAPTER));
    let command = format!("{program} {address}");
    let suite = Suite::of(CHAPTER)
        .deadline_scale(1.0)
        .server_address(address);
    let mut skipped = Vec::new();
    // A thousand more connections would only make the kernel's table of sockets longer.
    for outcome in suite.run(&command, |test| !test.contains("thousand")) {
        assert!(outcome.passed, "{}", outcome.output);
        if outcome.was_skipped() {
            skipped.push(outcome.test);
        }
    }
    assert_eq!(
        skipped,
        [
            "ends_when_polling_fails",
            "listens_on_ipv6",
            "listens_on_port_8080_by_default",
            "refuses_a_malformed_address",
            "refuses_a_second_argument",
            "reports_the_port_that_the_kernel_chose",
            "starts_again_on_its_port",
        ]
    );
}

#[test]
fn a_port_in_use_is_a_clear_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let suite = Suite::of(CHAPTER).server_address(address);
    let output = failure_with(&suite, "true");
    let said = format!("no server can be started at {address}: Address already in use");
    assert!(output.contains(&said), "no {said:?} in:\n{output}");
}
