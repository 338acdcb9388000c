//! The plot: a panel for each workload, and in it a bar for each server. A bar begins at the floor's
//! CPU time per delivery. It extends to the right if the server needs more, to the left if less.

use crate::measure::{Figures, Measured};
use crate::server::{FLOOR, OURS};

/// One panel below the other: on a phone, two side by side would be too small to read.
const WIDTH: usize = 480;

/// The height of the title.
const TOP: usize = 45;

/// The height of a line of text or a bar, with the space around it.
const ROW: usize = 22;

/// Where the floor is in a panel.
const FLOOR_X: f64 = 225.0;

/// How far a bar extends for each factor of two, so that 2 is as far from 1 as 1/2 is.
const DOUBLING: f64 = 40.0;

const HEAD: &str = r#"<title>CPU time per delivery, relative to the floor</title>
<style>
text { font: 15px sans-serif; fill: #1b1f24 }
.title { font-weight: bold }
.page { fill: #fff }
.bar { fill: #9aa0a6 }
.ours { fill: #0057a8 }
.floor { stroke: #1b1f24 }
@media (prefers-color-scheme: dark) {
text { fill: #e3e7ec }
.page { fill: #1c212a }
.bar { fill: #7d8794 }
.ours { fill: #6fa8e8 }
.floor { stroke: #e3e7ec }
}
</style>
<rect class="page" width="100%" height="100%" rx="8"/>
<text class="title" x="15" y="26">CPU time per delivery, relative to the floor (log scale)</text>
"#;

/// Draws the CPU time per delivery of each server, relative to the floor's.
pub(crate) fn render(results: &[Measured]) -> String {
    // Without the floor there is nothing to compare with.
    let has_floor = |measured: &&Measured| measured.server(FLOOR).is_some();
    let mut panels = String::new();
    let mut y = TOP;
    for measured in results.iter().filter(has_floor) {
        panels += &format!(
            "<g transform=\"translate(0 {y})\">\n{}</g>\n",
            panel(measured)
        );
        // The title takes the row of the floor, and one row stays empty.
        y += ROW * (measured.servers.len() + 1);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" \
         width=\"{WIDTH}\" height=\"{y}\">\n{HEAD}{panels}</svg>\n"
    )
}

fn panel(measured: &Measured) -> String {
    let mut panel = format!(
        "<text class=\"title\" x=\"15\" y=\"15\">{}</text>\n",
        measured.workload
    );
    let mut y = ROW;
    for server in measured.servers.iter().filter(|s| s.name != FLOOR) {
        panel += &bar(server, y);
        y += ROW;
    }
    panel + &format!("<path class=\"floor\" d=\"M{FLOOR_X} {ROW}V{y}\"/>\n")
}

/// A server's name, its bar and its ratio. A bar that does not fit ends at the edge.
fn bar(server: &Figures, y: usize) -> String {
    let ratio = server.cpu_to_floor.unwrap_or(f64::NAN);
    let length = ratio.log2().clamp(-2.5, 4.5) * DOUBLING;
    let class = match server.name {
        OURS => "bar ours",
        _ => "bar",
    };
    let (x, width) = (FLOOR_X + length.min(0.0), length.abs());
    let (name, baseline) = (server.name, y + 15);
    format!(
        r#"<text x="115" y="{baseline}" text-anchor="end">{name}</text>
<rect class="{class}" x="{x:.1}" y="{y}" width="{width:.1}" height="18"/>
<text x="460" y="{baseline}" text-anchor="end">{ratio:.2}</text>
"#
    )
}
