//! The start of a chapter is the end of the one before: all its new tests are red there, each for
//! the reason that the chapter gives.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use shared_testkit::LESSONS;
use shared_testkit::suite::{self, Suite};

/// Runs a chapter's new tests against the program of the chapter before. Each has to fail with its
/// lesson and with the text `reason`, or the one that is named for it in `others`.
#[track_caller]
fn assert_new_tests_are_red(before: &str, chapter: &str, reason: &str, others: &[(&str, &str)]) {
    let old = Suite::of(before).names();
    let program = suite::program(before);
    // Time enough for 16 MB on a busy machine.
    let suite = Suite::of(chapter).deadline_scale(0.25);
    let outcomes = suite.run(program.to_str().unwrap(), |test| {
        !old.iter().any(|old| old == test)
    });
    assert!(!outcomes.is_empty(), "{chapter} has no new tests");

    for outcome in outcomes {
        let (test, output) = (&outcome.test, &outcome.output);
        if output.contains(&format!("passed over: {test}: ")) {
            continue;
        }
        assert!(!outcome.passed, "{test} passes with {before}:\n{output}");
        let other = others.iter().find(|(name, _)| name == test);
        let reason = other.map_or(reason, |(_, reason)| reason);
        assert!(
            output.contains(reason),
            "{test}: no {reason:?} in:\n{output}"
        );
        let lesson = LESSONS.iter().find(|lesson| lesson.test == test).unwrap();
        let place = format!("read: {}, '{}'\n", lesson.chapter, lesson.heading);
        assert!(
            output.contains(&place),
            "{test}: no {place:?} in:\n{output}"
        );
    }
}

/// Milestone 1 accepts and lets go: nobody is registered.
#[test]
fn milestone_2_starts_red_with_milestone_1() {
    assert_new_tests_are_red(
        "milestone-1-accept",
        "milestone-2-register",
        "the server did not register ",
        &[],
    );
}

/// Milestone 2 is told of clients that speak or leave, and neither reads nor closes.
#[test]
fn milestone_3_starts_red_with_milestone_2() {
    assert_new_tests_are_red(
        "milestone-2-register",
        "milestone-3-broadcast",
        "received: | Client event for Token(1)\n",
        &[
            // Nobody is closed, so no descriptor is free again.
            (
                "row_4_accepts_who_waits_at_the_descriptor_limit",
                "expected: | Accepted connection from ",
            ),
            // Nobody reads, so the socket is full at some time.
            ("row_5_a_long_line_costs_little", "client could not send\n"),
        ],
    );
}

/// Milestone 3 queues, and sends nothing.
#[test]
fn milestone_4_starts_red_with_milestone_3() {
    assert_new_tests_are_red(
        "milestone-3-broadcast",
        "milestone-4-write",
        " did not receive what was expected\n",
        &[
            ("eight_writers_at_once", " did not receive a line\n"),
            (
                "a_line_larger_than_the_socket_arrives_whole",
                "expected: | Write would block for Token(2)\n",
            ),
        ],
    );
}
