//! Draws a recorded trace: a lane for each client, the kernel and the server, and time downwards.
//!
//! The picture begins with the first step that has a caption, and leaves out what the server prints.
//! Of a long trace, it shows how full the buffers are instead.

use serde_json::Value;

use crate::lanes::{Lane, Lanes};
use crate::{Step, Trace, levels};

/// A trace of more steps is long.
const LONG: usize = 40;

/// What the buffers are called, in the order in which bytes pass through them.
const BUFFERS: [&str; 5] = [
    "{} unread from CLIENT",
    "CLIENT's read_buf {}",
    "CLIENT's write_buf {}",
    "{} unsent to CLIENT",
    "{} at CLIENT",
];

/// A buffer and what is in it.
#[derive(PartialEq)]
pub(crate) struct Buffer<'a> {
    pub client: &'a str,
    /// Which of [`BUFFERS`] it is.
    pub place: usize,
    pub bytes: usize,
    text: String,
}

/// The trace as an SVG.
pub fn picture(trace: &Trace) -> String {
    let first = trace.steps.iter().position(|step| step.caption.is_some());
    let steps = &trace.steps[first.unwrap_or_default()..];
    if steps.iter().filter(|step| !step.prints()).count() > LONG {
        return levels::picture(trace, steps);
    }
    let most = steps.iter().flat_map(buffers).map(|buffer| buffer.bytes);
    let most = most.max().unwrap_or_default();
    let mut lanes = Lanes::new(&trace.clients);
    let (mut pending, mut before) = (&Vec::new(), Vec::new());
    for step in steps {
        if !step.prints() {
            draw(&mut lanes, step);
        }
        if !step.kernel.pending.is_empty() && step.kernel.pending != *pending {
            lanes.state(&format!("pending: {}", step.kernel.pending.join(", ")));
        }
        pending = &step.kernel.pending;
        let now = buffers(step);
        for buffer in now.iter().filter(|buffer| !before.contains(*buffer)) {
            let fact = buffer.fact(&buffer.text);
            lanes.level(
                buffer.holder(),
                buffer.owner(),
                &fact,
                100 * buffer.bytes / most,
            );
        }
        before = now;
        if let Some(mark) = &step.mark {
            lanes.mark(mark);
        }
    }
    lanes.finish(&trace.title)
}

fn draw(lanes: &mut Lanes, step: &Step) {
    let (way, label) = match step.call {
        Some(_) => call(step),
        None => action(step),
    };
    let owner = match (&step.on, way) {
        (Some(client), _) if step.call.as_deref() == Some("read") => Lane::Client(client),
        (_, [_, Lane::Client(name)]) => Lane::Client(name),
        (_, [from, _]) => from,
    };
    let has_failed = step.result == Some("EAGAIN".into());
    lanes.step(way, owner, &label, has_failed);
}

/// What the kernel and the server hold, as far as it is anything.
pub(crate) fn buffers(step: &Step) -> Vec<Buffer<'_>> {
    let buffer = |client, place, bytes| Buffer {
        client,
        place,
        bytes,
        text: grouped(bytes),
    };
    let mut buffers = Vec::new();
    for (client, socket) in &step.kernel.sockets {
        buffers.push(buffer(client, 0, socket.unread));
        buffers.push(buffer(client, 3, socket.unsent));
        buffers.push(buffer(client, 4, socket.at_client));
    }
    for entry in step.server.map.values() {
        let mut read_buf = buffer(&entry.name, 1, entry.read_buf_bytes);
        if read_buf.bytes <= 12 {
            read_buf.text = shown(&entry.read_buf);
        }
        buffers.push(read_buf);
        buffers.push(buffer(&entry.name, 2, entry.write_buf));
    }
    buffers.retain(|buffer| buffer.bytes > 0);
    buffers
}

impl<'a> Buffer<'a> {
    pub(crate) fn is(&self, other: &Buffer) -> bool {
        (self.client, self.place) == (other.client, other.place)
    }

    pub(crate) fn holder(&self) -> Lane<'a> {
        match self.place {
            1 | 2 => Lane::Server,
            _ => Lane::Kernel,
        }
    }

    /// Whose bytes they are. What the server has written is of several clients.
    pub(crate) fn owner(&self) -> Lane<'a> {
        match self.place {
            0 | 1 => Lane::Client(self.client),
            _ => Lane::Server,
        }
    }

    /// Its name with what is in it.
    pub(crate) fn fact(&self, text: &str) -> String {
        let name = BUFFERS[self.place].replace("CLIENT", self.client);
        name.replace("{}", text)
    }
}

/// From where to where a client's action goes, and what it is.
fn action(step: &Step) -> ([Lane<'_>; 2], String) {
    let does = step.does.as_deref().unwrap_or_default();
    if step.actor == "server" {
        return ([Lane::Server; 2], does.to_owned());
    }
    let client = Lane::Client(&step.actor);
    let what = match &step.text {
        Some(text) if text.chars().count() <= 12 => shown(text),
        _ => format!("{} bytes", grouped(step.bytes.unwrap_or_default())),
    };
    match does {
        "sends" => ([client, Lane::Kernel], what),
        "receives" => ([Lane::Kernel, client], what),
        "stops reading" => ([client; 2], does.to_owned()),
        _ => ([client, Lane::Kernel], does.to_owned()),
    }
}

/// From where to where a system call goes, and what it is.
fn call(step: &Step) -> ([Lane<'_>; 2], String) {
    let call = step.call.as_deref().unwrap_or_default();
    let on = step.on.as_deref().unwrap_or_default();
    let result = match &step.result {
        Some(Value::String(text)) => text.replace("EAGAIN", "WouldBlock"),
        _ => grouped(step.moved()),
    };
    let times = step
        .times
        .map(|times| format!(", {}+ calls", grouped(times)));
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
        call => format!("{call} {on}: {result}{}", times.unwrap_or_default()),
    };
    match call {
        "epoll_wait" | "accept4" | "read" => ([Lane::Kernel, Lane::Server], label),
        "write" => ([Lane::Server, Lane::Kernel], label),
        // Nothing moves.
        _ => ([Lane::Server; 2], label),
    }
}

fn shown(text: &str) -> String {
    format!("“{}”", text.replace('\n', "⏎"))
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let thousands = digits.as_bytes().rchunks(3).rev();
    let thousands: Vec<_> = thousands.map(String::from_utf8_lossy).collect();
    thousands.join(",")
}
