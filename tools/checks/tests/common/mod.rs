//! Assertions on what a check has found.

/// There must be no problem.
#[track_caller]
pub fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n\n"));
}

/// There must be one problem, whose text has all these parts.
#[track_caller]
pub fn assert_one(problems: &[String], parts: &[&str]) {
    assert_eq!(problems.len(), 1, "\n{}\n", problems.join("\n\n"));
    for part in parts {
        assert!(
            problems[0].contains(part),
            "no {part:?} in:\n{}",
            problems[0]
        );
    }
}
