//! The tables on the terminal.

use crate::measure::{Figures, Measured};
use crate::server::OURS;

const HEADER: &str = "server        CPU µs/delivery   ± %  × floor  round µs   99 % µs  \
                      deliveries/s  in a round  KiB/client";

/// The table of a workload, followed by a comparison of milestone 5 with the others.
pub(crate) fn render(measured: &Measured) -> String {
    let workload = &measured.workload;
    let mut lines = vec![
        String::new(),
        format!(
            "{workload} ({} blocks of {} rounds)",
            workload.blocks, workload.rounds_per_block
        ),
        HEADER.to_owned(),
    ];
    lines.extend(measured.servers.iter().map(row));
    let cpu = ratios(measured, |figures| figures.cpu_us);
    lines.push(format!("{OURS}, CPU per delivery: {cpu}"));
    let round = ratios(measured, |figures| figures.round_us);
    lines.push(format!("{OURS}, median round:     {round}"));
    for failure in &measured.failures {
        lines.push(format!("No figures for {failure}"));
    }
    lines.join("\n")
}

fn row(figures: &Figures) -> String {
    let to_floor = figures
        .cpu_to_floor
        .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!(
        "{:<12}{:>17.3}{:>6.0}{to_floor:>9}{:>10.0}{:>10.0}{:>14.0}{:>12}{:>12.2}",
        figures.name,
        figures.cpu_us,
        figures.cpu_spread * 100.0,
        figures.round_us,
        figures.slow_round_us,
        figures.deliveries_per_second,
        figures.deliveries_per_round,
        figures.client_kib,
    )
}

/// A figure of milestone 5 as a multiple of each other server's.
fn ratios(measured: &Measured, figure: fn(&Figures) -> f64) -> String {
    let Some(ours) = measured.server(OURS) else {
        return "no figures".to_owned();
    };
    let others = measured.servers.iter().filter(|other| other.name != OURS);
    let ratios: Vec<String> = others
        .map(|other| format!("{:.2} × {}", figure(ours) / figure(other), other.name))
        .collect();
    ratios.join(", ")
}
