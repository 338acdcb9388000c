//! One process group for everything that a check starts: cargo, the tests and their servers. It is
//! killed as one, so nothing is left behind however the check ends.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitCode};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
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
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let mut leader = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(LEADER, "1")
        .process_group(0)
        .spawn()
        .context("cannot start the check")?;
    let group = Pid::from_child(&leader);
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            kill(group);
            process::exit(SIGNALLED + signal);
        }
    });
    let status = leader.wait()?;
    kill(group);
    let status = status.code().context("the check was killed")?;
    Ok(ExitCode::from(u8::try_from(status)?))
}

fn kill(group: Pid) {
    // This fails only if nobody is left.
    let _ = kill_process_group(group, Signal::KILL);
}
