//! Prints the system calls of a milestone, for `docs/strace.sh`.

use std::env;

use anyhow::{Context, Result};
use book_checks::milestones;
use book_checks::record::calls;

fn main() -> Result<()> {
    let milestone = env::args().nth(1);
    let milestone = milestone.filter(|name| milestones().contains(name));
    let milestone = milestone.context("expected a milestone, such as milestone-1-accept")?;
    for call in calls(&milestone).context("strace is needed")? {
        println!("{call}");
    }
    Ok(())
}
