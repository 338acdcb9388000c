//! The tables.

use crate::measure::{Entry, Figures, Measured};
use crate::server::{FLOOR, OURS};

/// The table of a workload, and how milestone 5 compares with the others in it.
pub(crate) fn render(measured: &Measured) -> String {
    let plan = measured.plan;
    let mut lines = vec![
        String::new(),
        format!(
            "{} ({} blocks of {} rounds)",
            measured.workload, plan.blocks, plan.rounds
        ),
        row(&[
            "server",
            "CPU µs/delivery",
            "± %",
            "× floor",
            "round µs",
            "99 % µs",
            "deliveries/s",
            "in a round",
            "KiB/client",
        ]),
    ];
    lines.extend(measured.entries.iter().map(|entry| line(entry, measured)));
    lines.extend(comparison(measured));
    lines.extend(measured.entries.iter().filter_map(failure));
    lines.join("\n")
}

fn line(entry: &Entry, measured: &Measured) -> String {
    let Ok(figures) = &entry.figures else {
        return row(&[entry.server, "-", "-", "-", "-", "-", "-", "-", "-"]);
    };
    let to_floor = measured.figures(FLOOR).map_or_else(
        || "-".to_owned(),
        |floor| decimals(figures.cpu_us / floor.cpu_us, 2),
    );
    row(&[
        entry.server,
        &decimals(figures.cpu_us, 3),
        &decimals(figures.cpu_spread * 100.0, 0),
        &to_floor,
        &decimals(figures.round_us, 0),
        &decimals(figures.slow_round_us, 0),
        &decimals(figures.per_second, 0),
        &figures.deliveries.to_string(),
        &decimals(figures.client_kib, 2),
    ])
}

fn row(cells: &[&str; 9]) -> String {
    const WIDTHS: [usize; 8] = [17, 6, 9, 10, 10, 14, 12, 12];
    let [name, numbers @ ..] = cells;
    let numbers = numbers.iter().zip(WIDTHS);
    let numbers: String = numbers
        .map(|(cell, width)| format!("{cell:>width$}"))
        .collect();
    format!("{name:<12}{numbers}")
}

/// How many times as much CPU and time as each other server milestone 5 takes.
fn comparison(measured: &Measured) -> Vec<String> {
    let Some(ours) = measured.figures(OURS) else {
        return Vec::new();
    };
    let ratios = |figure: fn(&Figures) -> f64| {
        let others = measured.entries.iter().filter(|entry| entry.server != OURS);
        let ratios: Vec<String> = others
            .filter_map(|entry| {
                let ratio = figure(ours) / figure(entry.figures.as_ref().ok()?);
                Some(format!("{ratio:.2} × {}", entry.server))
            })
            .collect();
        ratios.join(", ")
    };
    vec![
        format!(
            "{OURS}, CPU per delivery: {}",
            ratios(|figures| figures.cpu_us)
        ),
        format!(
            "{OURS}, median round:     {}",
            ratios(|figures| figures.round_us)
        ),
    ]
}

fn failure(entry: &Entry) -> Option<String> {
    let error = entry.figures.as_ref().err()?;
    Some(format!("{} has no figures: {error:#}", entry.server))
}

fn decimals(number: f64, places: usize) -> String {
    format!("{number:.places$}")
}
