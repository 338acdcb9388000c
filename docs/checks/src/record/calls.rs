//! The lines of strace(1).

/// The calls that are recorded.
pub(super) const TRACED: &str = "--trace=epoll_wait,accept4,recvfrom,sendto,epoll_ctl,close,write";

/// A system call that has returned.
pub(super) struct Call {
    pub name: String,
    pub arguments: String,
    /// The number of bytes or the descriptor; an error is its name.
    pub result: Result<usize, String>,
}

impl Call {
    /// From a line such as `4711 recvfrom(5, "hello\n", 4096, 0, NULL, NULL) = 6`. `None` if it is
    /// something else: a signal, an end, a call that has not returned.
    pub fn parse(line: &str) -> Option<Call> {
        let (_, call) = line.split_once(' ')?;
        let (call, result) = call.trim_start().rsplit_once(" = ")?;
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        let result = match result.strip_prefix("-1 ") {
            Some(error) => Err(error.split(' ').next()?.to_owned()),
            None => Ok(result.parse().ok()?),
        };
        Some(Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result,
        })
    }

    /// The argument at this place, as far as no argument before it has a comma.
    pub fn argument(&self, place: usize) -> &str {
        self.arguments.split(", ").nth(place).unwrap_or_default()
    }

    /// The descriptor that it is about: the third argument of `epoll_ctl`, or the first.
    pub fn descriptor(&self) -> usize {
        let place = if self.name == "epoll_ctl" { 2 } else { 0 };
        self.argument(place)
            .parse()
            .expect("a descriptor is a number")
    }

    /// How many bytes it has moved: none, if it has failed.
    pub fn count(&self) -> usize {
        self.result.clone().unwrap_or(0)
    }

    /// The bytes of `write` or `sendto`, as far as strace prints them.
    pub fn text(&self) -> String {
        let quoted = self.arguments.split_once('"').expect("there is a text").1;
        let end = quoted.rfind('"').expect("the text ends");
        let text = format!("\"{}\"", &quoted[..end]);
        serde_json::from_str(&text).expect("a scene has plain text")
    }

    /// The port of the client that was accepted.
    pub fn port(&self) -> Option<u16> {
        between(&self.arguments, "htons(", ")").next()?.parse().ok()
    }

    /// Which events, and with which data, which is mio's token: of `epoll_ctl` one, of `epoll_wait` any number.
    pub fn events(&self) -> Vec<(Flags, u64)> {
        let events = between(&self.arguments, "{events=", ", data");
        let tokens = between(&self.arguments, "u64=", "}");
        let tokens = tokens.map(|token| token.parse().expect("data is a number"));
        events.map(Flags::parse).zip(tokens).collect()
    }
}

fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(start).skip(1);
    parts.map(move |part| part.split(end).next().unwrap_or_default())
}

/// The flags of epoll that matter here (epoll_ctl(2)).
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Flags(u8);

impl Flags {
    pub const READABLE: Flags = Flags(1);
    pub const READ_CLOSED: Flags = Flags(2);
    pub const WRITABLE: Flags = Flags(4);
    pub const EDGE: Flags = Flags(8);

    /// With strace's names and mio's.
    const NAMES: [(Flags, &str, &str); 4] = [
        (Flags::READABLE, "EPOLLIN", "READABLE"),
        (Flags::READ_CLOSED, "EPOLLRDHUP", "READ_CLOSED"),
        (Flags::WRITABLE, "EPOLLOUT", "WRITABLE"),
        (Flags::EDGE, "EPOLLET", "edge"),
    ];

    fn parse(text: &str) -> Flags {
        let names = Flags::NAMES.iter();
        let set = names.filter(|(_, name, _)| text.split('|').any(|part| part == *name));
        set.fold(Flags::default(), |all, (flag, _, _)| all.with(*flag, true))
    }

    pub fn with(self, flag: Flags, is_set: bool) -> Flags {
        if is_set {
            Flags(self.0 | flag.0)
        } else {
            Flags(self.0 & !flag.0)
        }
    }

    pub fn and(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    pub fn has(self, flag: Flags) -> bool {
        self.and(flag) == flag
    }

    /// As mio calls them.
    pub fn names(self) -> String {
        let names = Flags::NAMES.iter().filter(|(flag, _, _)| self.has(*flag));
        names
            .map(|(_, _, name)| *name)
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// An interest in READABLE includes READ_CLOSED, which is shown in events only.
    pub fn interest(self) -> String {
        self.with(Flags::READ_CLOSED, false)
            .with(Flags::EDGE, false)
            .names()
    }

    pub fn trigger(self) -> &'static str {
        if self.has(Flags::EDGE) {
            "edge"
        } else {
            "level"
        }
    }
}
