//! Milestone 5: the same server, fit to be left running.
//!
//! The step past the article. What milestone 4 does, this does too, with the same lines on stdout;
//! but no client, however greedy, slow or broken, takes more than its share of time or memory.
//!
//! To be read in this order: `limits` (what is bounded, and why), `server` (the loop), `connection`
//! (one client), and then what they use: `lines`, `turn` and `output`.

mod connection;
mod limits;
mod lines;
mod output;
mod server;
mod turn;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::limits::{
    GRACE_TIME, HARD_LIMIT, HIGH_WATER, LOG_BACKLOG, MAX_LINE, READ_BUDGET, STALL_TIME, TALK_BUDGET,
};
use crate::server::Server;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        print_help().context("cannot write to stdout")?;
        return Ok(ExitCode::SUCCESS);
    }
    let address = listen_address(&arguments)?;
    Server::bind(address)?.run()
}

/// The address to listen on: the one argument, or the default where there is none.
fn listen_address(arguments: &[OsString]) -> Result<SocketAddr> {
    let address = match arguments {
        [] => DEFAULT_ADDRESS.into(),
        [address] => address.to_string_lossy(),
        [address, extra, ..] => {
            bail!("expected one address at most, but {extra:?} follows {address:?}")
        }
    };
    address
        .parse()
        .with_context(|| format!("{address:?} is not an address such as {DEFAULT_ADDRESS:?}"))
}

fn print_help() -> io::Result<()> {
    writeln!(
        io::stdout(),
        "\
Passes every line that a client sends on to all other clients.

Usage: milestone-5-harden [ADDRESS]

ADDRESS is HOST:PORT by number, such as {DEFAULT_ADDRESS} (the default) or [::1]:8080.
Port 0 lets the kernel choose. The first line on stderr tells the address.

Limits:
  a line                  {line} bytes; a client that sends a longer one is closed
  reading                 {read} bytes from one client in one turn of the loop
  a client's queue        {high} bytes, above which whoever sends more than {talk} bytes
                          in a second has to wait for it; the client is closed after
                          {stall} s above that, or at {hard} bytes
  lines of the log        {log} bytes, if nobody reads them; more are dropped and counted
  clients                 as many as there are descriptors (ulimit -n); the others wait

Signals:
  SIGINT, SIGTERM         accept and read no more, deliver what is queued for {grace} s at
                          the most, and end with status 0; a second one ends it at once

What it does is told on stdout, trouble on stderr.",
        line = MAX_LINE,
        read = READ_BUDGET,
        high = HIGH_WATER,
        talk = TALK_BUDGET,
        hard = HARD_LIMIT,
        log = LOG_BACKLOG,
        stall = STALL_TIME.as_secs(),
        grace = GRACE_TIME.as_secs(),
    )
}
