//! `cargo learn tour`: a chapter's transcript, played live.

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use course::{Book, milestones, test_runner};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_CMD};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::play::{Play, attempt};
use crate::screen;

/// Set in the process that has the variables for the testkit.
const PREPARED: &str = "LEARN_TOUR";

/// The testkit waits 2 seconds for a line, not 20.
const SCALE: &str = "0.1";

pub(crate) struct Tour {
    pub chapter: usize,
    /// Empty for the chapter's milestone.
    pub command: Vec<String>,
}

impl Tour {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if env::var_os(PREPARED).is_none() {
            return self.run_again_prepared();
        }
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&ended))?;
        }
        let book = Book::read();
        let transcript = book.transcript(self.chapter);
        let own = attempt(|| test_runner::program(&milestones()[self.chapter - 1]))?;
        let mut play = Play::start(self.chapter, &own, &transcript)?;
        if io::stdout().is_terminal() && io::stdin().is_terminal() {
            screen::show(&mut play, &ended)?;
        } else {
            play.print(&ended)?;
        }
        let is_complete = play.frames.iter().all(|frame| frame.missing.is_empty());
        Ok(ExitCode::from(u8::from(!is_complete)))
    }

    /// The testkit takes its settings from the environment.
    fn run_again_prepared(&self) -> Result<ExitCode> {
        let mut again = Command::new(env::current_exe()?);
        again.args(env::args_os().skip(1)).env(PREPARED, "1");
        if env::var_os(DEADLINE_SCALE).is_none() {
            again.env(DEADLINE_SCALE, SCALE);
        }
        again.env_remove(SERVER_CMD);
        if !self.command.is_empty() {
            let command = shlex::try_join(self.command.iter().map(String::as_str))?;
            again.env(SERVER_CMD, command);
        }
        Err(again.exec().into())
    }
}
