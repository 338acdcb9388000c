//! Compares broadcast servers: milestone 4, milestone 5, the least that any single-threaded server
//! must do (`floor`), and similar servers that are installed.
//!
//! ```text
//! cargo bench -p benchmark                      # everything, a few minutes
//! cargo bench -p benchmark -- lone burst        # these workloads only
//! cargo bench -p benchmark -- --quick           # a smoke test: its figures mean little
//! ```
//!
//! The figures are also plotted in `target/tmp/benchmark.svg`.
//!
//! Each server is a process of its own. This process is the load: one thread, in a closed loop. In a
//! *round* it sends, and waits until every client has received everything; only then does it send
//! again. So nothing queues up, and the result is the work for a line, not the depth of a buffer. All
//! servers of a workload run at the same time and are measured in turns, a block of rounds each, so
//! that other activity on the machine affects all of them alike. The servers have one core and the
//! load has another, or the figures would depend on where the scheduler runs them.
//!
//! A *delivery* is a message that this process has received and verified byte by byte: a line that
//! has reached a client other than its sender. Senders receive each other's lines too, except with
//! Redis, where a round with several senders therefore has fewer deliveries. [`workload::Workload`]
//! says what a round and a delivery are where clients come and go, and where one is slow.
//!
//! CPU time is the median of the blocks, and `± %` is their spread: half the distance between the
//! quartiles. A smaller difference may be chance.

mod client;
mod load;
mod measure;
mod plot;
mod protocol;
mod report;
mod server;
mod workload;

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::measure::Measured;
use crate::workload::Workload;

/// The core that runs this process. The servers have another one: [`server::CORE`].
const CORE: usize = 1;

fn main() -> Result<()> {
    let (mut is_bench, mut is_quick, mut workloads) = (false, false, Vec::new());
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--bench" => is_bench = true,
            "--quick" => is_quick = true,
            name => workloads.push(Workload::named(name)?),
        }
    }
    if !is_bench {
        // `cargo test --all-targets` runs benchmarks too, but not in order to measure.
        println!("Nothing is measured: use `cargo bench`");
        return Ok(());
    }
    if workloads.is_empty() {
        workloads = workload::ALL.to_vec();
    }
    if is_quick {
        workloads = workloads.into_iter().map(Workload::quick).collect();
    }

    let results = run(&workloads)?;
    let plot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("benchmark.svg");
    fs::write(&plot, plot::render(&results))?;
    println!("\nPlotted in {}", plot.display());
    Ok(())
}

/// Measures and reports one workload after the other.
fn run(workloads: &[Workload]) -> Result<Vec<Measured>> {
    let contestants = server::contestants();
    // As many as are allowed, for this process and the servers that it starts.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit on file descriptors")?;
    let mut core = CpuSet::new();
    core.set(CORE);
    sched_setaffinity(None, &core).context("cannot run on core 1: two cores are needed")?;
    let mut results = Vec::new();
    for workload in workloads {
        let measured = measure::measure(workload, &contestants)
            .with_context(|| format!("cannot measure {}", workload.name))?;
        report::print(&measured);
        results.push(measured);
    }
    Ok(results)
}
