//! The command line.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workload::{self, Workload};

/// What the command line asks for.
#[derive(Default)]
pub(crate) struct Options {
    /// Whether this runs under `cargo bench`, which passes `--bench`.
    pub(crate) bench: bool,
    /// Few rounds, to see whether everything works.
    pub(crate) quick: bool,
    /// Where to write the figures as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Where to write the plot.
    pub(crate) svg: Option<PathBuf>,
    /// The workloads to run; empty for all.
    pub(crate) workloads: Vec<Workload>,
}

/// Parses the command line. An error names the argument that is wrong.
pub(crate) fn parse() -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        // Only a file name may be something other than Unicode, and `file` takes it as it is.
        match argument.to_string_lossy().as_ref() {
            "--bench" => options.bench = true,
            "--quick" => options.quick = true,
            "--json" => options.json = Some(file("--json", arguments.next())?),
            "--svg" => options.svg = Some(file("--svg", arguments.next())?),
            name => options.workloads.push(named(name)?),
        }
    }
    Ok(options)
}

fn file(option: &str, name: Option<OsString>) -> Result<PathBuf> {
    // In `--json --svg FILE` the first name is missing.
    let name = name.filter(|name| !name.to_string_lossy().starts_with("--"));
    name.map(PathBuf::from)
        .with_context(|| format!("{option} must be followed by the name of a file"))
}

fn named(name: &str) -> Result<Workload> {
    let known = workload::ALL.iter().find(|workload| workload.name == name);
    known.copied().with_context(|| {
        let names = workload::ALL.map(|workload| workload.name).join(", ");
        format!("{name:?} is not one of {names}, --quick, --json FILE, --svg FILE")
    })
}
