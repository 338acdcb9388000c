//! `cargo learn`: checks a server chapter by chapter, and plays the chapters in the terminal.

mod arguments;
mod check;
mod group;
mod pace;
mod paper;
mod play;
mod screen;
mod start;
mod tour;
mod verdict;
mod watch;

use std::env;
use std::process::ExitCode;

use crate::arguments::{Action, USAGE};

/// Bad usage, or a server or tests that cannot be run at all.
const UNABLE: u8 = 2;

fn main() -> ExitCode {
    let arguments = env::args_os().skip(1);
    let arguments = arguments.map(|word| word.to_string_lossy().into_owned());
    let arguments: Vec<_> = arguments.collect();
    let action = match arguments::parse(&arguments) {
        Ok(action) => action,
        Err(problem) => {
            eprintln!("Error: {problem}\n\n{USAGE}");
            return ExitCode::from(UNABLE);
        }
    };
    let result = match action {
        Action::Help => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Action::Check(check) if group::is_leader() => check.run(),
        Action::Check(_) => group::run_again_as_leader(),
        Action::Tour(tour) => tour.run(),
        Action::Start(start) => start.run(),
    };
    result.unwrap_or_else(|e| {
        eprintln!("Error: {e:#}");
        ExitCode::from(UNABLE)
    })
}
