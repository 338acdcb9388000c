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

    /// Which events, and with which token: of `epoll_ctl` one, of `epoll_wait` any number.
    pub fn events(&self) -> Vec<(Flags, usize)> {
        let events = between(&self.arguments, "{events=", ", data");
        let tokens = between(&self.arguments, "u64=", "}");
        let tokens = tokens.map(|token| token.parse().expect("a token is a number"));
        events.map(Flags::parse).zip(tokens).collect()
    }
}

fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(start).skip(1);
    parts.map(move |part| part.split(end).next().unwrap_or_default())
}

/// The flags of epoll that matter here (epoll_ctl(2)).
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Flags {
    pub readable: bool,
    pub read_closed: bool,
    pub writable: bool,
    pub edge: bool,
}

impl Flags {
    fn parse(text: &str) -> Flags {
        let has = |flag| text.split('|').any(|part| part == flag);
        Flags {
            readable: has("EPOLLIN"),
            read_closed: has("EPOLLRDHUP"),
            writable: has("EPOLLOUT"),
            edge: has("EPOLLET"),
        }
    }

    /// What is asked for, of what there is.
    pub fn and(self, other: Flags) -> Flags {
        Flags {
            readable: self.readable && other.readable,
            read_closed: self.read_closed && other.read_closed,
            writable: self.writable && other.writable,
            edge: false,
        }
    }

    pub fn is_empty(self) -> bool {
        !self.readable && !self.read_closed && !self.writable
    }

    /// As mio calls it. An interest in READABLE includes `EPOLLRDHUP`, so it is shown in events only.
    pub fn interest(self) -> String {
        Flags {
            read_closed: false,
            ..self
        }
        .event()
    }

    pub fn event(self) -> String {
        let names = [
            (self.readable, "READABLE"),
            (self.read_closed, "READ_CLOSED"),
            (self.writable, "WRITABLE"),
        ];
        let names = names.iter().filter(|(is_set, _)| *is_set);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join(" | ")
    }

    pub fn trigger(self) -> &'static str {
        if self.edge { "edge" } else { "level" }
    }
}
