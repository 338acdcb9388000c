//! Measures the broadcast servers side by side: milestone 4, milestone 5, the least that any
//! single-threaded server must do (`floor`), and what else of this kind is installed.
//!
//! ```text
//! cargo bench -p milestone-5-harden                      # everything, some minutes
//! cargo bench -p milestone-5-harden -- lone burst        # these workloads only
//! cargo bench -p milestone-5-harden -- --quick           # a smoke test: its figures mean little
//! cargo bench -p milestone-5-harden -- --json FILE --svg FILE
//! ```
//!
//! Each server is a process of its own. The load is this process: one thread, in a closed loop. It
//! sends, waits until everybody has received everything, and only then sends again. So nothing
//! queues up, and what is measured is the work for a line, not the depth of a buffer. All servers
//! of a workload are alive together and are measured in turns, a block of rounds each, so that a
//! change in what else the machine does falls on all of them alike.
//!
//! A *delivery* is a message that this process has received from the server, verified byte by
//! byte: a line that a client other than its sender has got. The clients of the line servers all
//! receive, the senders too. With publish and subscribe only the readers are subscribed, so where
//! there are several senders a round there has fewer deliveries; replies to a sender do not count.
//!
//! CPU time is the median of the blocks, and `± %` tells how far they lie apart: half of the
//! distance between their quartiles. Do not read much into a smaller difference.

mod arguments;
mod floor;
mod json;
mod leash;
mod limits;
mod load;
mod measure;
mod protocol;
mod report;
mod server;
mod svg;
mod workload;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::arguments::Options;
use crate::measure::Measured;
use crate::server::Contestant;

fn main() -> Result<()> {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    // The benchmark runs itself in two more roles, each named by a first argument of its own.
    match arguments.split_first() {
        Some((role, rest)) if role == floor::ROLE => floor::run(rest),
        Some((role, rest)) if role == leash::ROLE => leash::run(rest),
        _ => benchmark(&arguments),
    }
}

fn benchmark(arguments: &[OsString]) -> Result<()> {
    let options = arguments::parse(arguments)?;
    if !options.bench {
        // `cargo test --all-targets` runs benchmarks too, and does not mean to measure.
        println!("Nothing is measured: run this with `cargo bench`");
        return Ok(());
    }

    let json = options.json.as_deref().map(writable).transpose()?;
    let svg = options.svg.as_deref().map(writable).transpose()?;
    let contestants = server::contestants()?;
    let results = run(&options, &contestants)?;
    if let Some(file) = json {
        write(&file, &json::render(&results)?)?;
    }
    if let Some(file) = svg {
        write(&file, &svg::render(&results))?;
    }
    Ok(())
}

/// Measures and reports one workload after the other.
fn run(options: &Options, contestants: &[Contestant]) -> Result<Vec<Measured>> {
    limits::raise_descriptors(&options.workloads, contestants.len())?;
    let mut results = Vec::new();
    for workload in &options.workloads {
        let plan = workload.plan(options.quick);
        let measured = measure::measure(workload, plan, contestants)
            .with_context(|| format!("cannot measure {}", workload.name))?;
        println!("{}", report::render(&measured));
        results.push(measured);
    }
    Ok(results)
}

/// Creates the file now: that it cannot be written is better known before the measurement. Returns
/// its whole path, because cargo runs benchmarks in the folder of their package.
fn writable(file: &Path) -> Result<PathBuf> {
    File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    fs::canonicalize(file).with_context(|| format!("cannot tell the path of {}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!("Wrote {}", file.display());
    Ok(())
}
