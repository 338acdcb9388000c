//! A recorded trace, as it is committed and as the page replays it.

use std::collections::BTreeMap;

use course::regex;
use course::workspace::read;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many bytes of a text are kept.
const SHOWN: usize = 40;

/// What happened in one scene.
#[derive(Clone, Serialize, Deserialize, PartialEq)]
pub struct Trace {
    /// The scene's name.
    pub scene: String,
    /// Its title.
    pub title: String,
    /// A milestone, or `mistaken` and the name of a mistake.
    pub program: String,
    /// The clients, in the order in which they are shown.
    pub clients: Vec<String>,
    /// What happened, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// One thing that happened.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Step {
    /// A client's name, or `server`.
    pub actor: String,
    /// What a client does, or is done to the server.
    pub does: Option<String>,
    /// The server's system call.
    pub call: Option<String>,
    /// What the call is about: a client's name, or `listener`.
    pub on: Option<String>,
    /// Its result: a number of bytes, or a text.
    pub result: Option<Value>,
    /// What `epoll_wait` reports: on whom, and what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<(String, String)>,
    /// How many bytes a client sends or receives.
    pub bytes: Option<usize>,
    /// The bytes, cut to 40.
    pub text: Option<String>,
    /// A line of the server's on stdout.
    pub stdout: Option<String>,
    /// A line of the server's on stderr.
    pub stderr: Option<String>,
    /// How many such steps this one stands for, at least: `result` is their sum, and the states are
    /// those after the last.
    pub times: Option<usize>,
    /// A sentence for the reader.
    pub caption: Option<String>,
    /// If it is the decisive step, what makes it that: `✗` and a fault, or `▸` and an idea.
    pub mark: Option<String>,
    /// A question before the step is shown.
    pub ask: Option<Ask>,
    /// What the kernel holds after the step.
    pub kernel: Kernel,
    /// What the program holds after the step.
    pub server: Program,
}

/// A question about what comes next.
#[derive(Clone, Serialize, Deserialize, PartialEq)]
pub struct Ask {
    /// The question.
    pub question: String,
    /// The answers to choose from.
    pub answers: Vec<String>,
    /// Which of them is right, from 0.
    pub right: usize,
}

/// What the kernel holds.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Kernel {
    /// The connections that the server has not accepted.
    pub pending: Vec<String>,
    /// Whether an event on the listener is on the ready list.
    pub listener_ready: bool,
    /// The server's sockets, by client.
    pub sockets: BTreeMap<String, Socket>,
}

/// One socket of the server's.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Socket {
    /// Bytes that the client has sent and the server has not read.
    pub unread: usize,
    /// Bytes that the server has written and the client's socket has not taken.
    pub unsent: usize,
    /// Bytes in the client's receive buffer that it has not read.
    pub at_client: usize,
    /// What is registered in epoll, as mio calls it.
    pub interest: String,
    /// `edge` or `level`.
    pub trigger: String,
    /// Whether an event is on the ready list, not yet reported.
    pub ready: bool,
}

/// What the program holds.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Program {
    /// The clients, by token.
    pub map: BTreeMap<String, Entry>,
}

/// One client in the map.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Entry {
    /// Its name in the scene.
    pub name: String,
    /// The beginning of a line, cut to 40 bytes.
    pub read_buf: String,
    /// How many bytes `read_buf` really has.
    pub read_buf_bytes: usize,
    /// How many bytes are queued for it.
    pub write_buf: usize,
}

impl Trace {
    /// Where it is committed, relative to the workspace's root.
    pub fn path(&self) -> String {
        format!("docs/src/loop/traces/{}.json", self.scene)
    }

    /// Where its picture is committed.
    pub fn picture_path(&self) -> String {
        format!("docs/src/loop/pictures/{}.svg", self.scene)
    }

    /// It, as it is committed.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn committed(&self) -> Trace {
        serde_json::from_str(&read(&self.path())).expect("the trace can be read")
    }

    /// The trace as JSON, one step a line, without what a step does not have.
    ///
    /// # Panics
    ///
    /// Never: everything in it can be written.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string(self).expect("a trace can be written");
        // Quotes in a text are escaped, so these are in no text.
        let json = regex(r#""[a-z]+":null,"#).replace_all(&json, "");
        json.replace(r#"{"actor""#, "\n{\"actor\"") + "\n"
    }
}

impl Step {
    /// What happened, in short: `alice connects`, `read alice = 4096`, `| Broadcast …`.
    pub fn label(&self) -> String {
        if let Some(does) = &self.does {
            return format!("{} {does}", self.actor);
        }
        if let Some(line) = &self.stdout {
            return format!("| {line}");
        }
        if let Some(line) = &self.stderr {
            return format!("! {line}");
        }
        let call = [self.call.as_deref(), self.on.as_deref()];
        let call: Vec<_> = call.into_iter().flatten().collect();
        let mut label = format!("{} = ", call.join(" "));
        match &self.result {
            Some(Value::String(text)) => label += text,
            _ => label += &self.moved().to_string(),
        }
        for (on, what) in &self.events {
            label += &format!(", {on} {what}");
        }
        label
    }

    /// How many bytes the call has moved.
    pub(crate) fn moved(&self) -> usize {
        let count = self.result.as_ref().and_then(Value::as_u64);
        count.unwrap_or_default() as usize
    }

    /// Whether it is a line of the server's.
    pub(crate) fn prints(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }
}

/// The beginning of some bytes, for the reader.
pub(crate) fn cut(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    if bytes.len() > SHOWN {
        shown + "…"
    } else {
        shown
    }
}
