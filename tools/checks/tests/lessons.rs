//! Every test of the milestones has a lesson, and every lesson has a test and a place in the book.

use std::collections::BTreeSet;

use course::test_runner::Suite;
use course::{milestones, workspace};
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

#[test]
fn every_lesson_names_a_heading_that_its_chapter_has() {
    for lesson in LESSONS.iter() {
        let chapter = lesson.chapter();
        let page = workspace::read(chapter);
        let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
        let mut places = headings.map(|heading| format!("{chapter}, '{heading}'"));
        assert!(
            places.any(|place| place == lesson.read),
            "{}: {}",
            lesson.test,
            lesson.read
        );
    }
}
