//! Which line of the source makes a call.

use crate::record::trace::Step;
use crate::workspace::read;

/// The source of a program.
pub(super) struct Source {
    pub path: String,
    lines: Vec<String>,
}

impl Source {
    pub fn of(program: &str) -> Source {
        let path = match program.strip_prefix("mistaken ") {
            Some(_) => "docs/checks/src/bin/mistaken.rs".to_owned(),
            None => format!("{program}/src/main.rs"),
        };
        let lines = read(&path).lines().map(str::to_owned).collect();
        Source { path, lines }
    }

    /// The number of the line that runs in this step.
    pub fn line(&self, step: &Step) -> Result<usize, String> {
        if let Some(printed) = step.stdout.as_ref().or(step.stderr.as_ref()) {
            return self.line_that_prints(printed);
        }
        let result = step.result.as_ref().and_then(|result| result.as_str());
        let places: &[(&str, &str)] = match (step.call.as_deref(), result) {
            (Some("epoll_wait"), _) => &[("run", ".poll(")],
            (Some("accept4"), _) => &[("accept", ".accept()")],
            (Some("read"), _) => &[("read_lines", ".read(")],
            (Some("write"), _) => &[("flush", ".write(")],
            (Some("epoll_ctl"), Some("DEL")) => &[("disconnect", ".deregister(")],
            (Some("epoll_ctl"), Some(how)) if how.starts_with("ADD") => {
                &[("register", ".register(")]
            }
            (Some("epoll_ctl"), Some(how)) if how.contains("WRITABLE") => {
                &[("queue", ".reregister(")]
            }
            (Some("epoll_ctl"), _) => &[("flush", ".reregister(")],
            // Milestone 1 keeps no client: it closes what it has accepted.
            (Some("close"), _) => &[
                ("disconnect", "drop(connection)"),
                ("accept", "drop(stream)"),
            ],
            _ => &[],
        };
        let line = places
            .iter()
            .find_map(|(function, text)| self.find(function, text));
        line.ok_or_else(|| format!("{} has no line for {:?}", self.path, step.label()))
    }

    /// The first line with this text in a function.
    fn find(&self, function: &str, text: &str) -> Option<usize> {
        let head = format!("fn {function}(");
        let start = self.lines.iter().position(|line| line.contains(&head))?;
        let rest = self.lines[start + 1..].iter();
        // To the next function.
        let mut body = rest.take_while(|line| !line.trim_start().starts_with("fn "));
        Some(start + 2 + body.position(|line| line.contains(text))?)
    }

    /// The line whose `println!` begins as this text does. The longest such beginning is meant.
    fn line_that_prints(&self, printed: &str) -> Result<usize, String> {
        let beginning = |line: &String| {
            let (_, literal) = line.split_once("println!(\"")?;
            let literal = literal.split(['{', '"']).next()?;
            printed.starts_with(literal).then_some(literal.len())
        };
        let lines = self.lines.iter().enumerate();
        let lines = lines.filter_map(|(index, line)| Some((beginning(line)?, index + 1)));
        let longest = lines.max();
        longest
            .map(|(_, line)| line)
            .ok_or_else(|| format!("{} does not print {printed:?}", self.path))
    }
}
