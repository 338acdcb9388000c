//! One process group for everything that a check starts: cargo, the tests and their servers. It is
//! killed as one, so nothing is left behind however the check ends.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process_group};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Set in the process that leads the group: a shell too makes its jobs leaders.
const LEADER: &str = "LEARN_LEADER";

/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

pub(crate) fn is_leader() -> bool {
    env::var_os(LEADER).is_some() && getpgrp() == getpid()
}

/// Runs this same command as the leader of a new group. The terminal sends Ctrl-C to this process
/// alone, which kills the group.
pub(crate) fn run_again_as_leader() -> Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])?;
    let mut leader = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(LEADER, "1")
        .process_group(0)
        .spawn()
        .context("cannot start the check")?;
    let group = Pid::from_child(&leader);
    let mut ended = None;
    let signal = signals.forever().find(|signal| {
        ended = leader.try_wait().ok().flatten();
        *signal != SIGCHLD || ended.is_some()
    });
    // This fails only if nobody is left.
    let _ = kill_process_group(group, Signal::KILL);
    let code = match ended {
        Some(status) => status.code().context("the check was killed")?,
        None => SIGNALLED + signal.unwrap_or_default(),
    };
    Ok(ExitCode::from(u8::try_from(code)?))
}
