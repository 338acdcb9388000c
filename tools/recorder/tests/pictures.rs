//! What the figure in chapter 2 of small writes with and without `TCP_NODELAY` shows is what the kernel does.
//!
//! How much of the second line has arrived when the server's call returns is the usual case of many
//! rounds: the first acknowledgements of a connection are not delayed (tcp(7), `TCP_QUICKACK`).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use std::time::{Duration, Instant};

use course::test_runner;
use shared_testkit::env::is_strict;
use shared_testkit::{Client, Server, wait_until};

/// So many that the quick acknowledgements are a few of them.
const ROUNDS: usize = 45;

/// The bytes of a line.
const LINE: u64 = 4;

/// A delayed acknowledgement takes 40 ms at least (`TCP_DELACK_MIN`), which the kernel counts in ticks of
/// up to 10 ms (`CONFIG_HZ`): the first of them may be nearly over.
const DELAYED: Duration = Duration::from_millis(30);

/// One round: two lines, each written to bob by a call of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Round {
    /// How many bytes bob's socket had when the second call had returned.
    arrived: u64,
    /// From the first line until both had arrived.
    took: Duration,
}

/// With `TESTKIT_STRICT` set, as in CI.
#[test]
fn a_small_write_waits_for_the_delayed_acknowledgement() {
    if is_strict() {
        let round = usual_round(Some("no-nodelay"));
        assert_eq!(round.arrived, LINE);
        assert!(round.took >= DELAYED, "{:?}", round.took);
        assert_eq!(usual_round(None).arrived, 2 * LINE);
    }
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
