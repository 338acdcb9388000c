//! Swim lanes as an SVG: a lane for each client, the kernel and the server, and time downwards.

/// As wide as a small phone, where nothing gets smaller then.
const WIDTH: usize = 390;

/// From one client's lane to the next, and twice from the edge to the first.
const CLIENT: usize = 58;

/// The same if there are many: a name of five letters has room.
const NARROW: usize = 39;

/// The places of these two lanes next to those of two clients.
const KERNEL: usize = 210;
const SERVER: usize = 340;

/// From the last letter to the edge.
const MARGIN: usize = 6;

/// From one line of text to the next.
const LINE: usize = 16;

/// About the width of a letter.
const LETTER: usize = 7;

/// The width of a buffer.
const BUFFER: usize = 184;

/// Where something happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane<'a> {
    /// At the client of this name.
    Client(&'a str),
    /// In the kernel.
    Kernel,
    /// In the server.
    Server,
}

/// A picture in the making. What is added comes below everything before it.
pub(crate) struct Lanes<'a> {
    clients: &'a [String],
    /// The width of all clients' lanes.
    span: usize,
    /// Where the next line of text goes.
    y: usize,
    /// Where the last step begins: in the picture, and in `body`.
    last: (usize, usize),
    body: String,
}

impl<'a> Lanes<'a> {
    /// A picture that fits a phone, if there are at most three clients.
    pub(crate) fn new(clients: &'a [String]) -> Lanes<'a> {
        Lanes {
            clients,
            span: (clients.len() * NARROW).max(2 * CLIENT),
            y: 4 * LINE,
            last: (3 * LINE, 0),
            body: String::new(),
        }
    }

    /// An arrow with a label above it, in its owner's colour. If the call has failed, it does not arrive.
    /// Within one lane, only the label.
    pub(crate) fn step(&mut self, way: [Lane; 2], owner: Lane, label: &str, has_failed: bool) {
        self.last = (self.y - LINE, self.body.len());
        let [from, to] = way.map(|lane| self.x(lane));
        let middle = (from + to) / 2;
        // Next to the server's lane, a long label needs all the room up to the edge.
        let is_at_the_edge = middle > self.x(Lane::Kernel) && from != to;
        self.text(middle, is_at_the_edge, "", label);
        if from != to {
            self.arrow(from, to, owner.class(), has_failed);
        }
        self.y += LINE / 2;
    }

    fn arrow(&mut self, from: usize, to: usize, class: &str, has_failed: bool) {
        let y = self.y - LINE / 2 - 2;
        let back = |by| if to > from { to - by } else { to + by };
        let (neck, bar) = (back(8), back(14));
        self.add(&match has_failed {
            true => format!(
                r#"<path class="{class} line none" d="M{from} {y}H{bar}"/><path class="{class} line" d="M{bar} {}v10"/>"#,
                y - 5
            ),
            false => format!(
                r#"<path class="{class} line" d="M{from} {y}H{neck}"/><path class="{class} head" d="M{to} {y}L{neck} {}v8z"/>"#,
                y - 4
            ),
        });
    }

    /// How full a buffer of a side's is now, in hundredths, and with whose bytes.
    pub(crate) fn level(&mut self, holder: Lane, owner: Lane, fact: &str, full: usize) {
        let edge = self.width() - MARGIN - BUFFER;
        let (x, y) = ((self.x(holder) - BUFFER / 2).min(edge), self.y - LINE + 2);
        let (holder, owner) = (holder.class(), owner.class());
        let width = (BUFFER * full / 100).max(3);
        self.add(&format!(
            r#"<rect class="page" x="{x}" y="{y}" width="{BUFFER}" height="18" rx="4"/><rect class="{owner} flat" x="{x}" y="{y}" width="{width}" height="18" rx="4"/><path class="{owner} line" d="M{} {y}v18"/><rect class="{holder} hollow" x="{x}" y="{y}" width="{BUFFER}" height="18" rx="4"/>"#,
            x + width - 1
        ));
        self.y -= 1;
        self.put(x + BUFFER / 2, "plain", "middle", fact);
        self.y += LINE + 6;
    }

    /// The last step is the decisive one, and why.
    pub(crate) fn mark(&mut self, text: &str) {
        let (width, (top, place)) = (self.width(), self.last);
        let region = format!(
            "<rect class=\"mark flat\" x=\"1\" y=\"{top}\" width=\"{}\" height=\"{}\"/>\n",
            width - 2,
            self.y + LINE / 2 - top
        );
        self.body.insert_str(place, &region);
        self.body += &badge((width - MARGIN, self.y), text);
        self.y += LINE + LINE / 2;
    }

    /// What is true of the kernel now.
    pub(crate) fn state(&mut self, text: &str) {
        self.text(self.x(Lane::Kernel), false, "quiet", text);
        self.y += LINE / 4;
    }

    /// The whole SVG.
    pub(crate) fn finish(mut self, title: &str) -> String {
        let (width, height) = (self.width(), self.y + LINE / 2);
        let steps = std::mem::take(&mut self.body);
        let clients = self.clients.iter().map(|name| Lane::Client(name));
        let lanes: Vec<_> = clients.chain([Lane::Kernel, Lane::Server]).collect();
        for lane in lanes {
            let (x, y, class) = (self.x(lane), 2 * LINE, lane.class());
            self.add(&format!(
                r#"<path class="{class} lane" d="M{x} {}V{height}"/>"#,
                y + LINE / 2
            ));
            self.y = y;
            self.put(x, &format!("{class} head"), "middle", lane.name());
        }
        svg(title, (width, height), &(self.body + &steps))
    }

    fn width(&self) -> usize {
        WIDTH + self.span - 2 * CLIENT
    }

    fn x(&self, lane: Lane) -> usize {
        let beyond_two = self.span - 2 * CLIENT;
        match lane {
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
            x if x < half => (MARGIN, "start"),
            x => (x, "middle"),
        };
        self.put(x, class, anchor, text);
        self.y += LINE;
    }

    fn put(&mut self, x: usize, class: &str, anchor: &str, text: &str) {
        self.body += &words((x, self.y), class, anchor, text);
    }

    fn add(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }
}

impl<'a> Lane<'a> {
    fn name(self) -> &'a str {
        match self {
            Lane::Client(name) => name,
            Lane::Kernel => "kernel",
            Lane::Server => "server",
        }
    }

