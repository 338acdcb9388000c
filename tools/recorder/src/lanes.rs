//! Swim lanes as an SVG: a lane for each client, the kernel and the server, and time downwards.

use std::fmt::Write;

/// As wide as a small phone, where nothing gets smaller then.
const WIDTH: usize = 390;

/// From one client's lane to the next, and twice from the edge to the first.
const CLIENT: usize = 58;

/// The same if there are many, in a picture without times: a name of five letters has room.
const NARROW: usize = 39;

/// The places of these two lanes next to those of two clients.
const KERNEL: usize = 210;
const SERVER: usize = 340;

/// From the last letter to the edge.
const MARGIN: usize = 6;

/// From one line of text to the next.
const LINE: usize = 14;

/// About the width of a letter.
const LETTER: usize = 6;

/// The width of the column for times.
const TIMES: usize = 60;

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

/// Where something happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lane<'a> {
    /// At the client of this name.
    Client(&'a str),
    /// In the kernel.
    Kernel,
    /// In the server.
    Server,
}

/// A picture in the making. What is added comes below everything before it.
pub struct Lanes<'a> {
    clients: &'a [String],
    /// From the edge to the part that a picture without times has.
    left: usize,
    /// The width of all clients' lanes.
    span: usize,
    /// Where the next line of text goes.
    y: usize,
    body: String,
}

impl<'a> Lanes<'a> {
    /// A picture that fits a phone, if there are at most three clients.
    #[must_use]
    pub fn new(clients: &'a [String]) -> Lanes<'a> {
        Lanes {
            clients,
            left: 0,
            span: (clients.len() * NARROW).max(2 * CLIENT),
            y: 4 * LINE,
            body: String::new(),
        }
    }

    /// A picture with a column for times. The more clients there are, the wider it is.
    #[must_use]
    pub fn with_times(clients: &'a [String]) -> Lanes<'a> {
        Lanes {
            left: TIMES,
            span: clients.len().max(2) * CLIENT,
            ..Lanes::new(clients)
        }
    }

    /// An arrow with a label above it, dashed if the call has failed. Within one lane, only the label.
    pub fn step(&mut self, from: Lane, to: Lane, label: &str, has_failed: bool) {
        let (from, to) = (self.x(from), self.x(to));
        let middle = (from + to) / 2;
        // Next to the server's lane, a long label needs all the room up to the edge.
        let is_at_the_edge = middle > self.x(Lane::Kernel) && from != to;
        self.text(middle, is_at_the_edge, "", label);
        if from != to {
            let class = if has_failed { "none" } else { "" };
            let y = self.y - LINE / 2 - 2;
            self.add(&format!(
                r#"<path class="{class}" d="M{from} {y}H{to}" marker-end="url(#head)"/>"#
            ));
        }
        self.y += LINE / 2;
    }

    /// What a side holds now: in grey, two facts on a line.
    pub fn state(&mut self, lane: Lane, facts: &[String]) {
        for line in facts.chunks(2) {
            self.text(
                self.x(lane),
                lane == Lane::Server,
                "state",
                &line.join(", "),
            );
        }
        if !facts.is_empty() {
            self.y += LINE / 4;
        }
    }

    /// When the next step happens.
    pub fn time(&mut self, text: &str) {
        self.put(self.left - MARGIN, "state", "end", text);
    }

    /// A line across all lanes, above what it is about.
    pub fn heading(&mut self, text: &str) {
        self.y += LINE / 2;
        self.put(MARGIN, "head", "start", text);
        self.y += LINE + LINE / 2;
    }

    /// The whole SVG. Its text is text, and its colours follow the reader's (light or dark).
    #[must_use]
    pub fn finish(mut self, title: &str) -> String {
        let (width, height) = (self.width(), self.y);
        let steps = std::mem::take(&mut self.body);
        let clients = self
            .clients
            .iter()
            .map(|name| (Lane::Client(name), name.as_str()));
        let lanes: Vec<_> = clients
            .chain([(Lane::Kernel, "kernel"), (Lane::Server, "server")])
            .collect();
        for (lane, name) in lanes {
            let (x, y) = (self.x(lane), 2 * LINE);
            self.y = y;
            self.put(x, "head", "middle", name);
            self.add(&format!(
                "<path class=\"lane\" d=\"M{x} {}V{height}\"/>",
                y + LINE - LINE / 2
            ));
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n",
            escape(title)
        );
        svg += "<marker id=\"head\" viewBox=\"0 0 6 6\" refX=\"6\" refY=\"3\" markerWidth=\"6\" \
                markerHeight=\"6\" orient=\"auto\"><path d=\"M0 0L6 3L0 6z\"/></marker>\n";
        let _ = writeln!(
            svg,
            "<rect class=\"page\" width=\"{width}\" height=\"{height}\"/>"
        );
        svg + &self.body + &steps + "</svg>\n"
    }

    fn width(&self) -> usize {
        self.left + WIDTH + self.span - 2 * CLIENT
    }

    fn x(&self, lane: Lane) -> usize {
        let beyond_two = self.span - 2 * CLIENT;
        self.left
            + match lane {
                Lane::Kernel => KERNEL + beyond_two,
                Lane::Server => SERVER + beyond_two,
                Lane::Client(name) => {
                    // One that is not listed is drawn at the edge.
                    let place = self.clients.iter().position(|client| client == name);
                    let place = place.unwrap_or_default();
                    CLIENT / 2 + place * self.span / self.clients.len().max(2)
                }
            }
    }

    /// A line of text around `x`, or against an edge that it would cross.
    fn text(&mut self, x: usize, is_at_the_edge: bool, class: &str, text: &str) {
        let half = text.chars().count() * LETTER / 2;
        let edge = self.width() - MARGIN;
        let (x, anchor) = match x {
            _ if is_at_the_edge || x + half > edge => (edge, "end"),
            x if x < self.left + half => (self.left + MARGIN, "start"),
            x => (x, "middle"),
        };
        self.put(x, class, anchor, text);
        self.y += LINE;
    }

    fn put(&mut self, x: usize, class: &str, anchor: &str, text: &str) {
        let (y, text) = (self.y, escape(text));
        self.add(&format!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn add(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }
}

/// Text of an XML document, which cannot have every character (XML 1.0, section 2.2).
fn escape(text: &str) -> String {
    let is_impossible = |c: char| c.is_control() || ['\u{fffe}', '\u{ffff}'].contains(&c);
    let text = text.replace(is_impossible, "\u{fffd}");
    text.replace('&', "&amp;").replace('<', "&lt;")
}
