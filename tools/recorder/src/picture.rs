//! Draws a recorded trace: a lane for each client, the kernel and the server, and time downwards.
//!
//! The picture begins with the first step that has a caption, or of a long trace with the last stop of the
//! server before the decisive step. It leaves out what the server prints.

use serde_json::Value;

use crate::lanes::{Lane, Lanes};
use crate::{Step, Trace};

/// A trace of more steps is long.
const LONG: usize = 40;

/// A buffer: in whose lane it is, whose bytes they are (what the server has written is of several clients),
/// how many, and which buffer it is with what is in it.
type Buffer<'a> = (Lane<'a>, Lane<'a>, usize, String);

/// The trace as an SVG.
#[must_use]
pub fn picture(trace: &Trace) -> String {
    let steps = drawn(&trace.steps);
    let most = steps.iter().flat_map(buffers).map(|(.., bytes, _)| bytes);
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
            let (holder, owner, bytes, fact) = buffer;
            lanes.level(*holder, *owner, fact, 100 * bytes / most);
        }
        before = now;
        if let Some(mark) = &step.mark {
            lanes.mark(mark);
        }
    }
    lanes.finish(&trace.title)
}

fn drawn(steps: &[Step]) -> &[Step] {
    let first = steps.iter().position(|step| step.caption.is_some());
    let steps = &steps[first.unwrap_or_default()..];
    if steps.iter().filter(|step| !step.prints()).count() <= LONG {
        return steps;
    }
    let decisive = steps.iter().position(|step| step.mark.is_some());
    let before = &steps[..decisive.unwrap_or_default()];
    let stop = before
        .iter()
        .rposition(|step| step.does.as_deref() == Some("stopped"));
    &steps[stop.unwrap_or_default()..]
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
fn buffers(step: &Step) -> Vec<Buffer<'_>> {
    let mut buffers = Vec::new();
    for (client, socket) in &step.kernel.sockets {
        for (owner, bytes, what) in [
            (Lane::Client(client), socket.unread, "unread from"),
            (Lane::Server, socket.unsent, "unsent to"),
            (Lane::Server, socket.at_client, "at"),
        ] {
            let fact = format!("{} {what} {client}", grouped(bytes));
            buffers.push((Lane::Kernel, owner, bytes, fact));
        }
    }
    for entry in step.server.map.values() {
        let (client, bytes) = (&entry.name, entry.read_buf_bytes);
        let text = match bytes {
            ..=12 => shown(&entry.read_buf),
            _ => grouped(bytes),
        };
        let fact = format!("{client}'s read_buf {text}");
        buffers.push((Lane::Server, Lane::Client(client), bytes, fact));
        let fact = format!("{client}'s write_buf {}", grouped(entry.write_buf));
        buffers.push((Lane::Server, Lane::Server, entry.write_buf, fact));
    }
    buffers.retain(|(.., bytes, _)| *bytes > 0);
    buffers
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
