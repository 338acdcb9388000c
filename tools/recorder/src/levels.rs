//! Draws how full the buffers are during a long trace: a column for each, and time downwards. Beside
//! them is what the clients do.

use std::fmt::Write;

use crate::lanes::{Lane, badge, svg, words};
use crate::picture::{Buffer, buffers};
use crate::{Step, Trace};

/// As wide as a picture with lanes.
const WIDTH: usize = 390;

/// Where the columns begin, and the steps.
const LEFT: usize = 172;
const TOP: usize = 136;

/// From one step to the next: to one with words, and to another.
const SPOKEN: usize = 18;
const SILENT: usize = 6;

/// A buffer that never holds this part of what the fullest does is left out.
const LITTLE: usize = 100;

/// The steps as an SVG.
pub(crate) fn picture(trace: &Trace, steps: &[Step]) -> String {
    let (mut body, mut y, mut rows) = (String::new(), TOP, Vec::new());
    for step in steps {
        let text = match &step.mark {
            Some(mark) => Some(badge((LEFT - 6, y + SPOKEN), mark)),
            None => action(step, y + SPOKEN),
        };
        y += if text.is_some() { SPOKEN } else { SILENT };
        rows.push(y);
        body += &text.unwrap_or_default();
    }
    let columns = columns(steps);
    let room = (WIDTH - LEFT) / columns.len().max(1);
    for (index, column) in columns.iter().enumerate() {
        let levels = steps.iter().map(|step| {
            let now = buffers(step).into_iter().find(|now| now.is(column));
            now.map_or(0, |now| (room - 8) * now.bytes / column.bytes)
        });
        let levels: Vec<_> = levels.zip(rows.iter().copied()).collect();
        draw(&mut body, column, LEFT + index * room, room - 8, &levels);
    }
    let marks = steps
        .iter()
        .zip(&rows)
        .filter(|(step, _)| step.mark.is_some());
    for (_, y) in marks {
        let _ = writeln!(
            body,
            r#"<path class="mark line" d="M{LEFT} {}H{WIDTH}"/>"#,
            y - 4
        );
    }
    svg(&trace.title, (WIDTH, y + 64), &body)
}

/// What a client does.
fn action(step: &Step, y: usize) -> Option<String> {
    let does = step.does.as_ref().filter(|_| step.actor != "server")?;
    let size = step.bytes.map_or(String::new(), compact);
    let class = format!("{} head", Lane::Client(&step.actor).class());
    let text = format!("{} {does} {size}", step.actor);
    Some(words((8, y), &class, "start", text.trim_end()))
}

/// Each buffer as it is when it is fullest, in the order in which bytes pass through them.
fn columns(steps: &[Step]) -> Vec<Buffer<'_>> {
    let mut columns: Vec<Buffer> = Vec::new();
    for now in steps.iter().flat_map(buffers) {
        match columns.iter_mut().find(|column| column.is(&now)) {
            Some(column) if column.bytes >= now.bytes => {}
            Some(column) => *column = now,
            None => columns.push(now),
        }
    }
    let most = columns.iter().map(|column| column.bytes).max();
    columns.retain(|column| column.bytes * LITTLE >= most.unwrap_or_default());
    columns.sort_by_key(|column| (column.owner() == Lane::Server, column.client, column.place));
    columns
}

/// A column: its name on it, and below it how much it holds at most.
fn draw(body: &mut String, column: &Buffer, x: usize, width: usize, levels: &[(usize, usize)]) {
    let (mut path, mut end) = (format!("M{x} {TOP}"), TOP);
    for (level, y) in levels {
        let _ = write!(path, "H{}V{y}", x + level);
        end = *y;
    }
    let (owner, holder) = (column.owner().class(), column.holder().class());
    let (middle, height) = (x + width / 2 + 4, end - TOP);
    let _ = writeln!(
        body,
        r#"<path class="{owner} flat" d="{path}H{x}z"/><path class="{owner} line" d="{path}"/><rect class="{holder} hollow" x="{x}" y="{TOP}" width="{width}" height="{height}" rx="4"/>"#
    );
    let (name, most) = (column.fact(""), compact(column.bytes));
    for (y, anchor, text) in [(TOP - 6, "start", name.trim()), (end + 6, "end", &most)] {
        let text = words((0, 0), "", anchor, text);
        let place = format!("translate({middle} {y}) rotate(-90)");
        let _ = writeln!(body, r#"<g transform="{place}">{text}</g>"#);
    }
}

/// With two digits or three, and a unit.
fn compact(bytes: usize) -> String {
    match bytes {
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        1_000.. => format!("{} kB", (bytes + 500) / 1_000),
        _ => format!("{bytes} bytes"),
    }
}
