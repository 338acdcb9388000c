//! A chapter starts from the program of the chapter before. With that program all its new tests fail,
//! each for the reason that the chapter gives. For chapter 5, whose steps are many, its checkpoints say
//! which attacks fail before each of them (`typing.rs`).

use course::test_runner::{self, Suite};

/// Runs a chapter's new tests, as far as they are not skipped, against the program of the chapter before.
/// Each must fail, teach, and give its reason: that behind its name, or else the one behind `all others`.
#[track_caller]
fn assert_new_tests_are_red(before: &str, chapter: &str, reasons: &str) {
    let old = Suite::of(before);
    let names = old.names();
    let is_new = |test: &str| names.iter().all(|name| name != test);
    // Enough time for 16 MB on a busy machine.
    let suite = Suite::of(chapter).deadline_scale(0.25);
    let mut outcomes = suite.run(&test_runner::command(&old.program), is_new);
    outcomes.retain(|outcome| outcome.reported("skipped").is_none());
    assert!(!outcomes.is_empty(), "{chapter} has no new tests");
    for outcome in outcomes {
        let (test, output) = (&outcome.test, &outcome.output);
        assert!(!outcome.passed, "{test} passes with {before}:\n{output}");
        let mut reasons = reasons.lines().filter_map(|line| line.split_once(" → "));
        let is_its_own = |(name, _): &(&str, &str)| name == test || *name == "all others";
        let (_, reason) = reasons.find(is_its_own).unwrap_or_default();
        assert!(!reason.is_empty(), "{test} has no reason here");
        // Which place is to be read depends on the rule that fits.
        for part in ["\nthe test: ", "\nread: docs/src/", reason] {
            assert!(output.contains(part), "{test}: no {part:?} in:\n{output}");
        }
    }
}

/// Milestone 1 accepts clients and drops them: none is registered.
#[test]
fn milestone_2_starts_red_with_milestone_1() {
    let reasons = "all others → the server did not register ";
    assert_new_tests_are_red("milestone-1-accept", "milestone-2-register", reasons);
}

/// Milestone 2 gets events for clients that send or disconnect, and neither reads nor closes. So no descriptor
/// becomes free, and the socket fills up.
#[test]
fn milestone_3_starts_red_with_milestone_2() {
    let reasons = "\
row_4_accepts_pending_connections_at_the_descriptor_limit → expected: | Accepted connection from
retries_an_interrupted_read → expected: | Broadcast 13
row_5_a_long_line_costs_linear_time →  could not send
all others → received: | Client event for Token(1)";
    assert_new_tests_are_red("milestone-2-register", "milestone-3-broadcast", reasons);
}

/// Milestone 3 queues lines and sends nothing. On a busy machine the deadline may pass before 16 MB are sent.
#[test]
fn milestone_4_starts_red_with_milestone_3() {
    let reasons = "\
eight_writers_at_once →  did not receive a line
row_8_a_write_error_closes_the_client_at_once → expected: ! a line, where
a_line_larger_than_the_socket_buffer_arrives_complete →   expected:
all others →  did not receive what was expected";
    assert_new_tests_are_red("milestone-3-broadcast", "milestone-4-write", reasons);
}
