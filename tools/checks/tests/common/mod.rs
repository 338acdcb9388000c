//! Assertions on what a check has found.

use course::workspace::read;
use course::{Book, Page};

/// Stands before the words of the problem that a line must be, separated by `&` if they are not together.
const MARK: &str = "  ⇐ ";

/// There must be no problem.
#[track_caller]
pub fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n\n"));
}

/// On pages of these paths and texts, each line with a mark must be a problem with its words, and nothing
/// else must be one.
#[track_caller]
pub fn assert_found(check: fn(&Book) -> Vec<String>, pages: &[(&str, &str)]) {
    let mut book = Book { pages: Vec::new() };
    let mut wanted = Vec::new();
    for (path, marked) in pages {
        let mut text = String::new();
        for (number, line) in (1..).zip(marked.lines()) {
            let (line, words) = line.split_once(MARK).unwrap_or((line, ""));
            text.extend([line, "\n"]);
            wanted.push((format!("{path}:{number}: "), words));
        }
        book.pages.push(Page::new(path, &text));
    }
    wanted.retain(|(_, words)| !words.is_empty());
    let problems = check(&book);
    let shown = problems.join("\n\n");
    for (place, words) in &wanted {
        let has_words = |problem: &String| words.split(" & ").all(|part| problem.contains(part));
        let mut here = problems.iter().filter(|problem| problem.starts_with(place));
        assert!(here.any(has_words), "no {place}{words} in:\n{shown}");
    }
    assert_eq!(problems.len(), wanted.len(), "\n{shown}\n");
}

/// A page of the book with one of these changes, a line for each: `FROM → TO`, with `⏎` for a newline. It must be
/// a problem, at the mark. Without a mark, it must be none.
#[allow(dead_code, reason = "not every test changes a page")]
#[track_caller]
pub fn assert_changes_are_found(check: fn(&Book) -> Vec<String>, page: &str, changes: &str) {
    let path = format!("docs/src/{page}");
    let text = read(&path);
    for change in changes.lines() {
        let change = change.replace('⏎', "\n");
        let (from, to) = change.split_once(" → ").unwrap_or_default();
        let is_there = !from.is_empty() && text.contains(from);
        assert!(is_there, "{page} has no {from:?}");
        assert_found(check, &[(&path, &text.replacen(from, to, 1))]);
    }
}
