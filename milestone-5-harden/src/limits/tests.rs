//! The limits fit together, and `--help` states them.

use std::ops::Range;

use super::*;

/// The feed, the unfinished lines, and the pieces of own lines of a thousand clients.
#[test]
fn a_thousand_clients_take_at_most_64_mib() {
    let turn = 2 * TURN_BUDGET + MAX_LINE as u64;
    // What is not needed any more is forgotten when it is a quarter.
    let feed = (MAX_BEHIND + turn) * 4 / 3;
    let own = 1000 * (MAX_BEHIND / OWN_COST) * size_of::<Range<u64>>() as u64;
    assert!(feed + 2 * MAX_UNFINISHED + own < 48 << 20);
}

#[test]
fn the_help_states_the_limits() {
    let periods = (Duration::from_secs(1).as_millis() / PERIOD.as_millis()) as u64;
    let talk = (TALK_TOTAL + TALK_PIECE as u64) * periods;
    let pace = TURN_BUDGET * periods;
    let help = HELP.split_whitespace().collect::<Vec<_>>().join(" ");
    for limit in [
        format!("a line {MAX_LINE} bytes"),
        format!("unfinished lines {MAX_UNFINISHED} bytes"),
        format!("reading {READ_BUDGET} bytes"),
        format!("more than {TALK_BUDGET} bytes in a second"),
        format!("a client's queue {HIGH_WATER} bytes"),
        format!("{} KB a second", talk / 1000),
        format!("receives nothing for {} s", STALL_TIME.as_secs()),
        format!("patience {} s", PATIENCE.as_secs()),
        format!("{} MB a second", pace / 1_000_000),
        format!("is {MAX_BEHIND} bytes behind"),
        format!("does not answer for {} s", ANSWER_TIME.as_secs()),
        format!("the log {LOG_QUEUE} lines"),
        format!("after {} s, an address", FULL_TIME.as_secs()),
        format!("at most {} s", GRACE_TIME.as_secs()),
    ] {
        assert!(help.contains(&limit), "{limit}");
    }
}
