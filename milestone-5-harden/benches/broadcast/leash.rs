//! Starts a server such that it ends with the benchmark, even if the benchmark is killed.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

/// The first argument that gives this program the role.
pub(crate) const ROLE: &str = "--leash";

/// A command that runs `program` on the leash. Takes the program's arguments.
pub(crate) fn command(program: &Path) -> Result<Command> {
    let myself = env::current_exe().context("cannot find the benchmark's own program")?;
    let mut command = Command::new(myself);
    command.arg(ROLE).arg(program);
    Ok(command)
}

/// Asks the kernel for `SIGKILL` at the end of the parent, then becomes the program: the request
/// survives `execve`, but not `fork` (`PR_SET_PDEATHSIG`, prctl(2)). Returns only on an error.
pub(crate) fn run(mut command: impl Iterator<Item = OsString>) -> Result<()> {
    let program = command.next().context("expected a program to run")?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot request a signal for the end of the benchmark")?;
    let error = Command::new(&program).args(command).exec();
    Err(error).with_context(|| format!("cannot run {program:?}"))
}
