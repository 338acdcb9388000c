//! Skips tests that this machine cannot run, and reports why.

use std::io::{self, Write};
use std::net::TcpListener;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::env::{STRICT, is_foreign, is_strict};
use crate::report::hand_over;

/// How many file descriptors a test may have once it has asked for many.
const MANY_DESCRIPTORS: u64 = 12_000;

/// Reports on stderr that this test, or a part of it, is skipped on this machine or with this
/// server, and why.
///
/// # Panics
///
/// If `TESTKIT_STRICT` is set and the server is our own: CI skips nothing.
pub fn skip(why: &str) {
    assert!(!is_strict() || is_foreign(), "{STRICT} is set, but {why}");
    // Not `eprintln!`: the test harness shows that only if the test fails. A lost line does no harm.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
    hand_over(&[("skipped", why)]);
}

/// Whether this machine has an IPv6 loopback address. If not, reports the calling test as skipped.
///
/// # Panics
///
/// As [`skip`].
#[must_use]
pub fn has_ipv6() -> bool {
    let result = TcpListener::bind("[::1]:0");
    result
        .map_err(|e| skip(&format!("there is no IPv6 here: {e}")))
        .is_ok()
}

/// Raises the limit on open file descriptors for this process and the servers that it starts: to
/// 12,000, or to the hard limit if that is lower (`RLIMIT_NOFILE`, getrlimit(2)). Returns whether
/// at least `wanted` are allowed now. If not, reports the calling test as skipped.
///
/// # Panics
///
/// If the soft limit cannot be raised to the hard one, and as [`skip`].
#[must_use]
pub fn has_descriptors(wanted: u64) -> bool {
    let hard = getrlimit(Resource::Nofile).maximum;
    let allowed = hard.unwrap_or(u64::MAX).min(MANY_DESCRIPTORS);
    let limit = Rlimit {
        current: Some(allowed),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
    if allowed < wanted {
        skip(&format!(
            "{wanted} file descriptors are needed, and `ulimit -Hn` allows {allowed}"
        ));
    }
    allowed >= wanted
}
