//! The plot: a panel for each workload, and in it a bar for each server. A bar begins at the floor's
//! CPU time per delivery. It extends to the right if the server needs more, to the left if less.

use crate::measure::{Figures, Measured};
use crate::server::{FLOOR, OURS};

const PANEL_WIDTH: usize = 480;

/// The height of a line of text or a bar, with the space around it.
const ROW: usize = 22;

/// Where the floor is in a panel.
const FLOOR_X: f64 = 225.0;

/// How far a bar extends for each factor of two, so that 2 is as far from 1 as 1/2 is.
const DOUBLING: f64 = 40.0;

const HEAD: &str = r#"<title>CPU time per delivery, relative to the floor</title>
<style>
text { font: 14px sans-serif; fill: #222 }
.title { font-weight: bold }
.bar { fill: #9aa0a6 }
.ours { fill: #0057a8 }
@media (prefers-color-scheme: dark) { svg { filter: invert(0.9) hue-rotate(180deg) } }
</style>
<rect width="100%" height="100%" rx="8" fill="white"/>
<text class="title" x="30" y="36">CPU time per delivery, relative to the floor (log scale)</text>
"#;

/// Draws the CPU time per delivery of each server, relative to the floor's.
pub(crate) fn render(results: &[Measured]) -> String {
    // Without the floor there is nothing to compare with.
    let has_floor = |measured: &&Measured| measured.server(FLOOR).is_some();
    let results: Vec<_> = results.iter().filter(has_floor).collect();
    let rows = results.iter().map(|measured| measured.servers.len() + 2);
    let panel_height = ROW * rows.max().unwrap_or(0);
    let width = 2 * PANEL_WIDTH;
    let height = 50 + panel_height * results.len().div_ceil(2);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n{HEAD}"
    );
    for (index, measured) in results.iter().enumerate() {
        let (x, y) = (index % 2 * PANEL_WIDTH, 50 + index / 2 * panel_height);
        svg += &format!("<g transform=\"translate({x} {y})\">\n");
        svg += &panel(measured);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

fn panel(measured: &Measured) -> String {
    let mut panel = format!(
        "<text class=\"title\" x=\"30\" y=\"15\">{}</text>\n",
        measured.workload
    );
    let mut y = ROW;
    for server in measured.servers.iter().filter(|s| s.name != FLOOR) {
        panel += &bar(server, y);
        y += ROW;
    }
    panel + &format!("<path stroke=\"#222\" d=\"M{FLOOR_X} {ROW}V{y}\"/>\n")
}

/// A server's name, its bar and its ratio. A bar that does not fit ends at the edge.
fn bar(server: &Figures, y: usize) -> String {
    let ratio = server.cpu_to_floor.unwrap_or(f64::NAN);
    let length = ratio.log2().clamp(-2.5, 4.5) * DOUBLING;
    let class = if server.name == OURS {
        "bar ours"
    } else {
        "bar"
    };
    let (x, width) = (FLOOR_X + length.min(0.0), length.abs());
    let (name, baseline) = (server.name, y + 14);
    format!(
        r#"<text x="115" y="{baseline}" text-anchor="end">{name}</text>
<rect class="{class}" x="{x:.1}" y="{y}" width="{width:.1}" height="18"/>
<text x="460" y="{baseline}" text-anchor="end">{ratio:.2}</text>
"#
    )
}
