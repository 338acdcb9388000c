//! How clients speak to each kind of server.

/// The channel (or subject) of the servers that have such a thing.
const CHANNEL: &str = "lines";

/// What a server that has more than one language speaks with its clients.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    /// A line goes to every client but its sender.
    Lines,
    /// Redis: `PUBLISH` goes to those who have sent `SUBSCRIBE`, and its sender gets a reply.
    Redis,
    /// NATS: `PUB` goes to those who have sent `SUB`.
    Nats,
}

/// What a client says first, and the end of the answer it then waits for.
pub(crate) struct Greeting {
    pub(crate) hello: String,
    pub(crate) answer: &'static str,
}

/// What a server may say in between, and must get an answer to.
pub(crate) struct Ping {
    pub(crate) ping: &'static [u8],
    pub(crate) pong: &'static [u8],
}

impl Protocol {
    /// Whether a client receives what others send. A sender that needs not subscribe does not.
    pub(crate) fn receives(self, sender: bool) -> bool {
        self == Protocol::Lines || !sender
    }

    /// What must be said on a new connection, if anything. When the answer is there, the server
    /// knows the client.
    pub(crate) fn greeting(self, sender: bool) -> Option<Greeting> {
        match self {
            Protocol::Lines => None,
            Protocol::Redis if sender => None,
            Protocol::Redis => Some(Greeting {
                hello: format!("*2\r\n$9\r\nSUBSCRIBE\r\n{}", bulk(CHANNEL)),
                answer: "$5\r\nlines\r\n:1\r\n",
            }),
            Protocol::Nats => {
                let subscribe = if sender { "" } else { "SUB lines 1\r\n" };
                Some(Greeting {
                    hello: format!("CONNECT {{\"verbose\":false}}\r\n{subscribe}PING\r\n"),
                    answer: "PONG\r\n",
                })
            }
        }
    }

    /// What a sender sends. Where the protocol frames a text, the line's newline is left out.
    pub(crate) fn sent(self, text: &str) -> String {
        match self {
            Protocol::Lines => format!("{text}\n"),
            Protocol::Redis => {
                let (channel, text) = (bulk(CHANNEL), bulk(text));
                format!("*3\r\n$7\r\nPUBLISH\r\n{channel}{text}")
            }
            Protocol::Nats => format!("PUB {CHANNEL} {}\r\n{text}\r\n", text.len()),
        }
    }

    /// What a receiver gets of it.
    pub(crate) fn received(self, text: &str) -> String {
        match self {
            Protocol::Lines => self.sent(text),
            Protocol::Redis => {
                let (channel, text) = (bulk(CHANNEL), bulk(text));
                format!("*3\r\n$7\r\nmessage\r\n{channel}{text}")
            }
            Protocol::Nats => format!("MSG {CHANNEL} 1 {}\r\n{text}\r\n", text.len()),
        }
    }

    /// What a sender that receives nothing else gets for each of its own messages.
    pub(crate) fn reply(self, readers: usize) -> String {
        match self {
            Protocol::Redis => format!(":{readers}\r\n"),
            Protocol::Lines | Protocol::Nats => String::new(),
        }
    }

    /// What the server may ask at any time, between two messages.
    pub(crate) fn ping(self) -> Option<Ping> {
        match self {
            Protocol::Lines | Protocol::Redis => None,
            Protocol::Nats => Some(Ping {
                ping: b"PING\r\n",
                pong: b"PONG\r\n",
            }),
        }
    }
}

/// A string as Redis writes it: its length first.
fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
