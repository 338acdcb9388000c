//! The figures as a picture: a bar for each server in each workload, which rises from the floor's
//! CPU time per delivery if the server takes more, and hangs from it if it takes less.

use std::fmt::Write;

use crate::measure::Measured;
use crate::server::FLOOR;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;

/// The plot's own edges.
const LEFT: f64 = 104.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = HEIGHT - 52.0;

/// The part of a group's width that its bars fill.
const FILLED: f64 = 0.88;

/// Where the vertical axis may end: powers of two, because a ratio of 2 is as far from 1 as 1/2.
const MOST_DOUBLINGS: i32 = 6;

/// Colours that differ in lightness too, so that they can be told apart without seeing colours.
const COLOURS: [&str; 6] = [
    "#9aa0a6", "#0057a8", "#e6a100", "#c8442e", "#3a9a74", "#8b5fa8",
];

/// Draws CPU time per delivery relative to the floor's.
pub(crate) fn render(results: &[Measured]) -> String {
    let plot = Plot::new(results);
    let mut svg = String::new();
    plot.draw(&mut svg, results);
    svg
}

/// Which servers there are, and how far the vertical axis goes.
struct Plot {
    servers: Vec<&'static str>,
    /// The ends of the axis, as powers of two.
    lowest: i32,
    highest: i32,
}

impl Plot {
    fn new(results: &[Measured]) -> Plot {
        let mut plot = Plot {
            servers: servers(results),
            lowest: -1,
            highest: 1,
        };
        for measured in results {
            for server in &plot.servers {
                let Some(ratio) = ratio(measured, server) else {
                    continue;
                };
                // A little further, so that there is room for the number at the bar's end.
                plot.lowest = plot.lowest.min((ratio.log2() - 0.3).floor() as i32);
                plot.highest = plot.highest.max((ratio.log2() + 0.3).ceil() as i32);
            }
        }
        plot.lowest = plot.lowest.max(-MOST_DOUBLINGS);
        plot.highest = plot.highest.min(MOST_DOUBLINGS);
        plot
    }

    fn draw(&self, svg: &mut String, results: &[Measured]) {
        let _ = writeln!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13" fill="#222">
<title>CPU time per delivery, relative to the floor</title>
<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fcfcfa"/>"##
        );
        text(
            svg,
            (WIDTH / 2.0, 32.0),
            18,
            "CPU time per delivery, relative to the floor",
        );
        self.draw_legend(svg);
        self.draw_axis(svg);
        for (place, measured) in results.iter().enumerate() {
            self.draw_group(svg, place, results.len(), measured);
        }
        self.draw_floor(svg);
        svg.push_str("</svg>\n");
    }

    fn draw_legend(&self, svg: &mut String) {
        const STEP: f64 = 135.0;
        let start = (WIDTH - STEP * self.servers.len() as f64) / 2.0;
        for (place, (server, colour)) in self.servers.iter().zip(COLOURS).enumerate() {
            let x = start + STEP * place as f64;
            let _ = writeln!(
                svg,
                r#"<rect x="{x:.1}" y="52" width="14" height="14" rx="2" fill="{colour}"/>
<text x="{:.1}" y="64">{server}</text>"#,
                x + 20.0
            );
        }
    }

    fn draw_axis(&self, svg: &mut String) {
        for power in self.lowest..=self.highest {
            let y = self.y(f64::from(power));
            let label = match power {
                0 => format!("{FLOOR} 1 ×"),
                1.. => format!("{} ×", 1 << power),
                _ => format!("1/{} ×", 1 << -power),
            };
            let _ = writeln!(
                svg,
                r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#ddd"/>
<text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"##,
                LEFT - 8.0,
                y + 4.5
            );
        }
        let middle = (TOP + BOTTOM) / 2.0;
        let _ = writeln!(
            svg,
            r#"<text transform="translate(22 {middle}) rotate(-90)" text-anchor="middle">times the floor's CPU (log scale)</text>"#
        );
    }

    fn draw_group(&self, svg: &mut String, place: usize, groups: usize, measured: &Measured) {
        let width = (RIGHT - LEFT) / groups as f64;
        let left = LEFT + width * place as f64;
        let step = width * FILLED / self.servers.len() as f64;
        let first = left + width * (1.0 - FILLED) / 2.0;
        for (place, (server, colour)) in self.servers.iter().zip(COLOURS).enumerate() {
            let x = first + step * place as f64;
            self.draw_bar(svg, x, step, colour, ratio(measured, server));
        }
        let workload = &measured.workload;
        let detail = format!(
            "{} → {}, {} × {} B",
            workload.senders, workload.readers, workload.lines, workload.line_bytes
        );
        let middle = left + width / 2.0;
        text(svg, (middle, BOTTOM + 22.0), 14, workload.name);
        text(svg, (middle, BOTTOM + 40.0), 11, &detail);
    }

    /// A bar between the floor's line and the ratio, with the number at its end. One that goes
    /// beyond the axis ends there: the number tells how far it goes.
    fn draw_bar(&self, svg: &mut String, x: f64, step: f64, colour: &str, ratio: Option<f64>) {
        let floor = self.y(0.0);
        let middle = x + step / 2.0;
        let Some(ratio) = ratio else {
            text(svg, (middle, floor - 5.0), 12, "–");
            return;
        };
        let end = self.y(ratio.log2());
        let _ = writeln!(
            svg,
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="1.5" fill="{colour}"/>"#,
            x + step * 0.06,
            end.min(floor),
            step * 0.88,
            (end - floor).abs()
        );
        let label = if end <= floor { end - 4.0 } else { end + 12.0 };
        text(svg, (middle, label), 11, &short(ratio));
    }

    /// The line from which the bars rise: drawn last, above their ends.
    fn draw_floor(&self, svg: &mut String) {
        let y = self.y(0.0);
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#222" stroke-width="1.5"/>"##
        );
    }

    /// The height of a power of two.
    fn y(&self, power: f64) -> f64 {
        let (lowest, highest) = (f64::from(self.lowest), f64::from(self.highest));
        let part = (power.clamp(lowest, highest) - lowest) / (highest - lowest);
        BOTTOM - part * (BOTTOM - TOP)
    }
}

/// The servers that have a bar: all but the floor, which is the line.
fn servers(results: &[Measured]) -> Vec<&'static str> {
    let Some(first) = results.first() else {
        return Vec::new();
    };
    let servers = first.entries.iter().map(|entry| entry.server);
    servers.filter(|server| *server != FLOOR).collect()
}

fn ratio(measured: &Measured, server: &str) -> Option<f64> {
    Some(measured.figures(server)?.cpu_us / measured.figures(FLOOR)?.cpu_us)
}

/// Two digits and more where a bar is narrow.
fn short(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}")
    } else {
        format!("{ratio:.1}")
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), size: u8, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="middle">{text}</text>"#
    );
}
