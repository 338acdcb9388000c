//! The picture in chapter 2 of small writes with and without `TCP_NODELAY` is what the kernel does.
//!
//! How much of the second line has arrived when the server's call returns is the usual case of many
//! rounds: the first acknowledgements of a connection are not delayed (tcp(7), `TCP_QUICKACK`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use course::{root, test_runner};
use recorder::{Lane, Lanes};
use shared_testkit::env::is_strict;
use shared_testkit::{Client, Server, wait_until};

/// So many that the quick acknowledgements are a few of them.
const ROUNDS: usize = 45;

/// The bytes of a line.
const LINE: u64 = 4;

/// One round: two lines, each written to bob by a call of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Round {
    /// How many bytes bob's socket had when the second call had returned.
    arrived: u64,
    /// From the first line until both had arrived.
    took: Duration,
}

/// With `TESTKIT_STRICT` set, as in CI. To draw it again:
///
/// ```sh
/// cargo test -p recorder --test pictures -- --ignored
/// ```
#[test]
fn drawn_again_it_is_the_same() {
    if is_strict() {
        assert_eq!(drawn(), fs::read_to_string(path()).unwrap());
    }
}

#[test]
#[ignore = "writes the picture instead of checking it"]
fn write_the_picture() {
    fs::write(path(), drawn()).unwrap();
}

fn path() -> PathBuf {
    root().join("docs/src/images/nodelay.svg")
}

fn drawn() -> String {
    let clients = ["bob".to_owned()];
    let mut lanes = Lanes::new(&clients);
    for (heading, mistake) in [
        ("Without TCP_NODELAY", Some("no-nodelay")),
        ("With TCP_NODELAY", None),
    ] {
        lanes.heading(heading);
        draw(&mut lanes, usual_round(mistake));
    }
    lanes.finish("Two small writes, without and with TCP_NODELAY")
}

/// Milestone 4's server, with the mistake or without any.
fn usual_round(mistake: Option<&str>) -> Round {
    let builder = Server::builder(test_runner::program("mistaken"));
    let server = match mistake {
        Some(mistake) => builder.argument(mistake).start(),
        None => builder.start(),
    };
    let (mut alice, mut bob) = (server.client("alice"), server.client("bob"));
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| round(&server, &mut alice, &mut bob))
        .collect();
    rounds.sort();
    // A busy machine makes some rounds longer, and none shorter.
    let usual = rounds[ROUNDS / 2].arrived;
    let shortest = rounds.into_iter().find(|round| round.arrived == usual);
    shortest.expect("it is one of them")
}

fn round(server: &Server, alice: &mut Client, bob: &mut Client) -> Round {
    let start = Instant::now();
    for line in ["one", "two"] {
        alice.send_line(line);
        server.expect_line(&format!("Wrote {LINE} bytes to {}", bob.token()));
    }
    let arrived = bob.unread_bytes();
    assert!(wait_until(|| bob.unread_bytes() == 2 * LINE));
    let took = start.elapsed();
    bob.expect_line("one");
    bob.expect_line("two");
    Round { arrived, took }
}

fn draw(lanes: &mut Lanes, round: Round) {
    let (bob, both) = (Lane::Client("bob"), format!("{} at bob", 2 * LINE));
    let write = format!("write bob: {LINE}");
    lanes.step(Lane::Server, Lane::Kernel, &write, false);
    lanes.state(Lane::Kernel, &[format!("{LINE} at bob")]);
    lanes.step(Lane::Server, Lane::Kernel, &write, false);
    if round.arrived < 2 * LINE {
        let held = format!("{} held back", 2 * LINE - round.arrived);
        lanes.state(Lane::Kernel, &[format!("{} at bob", round.arrived), held]);
        // The kernel's timer has steps of a few milliseconds.
        let about = round.took.as_millis() / 10 * 10;
        let label = format!("ACK, about {about} ms later");
        lanes.step(bob, Lane::Kernel, &label, false);
    }
    lanes.state(Lane::Kernel, &[both]);
    lanes.step(Lane::Kernel, bob, "“one⏎two⏎”", false);
}
