//! The tables on the terminal.

use crate::measure::{Figures, Measured};

const HEADER: &str = "server        CPU µs/delivery   ± %  × floor  round µs   99 % µs  \
                      deliveries/s  KiB/client";

/// Prints the table of a workload.
pub(crate) fn print(measured: &Measured) {
    let workload = &measured.workload;
    let (blocks, rounds) = (workload.blocks, workload.rounds_per_block);
    println!("\n{workload} ({blocks} blocks of {rounds} rounds)\n{HEADER}");
    measured.servers.iter().for_each(print_row);
}

fn print_row(figures: &Figures) {
    let to_floor = figures.cpu_to_floor.map(|ratio| format!("{ratio:.2}"));
    println!(
        "{:<12}{:>17.3}{:>6.0}{:>9}{:>10.0}{:>10.0}{:>14.0}{:>12.2}",
        figures.name,
        figures.cpu_us,
        figures.cpu_spread * 100.0,
        to_floor.as_deref().unwrap_or("-"),
        figures.round_us,
        figures.slow_round_us,
        figures.deliveries_per_second,
        figures.client_kib,
    );
}
