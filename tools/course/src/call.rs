//! The system calls in the lines of strace(1).

use std::fmt;

use crate::regex;

/// What is registered with epoll or reported by it (epoll_ctl(2)): strace's names and mio's.
const FLAGS: [(&str, &str); 4] = [
    ("EPOLLIN", "READABLE"),
    ("EPOLLRDHUP", "READ_CLOSED"),
    ("EPOLLOUT", "WRITABLE"),
    ("EPOLLET", "edge"),
];

/// What arguments have, and what is shown of it.
const SHOWN: [(&str, &str); 4] = [
    (r"\{u32=\d+, u64=(\d+)\}", "$1"),
    (r"127\.0\.0\.1:\d+\\n", r"127.0.0.1:xxxxx\n"),
    (r#"\{sa_family=AF_INET, [^}]*"(.*?)"[^}]*\}"#, "{$1:xxxxx}"),
    ("(^|, )0x[0-9a-f]+", "$1…"),
];

/// What is registered with epoll or reported by it, as mio calls it.
pub type Flags = Vec<&'static str>;

/// A system call that has returned. Shown, it is as strace writes it, but abridged.
pub struct Call {
    /// The thread that has made it.
    pub thread: String,
    /// Its name.
    pub name: String,
    /// As strace writes them.
    pub arguments: String,
    /// The number of bytes or the descriptor; an error is its name.
    pub result: Result<usize, String>,
}

impl Call {
    /// From a text such as `recvfrom(5, "hello\n", 4096, 0, NULL, NULL) = 6`. `None` if it is something
    /// else: a signal, an end, a call that has not returned.
    pub(crate) fn parse(thread: &str, text: &str) -> Option<Call> {
        let (call, result) = text.trim_start().rsplit_once(" = ")?;
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        let result = match result.strip_prefix("-1 ") {
            Some(error) => Err(error.split(' ').next()?.to_owned()),
            None => Ok(result.parse().ok()?),
        };
        Some(Call {
            thread: thread.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result,
        })
    }

    /// Whether it has waited for events in vain: an iteration of the loop in which nothing happened.
    pub(crate) fn is_idle(&self) -> bool {
        self.name.ends_with("wait") && self.result == Ok(0)
    }

    /// The argument at this place, as far as no argument before it has a comma.
    pub fn argument(&self, place: usize) -> &str {
        self.arguments.split(", ").nth(place).unwrap_or_default()
    }

    /// The descriptor that it is about: the third argument of `epoll_ctl`, or the first.
    pub fn descriptor(&self) -> Option<usize> {
        let place = if self.name == "epoll_ctl" { 2 } else { 0 };
        self.argument(place).parse().ok()
    }

    /// How many bytes it has moved: none, if it has failed.
    pub fn count(&self) -> usize {
        self.result.clone().unwrap_or(0)
    }

    /// The bytes that it has read or written, as far as strace prints them, without ports.
    pub fn text(&self) -> String {
        let arguments = self.abridged();
        let (_, quoted) = arguments.split_once('"').expect("there is a text");
        let (text, _) = quoted.rsplit_once('"').expect("the text ends");
        serde_json::from_str(&format!("\"{text}\"")).expect("a scene has plain text")
    }

    /// The port of the client that was accepted.
    pub fn port(&self) -> Option<u16> {
        let port = regex(r"htons\((\d+)");
        port.captures(&self.arguments)?[1].parse().ok()
    }

    /// Which events, and with which data, which is mio's token: of `epoll_ctl` one, of `epoll_wait` any number.
    pub fn events(&self) -> Vec<(Flags, u64)> {
        let events = regex(r"events=([A-Z|]+), data=\{u32=\d+, u64=(\d+)");
        let events = events.captures_iter(&self.arguments).map(|event| {
            let is_set = |name: &str| event[1].split('|').any(|flag| flag == name);
            let set = FLAGS.iter().filter(|(name, _)| is_set(name));
            let data = event[2].parse().expect("data is a number");
            (set.map(|(_, name)| *name).collect(), data)
        });
        events.collect()
    }

    /// The arguments with each token in one form instead of two, without ports and pointers.
    fn abridged(&self) -> String {
        let text = self.arguments.clone();
        SHOWN.iter().fold(text, |text, (pattern, shown)| {
            regex(pattern).replace_all(&text, *shown).into_owned()
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}) = ", self.name, self.abridged())?;
        match &self.result {
            Ok(result) => write!(f, "{result}"),
            Err(error) => write!(f, "-1 {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    /// Lines of strace, each with what is shown of it below.
    const CALLS: &str = r#"
accept4(4, {sa_family=AF_INET, sin_port=htons(40612), sin_addr=inet_addr("127.0.0.1")}, [128 => 16], 0) = 5
accept4(4, {127.0.0.1:xxxxx}, [128 => 16], 0) = 5
accept4(4, 0x7ffd08, [128], 0)   = -1 EAGAIN (Resource temporarily unavailable)
accept4(4, …, [128], 0) = -1 EAGAIN
epoll_wait(3, [{events=EPOLLIN, data={u32=4294967295, u64=18446744073709551615}}], 9, 100) = 1
epoll_wait(3, [{events=EPOLLIN, data=18446744073709551615}], 9, 100) = 1
write(1, "Accepted connection from 127.0.0.1:40612\n", 41) = 41
write(1, "Accepted connection from 127.0.0.1:xxxxx\n", 41) = 41
"#;

    #[test]
    fn a_call_is_shown_without_what_differs_each_time() {
        let lines: Vec<_> = CALLS.trim().lines().collect();
        for pair in lines.chunks(2) {
            let call = Call::parse("4711", pair[0]).map(|call| call.to_string());
            assert_eq!(call.as_deref(), Some(pair[1]));
        }
    }

    #[test]
    fn what_is_no_call_is_left_out() {
        for line in [
            "--- SIGCONT {si_signo=SIGCONT, si_code=SI_USER, si_pid=1, si_uid=0} ---",
            "--- stopped by SIGSTOP ---",
            "+++ exited with 0 +++",
            "epoll_wait(3, 0x7ffd08, 9, 100) = ? ERESTARTNOHAND (To be restarted if no handler)",
        ] {
            assert!(Call::parse("4711", line).is_none(), "{line}");
        }
    }
}
