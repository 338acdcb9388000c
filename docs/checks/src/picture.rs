//! Draws a recorded trace: a lane for each client, the kernel and the server, and time downwards.
//!
//! The picture begins with the first step that has a caption. It leaves out what the server prints.

use std::fmt::Write;

use serde_json::Value;

use crate::record::{Kernel, Program, Step, Trace};

/// As wide as a small phone: nothing gets smaller there.
const WIDTH: usize = 390;

/// From one lane of a client to the next, and from the edge to the first.
const CLIENT: usize = 58;

const KERNEL: usize = 210;
const SERVER: usize = 340;

/// From one line of text to the next.
const LINE: usize = 14;

const STYLE: &str = "\
text { font: 11px system-ui, sans-serif; fill: #1f2328; paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.head { font-weight: bold; }
.state { fill: #57606a; }
.page { fill: #fff; }
path { stroke: #0b57a4; fill: none; }
.lane { stroke: #c5ccd3; }
.none { stroke-dasharray: 3 3; }
marker path { fill: #0b57a4; }
@media (prefers-color-scheme: dark) {
text { fill: #e6e6e6; stroke: #1d1f21; }
.state { fill: #a9b1ba; }
.page { fill: #1d1f21; }
path { stroke: #7ab7ff; }
.lane { stroke: #4a5058; }
marker path { fill: #7ab7ff; }
}
";

/// The trace as an SVG. Its text is text, and its colours follow the reader's (light or dark).
///
/// # Panics
///
/// If the trace names a client that it does not list.
#[must_use]
pub fn picture(trace: &Trace) -> String {
    let first = trace.steps.iter().position(|step| step.caption.is_some());
    let steps = trace.steps.iter().skip(first.unwrap_or_default());
    let mut drawing = Drawing {
        clients: &trace.clients,
        y: 4 * LINE,
        body: String::new(),
    };
    let (mut kernel, mut program) = (Vec::new(), Vec::new());
    for step in steps {
        if step.stdout.is_none() && step.stderr.is_none() {
            drawing.step(step);
        }
        drawing.news(KERNEL, "middle", &mut kernel, kernel_texts(&step.kernel));
        drawing.news(WIDTH - 6, "end", &mut program, program_texts(&step.server));
    }
    drawing.finish(&trace.title)
}

struct Drawing<'a> {
    clients: &'a [String],
    /// Where the next line of text goes.
    y: usize,
    body: String,
}

impl Drawing<'_> {
    /// What a side holds that it did not hold before.
    fn news(&mut self, x: usize, anchor: &str, before: &mut Vec<String>, now: Vec<String>) {
        let mut news = now.clone();
        news.retain(|text| !before.contains(text));
        // More do not fit beside each other.
        for line in news.chunks(2) {
            self.text(x, "state", anchor, &line.join(", "));
        }
        if !news.is_empty() {
            self.y += LINE / 4;
        }
        *before = now;
    }

    fn step(&mut self, step: &Step) {
        let (from, to, label) = if step.call.is_some() {
            call(step)
        } else {
            self.action(step)
        };
        // A long label beside the server's lane needs all the room up to the edge.
        let (x, anchor) = match (from + to) / 2 {
            middle if middle > KERNEL && from != to => (WIDTH - 6, "end"),
            middle => (middle, "middle"),
        };
        self.text(x, "", anchor, &label);
        let class = if is_refused(step) { "none" } else { "" };
        let y = self.y - LINE / 2 - 2;
        if from != to {
            self.add(&format!(
                r#"<path class="{class}" d="M{from} {y}H{to}" marker-end="url(#head)"/>"#
            ));
        }
        self.y += LINE / 2;
    }

    /// From where to where a client's action goes, and what it is.
    fn action(&self, step: &Step) -> (usize, usize, String) {
        let does = step.does.as_deref().unwrap_or_default();
        if step.actor == "server" {
            return (SERVER, SERVER, does.to_owned());
        }
        let lane = self.lane(&step.actor);
        let bytes = step.bytes.unwrap_or_default();
        let what = match &step.text {
            Some(text) if text.chars().count() <= 12 => shown(text),
            _ => format!("{} bytes", grouped(bytes)),
        };
        match does {
            "sends" => (lane, KERNEL, what),
            "receives" => (KERNEL, lane, what),
            "stops reading" => (lane, lane, does.to_owned()),
            _ => (lane, KERNEL, does.to_owned()),
        }
    }

    fn lane(&self, client: &str) -> usize {
        let place = self.clients.iter().position(|name| name == client);
        let place = place.expect("the trace lists its clients");
        // The more there are, the closer.
        CLIENT / 2 + place * CLIENT * 2 / self.clients.len().max(2)
    }

    fn text(&mut self, x: usize, class: &str, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let y = self.y;
        self.add(&format!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
        self.y += LINE;
    }

    fn add(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }

    fn finish(mut self, title: &str) -> String {
        let height = self.y;
        let steps = std::mem::take(&mut self.body);
        let clients = self
            .clients
            .iter()
            .map(|name| (self.lane(name), name.as_str()));
        let lanes: Vec<_> = clients
            .chain([(KERNEL, "kernel"), (SERVER, "server")])
            .collect();
        for (x, name) in lanes {
            self.y = 2 * LINE;
            self.text(x, "head", "middle", name);
            self.add(&format!(
                "<path class=\"lane\" d=\"M{x} {}V{height}\"/>",
                self.y - LINE / 2
            ));
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n"
        );
        svg += "<marker id=\"head\" viewBox=\"0 0 6 6\" refX=\"6\" refY=\"3\" markerWidth=\"6\" \
                markerHeight=\"6\" orient=\"auto\"><path d=\"M0 0L6 3L0 6z\"/></marker>\n";
        let _ = writeln!(
            svg,
            "<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>"
        );
        svg + &self.body + &steps + "</svg>\n"
    }
}

/// From where to where a system call goes, and what it is.
fn call(step: &Step) -> (usize, usize, String) {
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
    match step.call.as_deref().unwrap_or_default() {
        "epoll_wait" => {
            let events = step.events.iter().map(|(on, what)| format!("{on} {what}"));
            (
                KERNEL,
                SERVER,
                format!("event: {}", events.collect::<Vec<_>>().join(", ")),
            )
        }
        "accept4" => (KERNEL, SERVER, format!("accept: {result}")),
        "read" => (KERNEL, SERVER, format!("read {on}: {result}{times}")),
        "epoll_ctl" if result == "DEL" => (SERVER, KERNEL, format!("deregister {on}")),
        "epoll_ctl" => {
            // `MOD READABLE edge`: whether it is new, and that it is edge-triggered, is left out.
            let (_, interest) = result.split_once(' ').unwrap_or_default();
            let interest = interest.trim_end_matches(" edge");
            (SERVER, KERNEL, format!("{on}: {interest}"))
        }
        "close" => (SERVER, KERNEL, format!("close {on}")),
        call => (SERVER, KERNEL, format!("{call} {on}: {result}{times}")),
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
