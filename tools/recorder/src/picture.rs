//! Draws a recorded trace: a lane for each client, the kernel and the server, and time downwards. Of a
//! long trace, only how full the buffers are (`levels.rs`).
//!
//! The picture begins with the first step that has a caption. It leaves out what the server prints.

use serde_json::Value;

use crate::lanes::{Lane, Lanes};
use crate::levels;
use crate::{Step, Trace};

/// A trace of more steps is long.
const LANES: usize = 40;

/// What is in one buffer.
#[derive(Clone, PartialEq)]
pub(crate) struct Buffer {
    /// Whether it is the server's own, not the kernel's.
    is_servers: bool,
    /// The client whose bytes they are, or who shall get what the server has written.
    pub client: String,
    /// Its name, as a word or two before or after the client.
    pub name: &'static str,
    pub bytes: usize,
    /// The bytes themselves, if they are few.
    text: Option<String>,
}

/// The trace as an SVG.
#[must_use]
pub fn picture(trace: &Trace) -> String {
    let first = trace.steps.iter().position(|step| step.caption.is_some());
    let steps = &trace.steps[first.unwrap_or_default()..];
    let is_drawn = |step: &&Step| step.stdout.is_none() && step.stderr.is_none();
    if steps.iter().filter(is_drawn).count() > LANES {
        return levels::picture(trace, steps);
    }
    let most = steps.iter().flat_map(buffers).map(|buffer| buffer.bytes);
    let most = most.max().unwrap_or_default();
    let mut lanes = Lanes::new(&trace.clients);
    let (mut pending, mut before) = (Vec::new(), Vec::new());
    for step in steps {
        if is_drawn(&step) {
            draw(&mut lanes, step);
        }
        if !step.kernel.pending.is_empty() && step.kernel.pending != pending {
            lanes.state(&format!("pending: {}", step.kernel.pending.join(", ")));
        }
        pending.clone_from(&step.kernel.pending);
        let now = buffers(step);
        for buffer in now.iter().filter(|buffer| !before.contains(*buffer)) {
            buffer.draw(&mut lanes, most);
        }
        before = now;
        if let Some(mark) = &step.mark {
            lanes.mark(mark);
        }
    }
    lanes.finish(&trace.title)
}

fn draw(lanes: &mut Lanes, step: &Step) {
    let (from, to, label) = match step.call {
        Some(_) => call(step),
        None => action(step),
    };
    let owner = match (&step.on, from, to) {
        (Some(client), ..) if step.call.as_deref() == Some("read") => Lane::Client(client),
        (_, _, Lane::Client(_)) => to,
        _ => from,
    };
    lanes.step(from, to, owner, &label, is_refused(step));
}

/// What the kernel and the server hold, as far as it is anything.
pub(crate) fn buffers(step: &Step) -> Vec<Buffer> {
    let buffer = |is_servers, client: &str, name, bytes| Buffer {
        is_servers,
        client: client.to_owned(),
        name,
        bytes,
        text: None,
    };
    let mut buffers = Vec::new();
    for (client, socket) in &step.kernel.sockets {
        buffers.push(buffer(false, client, "unread from", socket.unread));
        buffers.push(buffer(false, client, "unsent to", socket.unsent));
        buffers.push(buffer(false, client, "at", socket.at_client));
    }
    for entry in step.server.map.values() {
        let few = !entry.read_buf.is_empty() && entry.read_buf.len() <= 12;
        buffers.push(Buffer {
            text: few.then(|| shown(&entry.read_buf)),
            ..buffer(true, &entry.name, "read_buf", entry.read_buf_bytes)
        });
        buffers.push(buffer(true, &entry.name, "write_buf", entry.write_buf));
    }
    buffers.retain(|buffer| buffer.bytes > 0);
    buffers
}

impl Buffer {
    /// Whose bytes they are. What the server has written is of several clients.
    pub(crate) fn owner(&self) -> Lane<'_> {
        match self.name {
            "unread from" | "read_buf" => Lane::Client(&self.client),
            _ => Lane::Server,
        }
    }

    pub(crate) fn holder(&self) -> Lane<'_> {
        if self.is_servers {
            Lane::Server
        } else {
            Lane::Kernel
        }
    }

    pub(crate) fn is_same(&self, other: &Buffer) -> bool {
        (&self.client, self.name) == (&other.client, other.name)
    }

    /// Which buffer it is.
    pub(crate) fn fact(&self) -> String {
        match self.is_servers {
            true => format!("{}'s {}", self.client, self.name),
            false => format!("{} {}", self.name, self.client),
        }
    }

    fn draw(&self, lanes: &mut Lanes, most: usize) {
        let held = self.text.clone().unwrap_or_else(|| grouped(self.bytes));
        let fact = match self.is_servers {
            true => format!("{} {held}", self.fact()),
            false => format!("{held} {}", self.fact()),
        };
        lanes.level(self.holder(), self.owner(), &fact, 100 * self.bytes / most);
    }
}

/// From where to where a client's action goes, and what it is.
fn action(step: &Step) -> (Lane<'_>, Lane<'_>, String) {
    let does = step.does.as_deref().unwrap_or_default();
    if step.actor == "server" {
        return (Lane::Server, Lane::Server, does.to_owned());
    }
    let client = Lane::Client(&step.actor);
    let bytes = step.bytes.unwrap_or_default();
    let what = match &step.text {
        Some(text) if text.chars().count() <= 12 => shown(text),
        _ => format!("{} bytes", grouped(bytes)),
    };
    match does {
        "sends" => (client, Lane::Kernel, what),
        "receives" => (Lane::Kernel, client, what),
        "stops reading" => (client, client, does.to_owned()),
        _ => (client, Lane::Kernel, does.to_owned()),
    }
}

/// From where to where a system call goes, and what it is.
fn call(step: &Step) -> (Lane<'_>, Lane<'_>, String) {
    let on = step.on.as_deref().unwrap_or_default();
    let result = match &step.result {
        Some(Value::String(text)) if text == "EAGAIN" => "WouldBlock".to_owned(),
        Some(Value::String(text)) => text.clone(),
        result => result
            .as_ref()
            .and_then(Value::as_u64)
            .map_or(String::new(), |n| grouped(n as usize)),
    };
    let times = step.times.map_or(String::new(), |times| {
        format!(", {}+ calls", grouped(times))
    });
    let call = step.call.as_deref().unwrap_or_default();
    let label = match call {
        "epoll_wait" => {
            let events = step.events.iter().map(|(on, what)| format!("{on} {what}"));
            format!("event: {}", events.collect::<Vec<_>>().join(", "))
        }
        "accept4" => format!("accept: {result}"),
        "epoll_ctl" if result == "DEL" => format!("deregister {on}"),
        "epoll_ctl" => {
            // `MOD READABLE edge`: whether it is new, and that it is edge-triggered, is left out.
            let (_, interest) = result.split_once(' ').unwrap_or_default();
            format!("interest in {on}: {}", interest.trim_end_matches(" edge"))
        }
        "close" => format!("close {on}"),
        call => format!("{call} {on}: {result}{times}"),
    };
    match call {
        "epoll_wait" | "accept4" | "read" => (Lane::Kernel, Lane::Server, label),
        "write" => (Lane::Server, Lane::Kernel, label),
        // Nothing moves.
        _ => (Lane::Server, Lane::Server, label),
    }
}

fn is_refused(step: &Step) -> bool {
    step.result
        .as_ref()
        .is_some_and(|result| result == "EAGAIN")
}

fn shown(text: &str) -> String {
    format!("“{}”", text.replace('\n', "⏎"))
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
