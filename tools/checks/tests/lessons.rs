//! Every test of the milestones has a lesson, and every lesson has a test.

use std::collections::BTreeSet;

use course::milestones;
use course::test_runner::Suite;
use shared_testkit::LESSONS;

#[test]
fn every_test_has_a_lesson_and_every_lesson_a_test() {
    let milestones = milestones();
    let tests = milestones.iter().flat_map(|name| Suite::of(name).names());
    let tests: BTreeSet<_> = tests.collect();
    let lessons: BTreeSet<_> = LESSONS.iter().map(|l| l.test.to_owned()).collect();
    assert_eq!(tests, lessons);
    assert_eq!(LESSONS.len(), lessons.len(), "a test has two lessons");
}
