//! Draws a recorded trace: a lane for each client, the kernel and the server, and time downwards.
//!
//! The picture begins with the first step that has a caption. It leaves out what the server prints.

use serde_json::Value;

use crate::lanes::{Lane, Lanes};
use crate::{Kernel, Program, Step, Trace};

/// The trace as an SVG.
#[must_use]
pub fn picture(trace: &Trace) -> String {
    let first = trace.steps.iter().position(|step| step.caption.is_some());
    let steps = trace.steps.iter().skip(first.unwrap_or_default());
    let mut lanes = Lanes::new(&trace.clients);
    let (mut kernel, mut program) = (Vec::new(), Vec::new());
    for step in steps {
        if step.stdout.is_none() && step.stderr.is_none() {
            let (from, to, label) = match step.call {
                Some(_) => call(step),
                None => action(step),
            };
            lanes.step(from, to, &label, is_refused(step));
        }
        lanes.state(Lane::Kernel, &news(&mut kernel, kernel_texts(&step.kernel)));
        lanes.state(
            Lane::Server,
            &news(&mut program, program_texts(&step.server)),
        );
    }
    lanes.finish(&trace.title)
}

/// What a side holds that it did not hold before.
fn news(before: &mut Vec<String>, now: Vec<String>) -> Vec<String> {
    let mut news = now.clone();
    news.retain(|text| !before.contains(text));
    *before = now;
    news
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
            format!("{on}: {}", interest.trim_end_matches(" edge"))
        }
        "close" => format!("close {on}"),
        call => format!("{call} {on}: {result}{times}"),
    };
    match call {
        "epoll_wait" | "accept4" | "read" => (Lane::Kernel, Lane::Server, label),
        _ => (Lane::Server, Lane::Kernel, label),
    }
}

fn is_refused(step: &Step) -> bool {
    step.result
        .as_ref()
        .is_some_and(|result| result == "EAGAIN")
}

/// What the kernel holds, as far as it is anything.
fn kernel_texts(kernel: &Kernel) -> Vec<String> {
    let mut parts = Vec::new();
    if !kernel.pending.is_empty() {
        parts.push(format!("pending: {}", kernel.pending.join(", ")));
    }
    for (name, socket) in &kernel.sockets {
        for (count, what) in [
            (socket.unread, format!("unread from {name}")),
            (socket.unsent, format!("unsent to {name}")),
            (socket.at_client, format!("at {name}")),
        ] {
            if count > 0 {
                parts.push(format!("{} {what}", grouped(count)));
            }
        }
    }
    parts
}

/// What the program holds, as far as it is anything.
fn program_texts(program: &Program) -> Vec<String> {
    let mut parts = Vec::new();
    for entry in program.map.values() {
        if !entry.read_buf.is_empty() && entry.read_buf.len() <= 12 {
            parts.push(format!(
                "{}'s read_buf: {}",
                entry.name,
                shown(&entry.read_buf)
            ));
        } else if entry.read_buf_bytes > 0 {
            parts.push(format!(
                "{}'s read_buf: {}",
                entry.name,
                grouped(entry.read_buf_bytes)
            ));
        }
        if entry.write_buf > 0 {
            parts.push(format!(
                "{}'s write_buf: {}",
                entry.name,
                grouped(entry.write_buf)
            ));
        }
    }
    parts
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
