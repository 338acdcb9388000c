//! Every test of the milestones has its lesson, and every lesson its test.

#![allow(clippy::panic, reason = "the helper is part of the tests")]

use std::collections::BTreeSet;

use shared_testkit::LESSONS;
use shared_testkit::suite::Suite;

const CHAPTERS: [&str; 5] = [
    "milestone-1-accept",
    "milestone-2-register",
    "milestone-3-broadcast",
    "milestone-4-write",
    "milestone-5-harden",
];

#[test]
fn every_test_has_a_lesson_and_every_lesson_a_test() {
    let tests: BTreeSet<_> = CHAPTERS
        .iter()
        .flat_map(|chapter| Suite::of(chapter).names())
        .collect();
    let lessons: BTreeSet<_> = LESSONS.iter().map(|l| l.test.to_owned()).collect();
    assert_eq!(tests, lessons);
    assert_eq!(LESSONS.len(), lessons.len(), "one stands there twice");
}
