//! Which line of the source makes a call.

use course::quote::lines;

use crate::FORGETFUL;
use crate::trace::Step;

/// Which function makes a call, and what its line has: in the milestones, where it differs in
/// milestone 5, or else in `chat.c`.
const PLACES: [(&str, &str, &str); 23] = [
    ("epoll_wait", "run", ".poll("),
    ("epoll_wait", "wait", ".poll("),
    ("epoll_wait", "run", "epoll_wait("),
    ("accept4", "accept", ".accept()"),
    ("accept4", "accept_clients", "accept4("),
    ("read", "read_lines", ".read("),
    ("read", "read", ".read("),
    ("read", "drain", "recv("),
    ("write", "flush", ".write("),
    ("write", "write_some", ".write("),
    ("write", "write_queue", "send("),
    ("ADD", "register", ".register("),
    ("ADD", "welcome", ".register("),
    ("ADD", "register_client", "EPOLL_CTL_ADD"),
    ("WRITABLE on", "queue", ".reregister("),
    ("WRITABLE on", "ask_for", ".reregister("),
    ("WRITABLE off", "flush", ".reregister("),
    ("WRITABLE off", "ask_for", ".reregister("),
    ("DEL", "disconnect", ".deregister("),
    ("close", "disconnect", "drop(connection)"),
    // Milestone 1 keeps no client: it closes what it has accepted.
    ("close", "accept", "drop(stream)"),
    ("close", "disconnect", "close("),
    ("dropped", "register", "is dropped here"),
];

/// The source of a program.
pub(crate) struct Source {
    pub path: String,
    lines: Vec<String>,
    is_forgetful: bool,
}

impl Source {
    pub fn of(program: &str) -> Source {
        let path = match program.split(' ').next().unwrap_or_default() {
            "mistaken" => "tools/mistaken/src/main.rs".to_owned(),
            "chat.c" => "docs/examples/chat.c".to_owned(),
            milestone => format!("{milestone}/src/main.rs"),
        };
        let lines = lines(&path);
        Source {
            path,
            lines,
            is_forgetful: program == FORGETFUL,
        }
    }

    /// The number of the line that runs in this step.
    pub fn line(&self, step: &Step) -> Result<usize, String> {
        if let Some(printed) = step.stdout.as_ref().or(step.stderr.as_ref()) {
            return self.line_that_prints(printed);
        }
        let result = step.result.as_ref().and_then(|result| result.as_str());
        let call = match (step.call.as_deref().unwrap_or_default(), result) {
            ("epoll_ctl", Some("DEL")) => "DEL",
            ("epoll_ctl", Some(how)) if how.starts_with("ADD") => "ADD",
            ("epoll_ctl", Some(how)) if how.contains("WRITABLE") => "WRITABLE on",
            ("epoll_ctl", _) => "WRITABLE off",
            ("close", _) if self.is_forgetful => "dropped",
            (call, _) => call,
        };
        let mut places = PLACES.iter().filter(|place| place.0 == call);
        let line = places.find_map(|(_, function, text)| self.find(function, text));
        line.ok_or_else(|| format!("{} has no line for {:?}", self.path, step.label()))
    }

    /// The first line with this text in a function.
    fn find(&self, function: &str, text: &str) -> Option<usize> {
        // In C a line that is not indented, such as `static void run(…) {`.
        let (rust, c) = (format!("fn {function}("), format!("{function}("));
        let is_head = |line: &String| {
            line.contains(&rust) || (line.starts_with("static ") && line.contains(&c))
        };
        let start = self.lines.iter().position(is_head)?;
        let indent = self.lines[start].len() - self.lines[start].trim_start().len();
        let end = " ".repeat(indent) + "}";
        let mut body = self.lines[start..].iter().take_while(|line| **line != end);
        Some(start + 1 + body.position(|line| line.contains(text))?)
    }

    /// The line that prints this text: its literal, as in `println!("…")`, is the longest with which the
    /// text begins.
    fn line_that_prints(&self, printed: &str) -> Result<usize, String> {
        let beginning = |line: &String| {
            let (_, literal) = line.split_once("(\"")?;
            let literal = literal.split(['{', '%', '"']).next()?;
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
