//! What the machine may not let a test do.

use std::env;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::program::is_foreign;

/// The environment variable that makes a test fail which would pass itself over.
const STRICT: &str = "TESTKIT_STRICT";

/// As many file descriptors as the tests that need many have in all.
const MANY_DESCRIPTORS: u64 = 12_000;

/// Says that a test, or a part of it, cannot be done on this machine or with this server, and why.
///
/// # Panics
///
/// If `TESTKIT_STRICT` is set: there, every test of our own binaries has to be done.
pub fn skip(why: &str) {
    let is_strict = env::var_os(STRICT).is_some() && !is_foreign();
    assert!(!is_strict, "{STRICT} is set, but {why}");
    // Not by `eprintln!`, whose text is shown of tests that fail only. Nothing is lost if it fails.
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}

/// Whether this machine has an IPv6 loopback address. Where it has none, the test that asks is
/// passed over.
#[must_use]
pub fn has_ipv6() -> bool {
    let result = TcpListener::bind("[::1]:0");
    if let Err(e) = &result {
        skip(&format!("there is no IPv6 here: {e}"));
    }
    result.is_ok()
}

/// Whether this machine has `python3`. Where it has none, the test that asks is passed over.
#[must_use]
pub fn has_python() -> bool {
    let result = Command::new("python3").arg("--version").output();
    if let Err(e) = &result {
        skip(&format!("python3 cannot be run: {e}"));
    }
    result.is_ok()
}

/// Lets this process, and the servers that it starts, have many file descriptors: 12,000, or what the
/// hard limit allows (`RLIMIT_NOFILE`, getrlimit(2)). Whether those are as many as are wanted. If not,
/// the test that asks is passed over.
///
/// # Panics
///
/// If the soft limit cannot be raised to the hard one.
#[must_use]
pub fn has_descriptors(wanted: u64) -> bool {
    let hard = getrlimit(Resource::Nofile).maximum;
    let many = hard.unwrap_or(u64::MAX).min(MANY_DESCRIPTORS);
    let limit = Rlimit {
        current: Some(many),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
    if many < wanted {
        skip(&format!(
            "{wanted} file descriptors are needed, and `ulimit -Hn` allows {many}"
        ));
    }
    many >= wanted
}
