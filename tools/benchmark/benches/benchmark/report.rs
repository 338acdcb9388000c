//! The tables on the terminal.

use crate::measure::{Figures, Measured};

const HEADER: &str = "server        CPU µs/delivery   ± %  × floor  round µs   99 % µs  \
                      deliveries/s  KiB/client";

/// The table of a workload.
pub(crate) fn render(measured: &Measured) -> String {
    let workload = &measured.workload;
    let rows: Vec<String> = measured.servers.iter().map(row).collect();
    let failures = measured.failures.iter();
    let failures: String = failures.map(|f| format!("\nNo figures for {f}")).collect();
    format!(
        "\n{workload} ({} blocks of {} rounds)\n{HEADER}\n{}{failures}",
        workload.blocks,
        workload.rounds_per_block,
        rows.join("\n"),
    )
}

fn row(figures: &Figures) -> String {
    let to_floor = figures
        .cpu_to_floor
        .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    format!(
        "{:<12}{:>17.3}{:>6.0}{to_floor:>9}{:>10.0}{:>10.0}{:>14.0}{:>12.2}",
        figures.name,
        figures.cpu_us,
        figures.cpu_spread * 100.0,
        figures.round_us,
        figures.slow_round_us,
        figures.deliveries_per_second,
        figures.client_kib,
    )
}
