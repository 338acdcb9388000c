//! A chapter starts from the program of the chapter before. With that program all its new tests fail,
//! each for the reason that the chapter gives. For chapter 5, whose steps are many, its checkpoints say
//! which attacks fail before each of them (`typing.rs`).

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use course::test_runner::{self, Outcome, Suite};

/// Runs a chapter's new tests against the program of the chapter before. Each must fail, teach,
/// and give `reason`, or its own reason in `others`.
#[track_caller]
fn assert_new_tests_are_red(before: &str, chapter: &str, reason: &str, others: &[(&str, &str)]) {
    for outcome in run_new_tests(before, chapter) {
        assert_is_red_and_teaches(&outcome, before);
        let (test, output) = (&outcome.test, &outcome.output);
        let other = others.iter().find(|(name, _)| name == test);
        let reason = other.map_or(reason, |(_, reason)| reason);
        assert!(
            output.contains(reason),
            "{test}: no {reason:?} in:\n{output}"
        );
    }
}

/// The results of the tests that were not skipped.
fn run_new_tests(before: &str, chapter: &str) -> Vec<Outcome> {
    let old = Suite::of(before).names();
    let program = test_runner::program(before);
    // Enough time for 16 MB on a busy machine.
    let suite = Suite::of(chapter).deadline_scale(0.25);
    let mut outcomes = suite.run(&test_runner::command(&program), |test| {
        !old.iter().any(|old| old == test)
    });
    outcomes.retain(|outcome| !outcome.was_skipped());
    assert!(!outcomes.is_empty(), "{chapter} has no new tests");
    outcomes
}

#[track_caller]
fn assert_is_red_and_teaches(outcome: &Outcome, before: &str) {
    let (test, output) = (&outcome.test, &outcome.output);
    assert!(!outcome.passed, "{test} passes with {before}:\n{output}");
    // Which place that is depends on the rule that fits.
    for part in ["\nthe test: ", "\nread: docs/src/"] {
        assert!(output.contains(part), "{test}: no {part:?} in:\n{output}");
    }
}

/// Milestone 1 accepts clients and drops them: none is registered.
#[test]
fn milestone_2_starts_red_with_milestone_1() {
    assert_new_tests_are_red(
        "milestone-1-accept",
        "milestone-2-register",
        "the server did not register ",
        &[],
    );
}

/// Milestone 2 gets events for clients that send or disconnect, and neither reads nor closes.
#[test]
fn milestone_3_starts_red_with_milestone_2() {
    assert_new_tests_are_red(
        "milestone-2-register",
        "milestone-3-broadcast",
        "received: | Client event for Token(1)\n",
        &[
            // No client is closed, so no descriptor becomes free.
            (
                "row_4_accepts_pending_connections_at_the_descriptor_limit",
                "expected: | Accepted connection from ",
            ),
            ("retries_an_interrupted_read", "expected: | Broadcast 13 "),
            // Nothing is read, so the socket fills up.
            ("row_5_a_long_line_costs_linear_time", " could not send\n"),
        ],
    );
}

/// Milestone 3 queues lines and sends nothing.
#[test]
fn milestone_4_starts_red_with_milestone_3() {
    assert_new_tests_are_red(
        "milestone-3-broadcast",
        "milestone-4-write",
        " did not receive what was expected\n",
        &[
            ("eight_writers_at_once", " did not receive a line\n"),
            (
                "row_8_a_write_error_closes_the_client_at_once",
                "expected: ! a line, where ",
            ),
            // On a busy machine the deadline may pass before 16 MB are sent.
            (
                "a_line_larger_than_the_socket_buffer_arrives_complete",
                "  expected: ",
            ),
        ],
    );
}
