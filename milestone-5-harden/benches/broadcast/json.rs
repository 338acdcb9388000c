//! The figures, for programs.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::measure::{Entry, Measured};
use crate::server::FLOOR;

/// All figures as a JSON text.
pub(crate) fn render(results: &[Measured]) -> Result<String> {
    let workloads: Vec<Value> = results.iter().map(workload).collect();
    let text = serde_json::to_string_pretty(&json!({ "workloads": workloads }))
        .context("cannot write the figures as JSON")?;
    Ok(text + "\n")
}

fn workload(measured: &Measured) -> Value {
    let workload = &measured.workload;
    let servers: Vec<Value> = measured
        .entries
        .iter()
        .map(|entry| server(entry, measured))
        .collect();
    json!({
        "name": workload.name,
        "senders": workload.senders,
        "readers": workload.readers,
        "line_bytes": workload.line_bytes,
        "lines_in_flight": workload.senders * workload.lines,
        "blocks": measured.plan.blocks,
        "rounds_per_block": measured.plan.rounds,
        "servers": servers,
    })
}

fn server(entry: &Entry, measured: &Measured) -> Value {
    let figures = match &entry.figures {
        Ok(figures) => figures,
        Err(e) => return json!({ "name": entry.server, "error": format!("{e:#}") }),
    };
    let floor = measured.figures(FLOOR).map(|floor| floor.cpu_us);
    json!({
        "name": entry.server,
        "cpu_us_per_delivery": figures.cpu_us,
        "cpu_spread": figures.cpu_spread,
        "cpu_relative_to_floor": floor.map(|floor| figures.cpu_us / floor),
        "round_us_median": figures.round_us,
        "round_us_99th_percentile": figures.slow_round_us,
        "deliveries_per_second": figures.per_second,
        "deliveries_per_round": figures.deliveries,
        "memory_kib_per_client": figures.client_kib,
    })
}
