//! The lesson for each test, in the order of the chapters: an editor's text, in `lessons.md`.

use std::sync::LazyLock;

/// What is known about a test in advance.
pub struct Lesson {
    /// The name of the test function.
    pub test: &'static str,
    /// What it checks, in plain words.
    pub checks: &'static str,
    /// Why it usually fails.
    pub cause: &'static str,
    /// The page that explains it, and the heading there: `docs/src/4-write.md, 'The last write'`.
    pub read: &'static str,
}

/// One for each test of the milestones.
pub static LESSONS: LazyLock<Vec<Lesson>> = LazyLock::new(|| sections().map(Lesson::new).collect());

fn sections() -> impl Iterator<Item = &'static str> {
    include_str!("lessons.md").split("\n## ").skip(1)
}

impl Lesson {
    fn new(section: &'static str) -> Lesson {
        let line = |start| section.lines().find_map(|line| line.strip_prefix(start));
        Lesson {
            // The first line is the name.
            test: line("").unwrap_or_default(),
            checks: line("- the test: ").unwrap_or_default(),
            cause: line("- often: ").unwrap_or_default(),
            read: line("- read: ").unwrap_or_default(),
        }
    }

    /// The file of the page that explains it.
    pub fn chapter(&self) -> &'static str {
        self.read.split(',').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is missing, misspelled or too much in a section is not in what was read from it.
    #[test]
    fn every_line_of_the_text_is_a_part_of_a_lesson() {
        for (section, lesson) in sections().zip(LESSONS.iter()) {
            let (test, checks) = (lesson.test, lesson.checks);
            let (cause, read) = (lesson.cause, lesson.read);
            let again = format!("{test}\n\n- the test: {checks}\n- often: {cause}\n- read: {read}");
            assert_eq!(section.trim_end(), again);
            assert!(!section.contains(": \n"), "{section}");
        }
    }
}
