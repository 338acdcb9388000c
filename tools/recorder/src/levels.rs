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
    let mut body = String::new();
    let mut rows = Vec::new();
    let mut y = TOP;
    for step in steps {
        let is_spoken = step.mark.is_some() || action(step).is_some();
        y += if is_spoken { SPOKEN } else { SILENT };
        rows.push(y);
    }
    let columns = columns(&trace.clients, steps);
    let room = (WIDTH - LEFT) / columns.len().max(1);
    for (index, column) in columns.iter().enumerate() {
        let levels = steps
            .iter()
            .map(|step| level(column, step))
            .zip(rows.iter().copied());
        draw(&mut body, column, LEFT + index * room, room - 8, levels);
    }
    for (step, y) in steps.iter().zip(&rows) {
        if let Some(mark) = &step.mark {
            body += &badge((LEFT - 6, *y), mark);
            let _ = write!(
                body,
                r#"<path class="mark line" d="M{LEFT} {}H{WIDTH}"/>"#,
                y - 4
            );
        } else if let Some(action) = action(step) {
            let class = format!("{} head", Lane::Client(&step.actor).class());
            body += &words((8, *y), &class, "start", &action);
        }
        body.push('\n');
    }
    svg(&trace.title, (WIDTH, y + 64), &body)
}

/// What a client does.
fn action(step: &Step) -> Option<String> {
    let does = step.does.as_ref().filter(|_| step.actor != "server")?;
    let size = step.bytes.map(|bytes| format!(" {}", compact(bytes)));
    Some(format!("{} {does}{}", step.actor, size.unwrap_or_default()))
}

/// Each buffer as it is when it is fullest, in the order in which bytes pass through them.
fn columns(clients: &[String], steps: &[Step]) -> Vec<Buffer> {
    let mut columns: Vec<Buffer> = Vec::new();
    for now in steps.iter().flat_map(buffers) {
        match columns.iter_mut().find(|column| column.is_same(&now)) {
            Some(column) if column.bytes >= now.bytes => {}
            Some(column) => *column = now,
            None => columns.push(now),
        }
    }
    let most = columns
        .iter()
        .map(|column| column.bytes)
        .max()
        .unwrap_or_default();
    columns.retain(|column| column.bytes * LITTLE >= most);
    let order = ["unread from", "read_buf", "write_buf", "unsent to", "at"];
    columns.sort_by_key(|column| {
        let place = order.iter().position(|name| *name == column.name);
        (
            place > Some(1),
            clients.iter().position(|name| *name == column.client),
            place,
        )
    });
    columns
}

/// How full a buffer is after a step, in hundredths.
fn level(column: &Buffer, step: &Step) -> usize {
    let now = buffers(step).into_iter().find(|now| now.is_same(column));
    now.map_or(0, |now| 100 * now.bytes / column.bytes)
}

/// A column: its name on it, and below it how much it holds at most.
fn draw(
    body: &mut String,
    column: &Buffer,
    x: usize,
    width: usize,
    levels: impl Iterator<Item = (usize, usize)>,
) {
    let mut path = format!("M{x} {TOP}");
    let mut end = TOP;
    for (level, y) in levels {
        let _ = write!(path, "H{}V{y}", x + width * level / 100);
        end = y;
    }
    let (owner, holder) = (column.owner().class(), column.holder().class());
    let (middle, height) = (x + width / 2 + 4, end - TOP);
    let _ = writeln!(
        body,
        r#"<path class="{owner} flat" d="{path}H{x}z"/><path class="{owner} line" d="{path}"/><rect class="{holder} hollow" x="{x}" y="{TOP}" width="{width}" height="{height}" rx="4"/>"#
    );
    for (y, anchor, text) in [
        (TOP - 6, "start", column.fact()),
        (end + 6, "end", compact(column.bytes)),
    ] {
        let text = words((0, 0), "", anchor, &text);
        let _ = writeln!(
            body,
            r#"<g transform="translate({middle} {y}) rotate(-90)">{text}</g>"#
        );
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
