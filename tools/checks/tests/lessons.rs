//! Every test of the milestones has a lesson, and every lesson has a test and a place in the book.

#![allow(clippy::panic, reason = "the helper is part of the tests")]

use std::collections::BTreeSet;
use std::fs;

use course::root;
use course::test_runner::Suite;
use shared_testkit::LESSONS;

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
    assert_eq!(LESSONS.len(), lessons.len(), "a test has two lessons");
}

#[test]
fn every_lesson_names_a_heading_that_its_chapter_has() {
    for lesson in LESSONS {
        let path = root().join(lesson.chapter);
        let chapter =
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let wanted = format!("## {}", lesson.heading);
        let is_there = chapter.lines().any(|line| line == wanted);
        assert!(
            is_there,
            "{} has no heading {:?}",
            lesson.chapter, lesson.heading
        );
    }
}