    /// The class of what is its own. Three clients have a colour each, all others the kernel's.
    pub(crate) fn class(self) -> &'a str {
        match self {
            Lane::Client(name) if !["alice", "bob", "carol"].contains(&name) => "kernel",
            _ => self.name(),
        }
    }
}

/// What makes a step the decisive one, with its right edge here.
pub(crate) fn badge((right, y): (usize, usize), text: &str) -> String {
    let width = (text.chars().count() + 3) * LETTER;
    let (left, top) = (right - width, y + 3 - LINE);
    let rect = format!(
        r#"<rect class="mark head" x="{left}" y="{top}" width="{width}" height="18" rx="9"/>"#
    );
    rect + &words((right - width / 2, y), "badge", "middle", text)
}

/// A line of text.
pub(crate) fn words((x, y): (usize, usize), class: &str, anchor: &str, text: &str) -> String {
    let text = escape(text);
    format!("<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

/// An SVG of this size. Its text is text, and its colours follow the reader's (light or dark): they are the
/// book's (`docs/book.css`), of a line or word and of an area.
pub(crate) fn svg(title: &str, (width, height): (usize, usize), body: &str) -> String {
    let page = format!(
        r#"<rect class="page" x="0.5" y="0.5" width="{}" height="{}" rx="8"/>"#,
        width - 1,
        height - 1
    );
    include_str!("frame.svg")
        .replace("WIDTH", &width.to_string())
        .replace("HEIGHT", &height.to_string())
        .replace("PAGE", &page)
        .replace("TITLE", &escape(title))
        .replace("BODY", body)
}

/// Text of an XML document, which cannot have every character (XML 1.0, section 2.2).
fn escape(text: &str) -> String {
    let is_impossible = |c: char| c.is_control() || ['\u{fffe}', '\u{ffff}'].contains(&c);
    let text = text.replace(is_impossible, "\u{fffd}");
    text.replace('&', "&amp;").replace('<', "&lt;")
}
