//! Starts a server so that it cannot outlive the benchmark, not even one that was killed.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

/// The first argument that puts this executable into the role.
pub(crate) const ROLE: &str = "--leash";

/// A command that runs `program`, silent, until this process ends at the latest.
pub(crate) fn command(program: &OsString) -> Result<Command> {
    let myself = env::current_exe().context("cannot tell the path of the benchmark")?;
    let mut command = Command::new(myself);
    command
        .arg(ROLE)
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

/// Asks the kernel for `SIGKILL` when the parent ends, and becomes the program. Does not return
/// unless that fails.
pub(crate) fn run(command: &[OsString]) -> Result<()> {
    let (program, arguments) = command
        .split_first()
        .context("expected a program to become")?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot ask for a signal when the benchmark ends")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot become {program:?}"))
}
