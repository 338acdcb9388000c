//! Shows the system calls of a milestone while two clients connect, one sends a line, and both
//! disconnect. `docs/src/kernel.md` quotes this output. Needs strace.
//!
//! ```text
//! cargo run -q -p recorder -- milestone-1-accept
//! ```
//!
//! It leaves out what precedes the first call to epoll, iterations in which nothing happened, writes to
//! stderr, other threads than the first, port numbers, and the addresses of buffers.

use std::env;

use anyhow::{Context, Result};
use course::milestones;
use recorder::calls;

fn main() -> Result<()> {
    let milestone = env::args().nth(1);
    let milestone = milestone.filter(|name| milestones().contains(name));
    let milestone = milestone.context("expected a milestone, such as milestone-1-accept")?;
    for call in calls(&milestone).context("strace is needed")? {
        println!("{call}");
    }
    Ok(())
}
