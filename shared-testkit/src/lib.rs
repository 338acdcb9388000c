//! What the tests of every milestone are written with: a [`Server`] that runs the milestone's
//! binary, [`Client`]s that talk to it, and assertions that show what they saw when they fail.
//!
//! Everything here is ordinary blocking code over [`std::net`] and [`std::process`]. Nothing sleeps
//! and hopes for the best: every wait is for a fact (a line in the server's log, bytes at a client),
//! and gives up after 20 seconds, or after 40 if something still comes. If your machine is so slow that
//! this isn't enough, set the environment variable `TESTKIT_DEADLINE_SCALE` to the factor by which to wait
//! longer.
//!
//! A test that can't run on this machine (no IPv6, no `strace`, too few file descriptors) is skipped,
//! and says so on stderr. With `TESTKIT_STRICT` set, it fails instead.
//!
//! # A whole example
//!
//! In a milestone's `tests/` folder, the program is [`program!()`](program), the milestone's own
//! binary. Here, a server of a few lines takes its place: the example runs itself once more.
//!
//! ```standalone_crate
//! use shared_testkit::Server;
//!
//! # use std::io::{BufRead, BufReader, Write};
//! # use std::net::{TcpListener, TcpStream};
//! # /// One thread, exactly two clients, and the first one's lines go to the second.
//! # fn serve(address: &str) -> std::io::Result<()> {
//! #     let listener = TcpListener::bind(address)?;
//! #     eprintln!("Listening on {}", listener.local_addr()?);
//! #     let mut clients: Vec<TcpStream> = Vec::new();
//! #     for token in 1..=2 {
//! #         let (client, address) = listener.accept()?;
//! #         println!("Accepted connection from {address}");
//! #         println!("Registered client with Token({token})");
//! #         clients.push(client);
//! #     }
//! #     for line in BufReader::new(&clients[0]).lines() {
//! #         let line = line? + "\n";
//! #         println!("Broadcast {} bytes from Token(1)", line.len());
//! #         (&clients[1]).write_all(line.as_bytes())?;
//! #         println!("Wrote {} bytes to Token(2)", line.len());
//! #     }
//! #     println!("Client Token(1) disconnected");
//! #     Ok(())
//! # }
//! #
//! # if let Some(address) = std::env::args().nth(1) {
//! #     return Ok(serve(&address)?);
//! # }
//! # let program = std::env::current_exe()?;
//! // Runs `PROGRAM 127.0.0.1:0` and waits until it prints `Listening on …`.
//! let server = Server::start(program);
//!
//! // Each returns when the server has reported this client as registered.
//! let mut alice = server.client("alice");
//! let mut bob = server.client("bob");
//!
//! alice.send_line("Hello from A");
//! bob.expect_line("Hello from A");
//! server.expect_line("Broadcast 13 bytes from Token(1)");
//! server.expect_line("Wrote 13 bytes to Token(2)");
//!
//! alice.leave();
//! server.expect_line("Client Token(1) disconnected");
//! server.expect_no_more_lines();
//! // The server is dropped here, and thereby killed: no test leaves one behind.
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Reading a failure
//!
//! A failed assertion panics with what was expected and what came instead (bytes escaped as in a Rust
//! string, and a mark at the first difference). Then come what the test checks, the cause if a rule
//! fits what was seen, or else what it often is, and the heading to read ([`Lesson`]). Last are the
//! events of both sides, with their time in milliseconds, and how the server is. A rule sees what each
//! client has sent and received, the server's lines, and what the kernel knows. What no program in the
//! server's runtime could do is a `limit`, not a cause. `cargo learn check` gets all this as data
//! (`TESTKIT_REPORT`):
//!
//! ```text
//! bob did not receive what was expected
//!   expected: "Hello from A\n"
//!   received: "Hello f", then nothing more in 20 s
//!                     ^ they differ at byte 7
//!
//! the test: pieces of a line are put together before they are broadcast
//! cause: WRITABLE is on for bob and the socket has room, but the server sleeps: a
//!    write stopped before WouldBlock, or the bytes that a short write did not take
//!    are gone. Write until the queue is empty or a write would block.
//!    [write-until-would-block]
//! read: docs/src/4-write.md, 'A write takes what fits'
//! server: asleep in epoll_wait; 0 bytes of bob's are unread, 0 unsent; bob is
//!    registered edge-triggered, with WRITABLE
//!
//! what happened, in milliseconds since the start:
//!       3  server !  Listening on 127.0.0.1:40123
//!       4  alice  .  connects from 127.0.0.1:51000
//!       5  server |  Accepted connection from 127.0.0.1:51000
//!       5  server |  Registered client with Token(1)
//! the server: still runs
//! ```
//!
//! `|` is the server's stdout, `!` its stderr, `>` what a client sent, `<` what it received, and `.`
//! anything else that happened.
//!
//! # Another server
//!
//! With the environment variable `SERVER_CMD`, the milestones' tests run against any command; see
//! [`Program::under_test`].

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "panicking is how an assertion fails"
)]

// Each uses only those before it in this order: env, lines, wait, report, skip, proc, log, failure,
// harness, behaviour.
pub mod behaviour;
pub mod env;
mod failure;
mod harness;
pub mod lines;
mod log;
mod proc;
mod report;
mod skip;
mod wait;

pub use assert_cmd;
pub use predicates;

pub use crate::failure::{LESSONS, Lesson};
pub use crate::harness::{Builder, Client, Program, Server, run_to_exit};
pub use crate::proc::Interest;
pub use crate::skip::{has_descriptors, has_ipv6, skip};
pub use crate::wait::wait_until;

/// The [`Program`] under test: the binary of the package whose integration test this is in, or the
/// command in the environment variable `SERVER_CMD`.
///
/// Works in the `tests/` folder of a package whose binary has the package's own name.
#[macro_export]
macro_rules! program {
    () => {
        $crate::Program::under_test(env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME"))))
    };
}

/// Tests of these functions of [`behaviour`], each by the same name, with the [`Program`] under test.
#[macro_export]
macro_rules! promises {
    ($($(#[$sentence:meta])* $group:ident::$promise:ident)*) => {
        $(
            $(#[$sentence])*
            #[test]
            fn $promise() {
                $crate::behaviour::$group::$promise($crate::program!());
            }
        )*
    };
}
