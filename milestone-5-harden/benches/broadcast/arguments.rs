//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workload::{self, Workload};

/// What the command line asks for.
pub(crate) struct Options {
    /// Whether `cargo bench` runs this: it passes `--bench`.
    pub(crate) bench: bool,
    /// Few rounds, to see whether everything works.
    pub(crate) quick: bool,
    /// Where to write the figures.
    pub(crate) json: Option<PathBuf>,
    /// Where to draw the figures.
    pub(crate) svg: Option<PathBuf>,
    /// What to run: all there is, unless some are named.
    pub(crate) workloads: Vec<Workload>,
}

/// Understands the arguments, or says which one it does not.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Options> {
    let mut options = Options {
        bench: false,
        quick: false,
        json: None,
        svg: None,
        workloads: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        // Only a file's name may be something else than Unicode, and that one is not looked at.
        match argument.to_string_lossy().as_ref() {
            "--bench" => options.bench = true,
            "--quick" => options.quick = true,
            "--json" => options.json = Some(file_after("--json", arguments.next())?),
            "--svg" => options.svg = Some(file_after("--svg", arguments.next())?),
            name => options.workloads.push(named(name)?),
        }
    }
    if options.workloads.is_empty() {
        options.workloads = workload::ALL.to_vec();
    }
    Ok(options)
}

fn file_after(option: &str, file: Option<&OsString>) -> Result<PathBuf> {
    let file = file.with_context(|| format!("{option} needs the name of a file after it"))?;
    // `--json --svg FILE`: the name was forgotten.
    if file.to_string_lossy().starts_with("--") {
        bail!("{option} needs the name of a file after it, not {file:?}");
    }
    Ok(PathBuf::from(file))
}

fn named(name: &str) -> Result<Workload> {
    let known = workload::ALL.iter().find(|workload| workload.name == name);
    known.copied().with_context(|| {
        let names = workload::ALL.map(|workload| workload.name).join(", ");
        format!(
            "{name:?} is neither a workload ({names}) nor one of --quick, --json FILE, --svg FILE"
        )
    })
}
