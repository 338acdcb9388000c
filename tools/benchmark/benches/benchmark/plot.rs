//! The plot: a panel for each workload, and in it a dot for each server, on the logarithmic axis of
//! `plot.svg`.

use crate::measure::{Figures, Measured};
use crate::server::{FLOOR, OURS};

/// The height of the axis, of a panel's title, and of a server.
const TOP: usize = 94;
const TITLE: usize = 46;
const ROW: usize = 18;

/// Where the floor is, and how far a factor of two is from it.
const FLOOR_X: f64 = 171.0;
const DOUBLING: f64 = 21.0;

/// Draws the CPU time per delivery of each server, relative to the floor's.
pub(crate) fn render(results: &[Measured]) -> String {
    // Without the floor there is nothing to compare with.
    let has_floor = |measured: &&Measured| measured.server(FLOOR).is_some();
    let (mut body, mut y) = (String::new(), TOP);
    for measured in results.iter().filter(has_floor) {
        let (title, top) = (measured.workload.to_string(), y + TITLE - ROW / 2);
        let (name, load) = title.split_once(": ").unwrap_or_default();
        let others = measured.servers.iter().filter(|s| s.name != FLOOR);
        let height = ROW * (measured.servers.len() - 1);
        body += &format!(
            r#"<text x="14" y="{}" class="title">{name}</text>
<text x="14" y="{}" class="small quiet">{load}</text>
<rect x="107.5" y="{top}" width="232" height="{height}" fill="url(#grid)"/>
<path d="M{FLOOR_X} {top}v{height}" class="floor"/>
"#,
            y + 15,
            y + 31
        );
        y += TITLE;
        for server in others {
            body += &dot(server, y);
            y += ROW;
        }
    }
    include_str!("plot.svg")
        .replace("HEIGHT", &(y + 2).to_string())
        .replace("BODY", &body)
}

/// A server's name, its dot and its figure.
fn dot(server: &Figures, y: usize) -> String {
    let ratio = server.cpu_to_floor.unwrap_or(f64::NAN);
    let ours = if server.name == OURS { " ours" } else { "" };
    let (name, x, baseline) = (server.name, FLOOR_X + ratio.log2() * DOUBLING, y + 5);
    format!(
        r#"<text x="96" y="{baseline}" class="end{ours}">{name}</text>
<path d="M{FLOOR_X} {y}H{x:.1}" class="server{ours}"/>
<circle cx="{x:.1}" cy="{y}" r="5" class="server{ours}"/>
<text x="388" y="{baseline}" class="end{ours}">{ratio:.2}</text>
"#
    )
}
