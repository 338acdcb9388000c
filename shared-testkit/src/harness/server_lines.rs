//! What a server prints: assertions on its lines.

use predicates::Predicate;
use predicates::constant::always;
use predicates::ord::eq;

use crate::failure::{self, Expected};
use crate::harness::server::Server;
use crate::log::{INDENT, Kind, shorten};
use crate::wait::patience;

/// How the lines begin that predicates are for: what a server has printed instead is compared with them.
const BEGINNINGS: &[&str] = &[
    "Failed to accept: ",
    "Read error from Token(1): ",
    "Write error for Token(2): ",
    "TCP_NODELAY, [1]",
    "Accepted connection from [::1]:",
    "Accepted connection from 127.0.0.1:",
];

impl Server {
    /// The first line, on either stream. Empty if none comes until the deadline.
    pub(crate) fn first_line(&self) -> String {
        let line = self.log.take_line(&[Kind::Stderr, Kind::Stdout], &always());
        line.unwrap_or_default()
    }

    /// Waits for exactly this line on stdout.
    ///
    /// # Panics
    ///
    /// If it does not come until the deadline.
    #[track_caller]
    pub fn expect_line(&self, line: &str) {
        self.take(Kind::Stdout, &eq(line), line, line);
    }

    /// Waits for these lines on stdout, in any order.
    ///
    /// # Panics
    ///
    /// If one of them does not come until the deadline.
    #[track_caller]
    pub fn expect_lines<L: AsRef<str>>(&self, lines: impl IntoIterator<Item = L>) {
        for line in lines {
            self.expect_line(line.as_ref());
        }
    }

    /// Waits for a line on stdout that matches the predicate, and returns it.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[track_caller]
    pub fn expect_match(&self, wanted: impl Predicate<str>) -> String {
        self.take_match(Kind::Stdout, &wanted)
    }

    /// Waits for a line on stderr that matches the predicate, and returns it.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[track_caller]
    pub fn expect_stderr(&self, wanted: impl Predicate<str>) -> String {
        self.take_match(Kind::Stderr, &wanted)
    }

    #[track_caller]
    fn take_match(&self, kind: Kind, wanted: &impl Predicate<str>) -> String {
        // A predicate shows itself as a condition on `var`.
        let condition = wanted.to_string().replace("var", "line");
        let shown = format!("a line, where {condition}");
        let beginning = BEGINNINGS.iter().find(|line| wanted.eval(line));
        self.take(kind, wanted, &shown, beginning.unwrap_or(&""))
    }

    #[track_caller]
    fn take(
        &self,
        kind: Kind,
        wanted: &impl Predicate<str>,
        shown: &str,
        beginning: &str,
    ) -> String {
        self.log.take_line(&[kind], wanted).unwrap_or_else(|| {
            let title = "the server did not print what was expected";
            let expected = Expected::Line(kind, beginning.to_owned());
            self.fail(expected, title, &format!("{} {shown}", kind.mark()))
        })
    }

    /// Waits until the server is at rest: every line that it has printed by then, on stdout and
    /// stderr, must have been expected.
    ///
    /// # Panics
    ///
    /// If one was not, or if the server is busy until the deadline.
    #[track_caller]
    pub fn expect_no_more_lines(&self) {
        self.wait_until_asleep();
        if !self.log.unexpected_lines().is_empty() {
            let title = "the server printed more than was expected";
            self.fail(Expected::NoLine, title, "nothing more");
        }
    }

    /// Everything that the server has printed on stdout, asked for or not.
    #[must_use]
    pub fn stdout_lines(&self) -> Vec<String> {
        self.log.lines(Kind::Stdout)
    }

    /// Everything that the server has printed on stderr, asked for or not.
    #[must_use]
    pub fn stderr_lines(&self) -> Vec<String> {
        self.log.lines(Kind::Stderr)
    }

    /// How many bytes the server has reported as written to a client so far.
    #[must_use]
    pub fn bytes_written_to(&self, token: &str) -> usize {
        let counts = self.numbers("Wrote ", &format!("bytes to {token}"));
        counts.iter().sum()
    }

    /// The numbers in those lines, on stdout or stderr, that have `before` in front of one, and go on with
    /// `after`.
    #[must_use]
    pub fn numbers(&self, before: &str, after: &str) -> Vec<usize> {
        let lines = [self.stdout_lines(), self.stderr_lines()].concat();
        let numbers = lines.iter().filter_map(|line| {
            let (number, rest) = line.strip_prefix(before)?.split_once(' ')?;
            rest.starts_with(after).then(|| number.parse().ok())?
        });
        numbers.collect()
    }

    /// Fails with the server's lines that no assertion has asked for as what came instead.
    #[track_caller]
    pub(super) fn fail(&self, expected: Expected, title: &str, wanted: &str) -> ! {
        let mut unexpected = self.log.unexpected_lines();
        if let Expected::Line(_, line) = &expected {
            // What was meant to be it comes first.
            let near = failure::near_line(line, unexpected.iter().map(|(_, other)| other.as_str()));
            let near = near.map(str::to_owned);
            unexpected.sort_by_key(|(_, other)| Some(other) != near.as_ref());
        }
        let shown = unexpected.iter().take(3);
        let shown = shown.map(|(kind, line)| format!("{} {}", kind.mark(), shorten(line)));
        let mut received: Vec<_> = shown.collect();
        if unexpected.len() > received.len() {
            received.push(format!("(and {} more)", unexpected.len() - received.len()));
        }
        if received.is_empty() {
            received.push(self.silence());
        }
        let received = received.join(&format!("\n{INDENT}"));
        failure::fail(&self.log, expected, title, wanted, &received);
    }

    fn silence(&self) -> String {
        if !self.log.is_open() {
            return "nothing more: it has ended".to_owned();
        }
        let silence = format!("nothing more in {} s", patience().as_secs_f32());
        if self.stdout_lines().is_empty() {
            return format!("{silence}, and no line on stdout yet: does it flush them?");
        }
        silence
    }
}
