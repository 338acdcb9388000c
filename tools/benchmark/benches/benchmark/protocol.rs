//! What clients send to each kind of server, and what they receive.

/// The channel (Redis) or subject (NATS) that every client uses.
const CHANNEL: &str = "lines";

/// What NATS may send between two messages. It closes a client that leaves two unanswered.
pub(crate) const PING: &[u8] = b"PING\r\n";

/// The answer to a [`PING`].
pub(crate) const PONG: &[u8] = b"PONG\r\n";

/// The protocol of a server.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    /// A line goes to every client except its sender.
    Lines,
    /// `PUBLISH` goes to every client that has sent `SUBSCRIBE`. A subscriber cannot publish, so
    /// senders receive nothing.
    Redis,
    /// `PUB` goes to every client that has sent `SUB`, except its sender with `echo` turned off.
    Nats,
}

impl Protocol {
    /// Whether senders receive what other senders send.
    pub(crate) fn senders_receive(self) -> bool {
        self != Protocol::Redis
    }

    /// What a client sends first, and the end of the answer. Both may be empty. Once the answer has
    /// arrived, the server knows the client.
    pub(crate) fn greeting(self, sender: bool) -> (String, &'static str) {
        match self {
            Protocol::Lines => (String::new(), ""),
            Protocol::Redis if sender => ("CLIENT REPLY OFF\r\n".to_owned(), ""),
            Protocol::Redis => (format!("SUBSCRIBE {CHANNEL}\r\n"), ":1\r\n"),
            Protocol::Nats => {
                let options = r#"{"verbose":false,"echo":false}"#;
                let hello = format!("CONNECT {options}\r\nSUB {CHANNEL} 1\r\nPING\r\n");
                (hello, "PONG\r\n")
            }
        }
    }

    /// What a sender sends. Redis and NATS frame the text, so it needs no newline.
    pub(crate) fn sent(self, text: &str) -> String {
        match self {
            Protocol::Lines => format!("{text}\n"),
            Protocol::Redis => redis(["PUBLISH", CHANNEL, text]),
            Protocol::Nats => format!("PUB {CHANNEL} {}\r\n{text}\r\n", text.len()),
        }
    }

    /// What each receiver gets for it.
    pub(crate) fn received(self, text: &str) -> String {
        match self {
            Protocol::Lines => format!("{text}\n"),
            Protocol::Redis => redis(["message", CHANNEL, text]),
            Protocol::Nats => format!("MSG {CHANNEL} 1 {}\r\n{text}\r\n", text.len()),
        }
    }
}

/// An array of three strings, each preceded by its length (Redis serialization protocol).
fn redis(strings: [&str; 3]) -> String {
    let strings = strings.map(|string| format!("${}\r\n{string}\r\n", string.len()));
    format!("*3\r\n{}", strings.concat())
}
