//! The environment variables that control how tests run.

use std::env;
use std::path::PathBuf;

/// The command line of a server to test instead of the milestone's own binary.
pub const SERVER_CMD: &str = "SERVER_CMD";

/// The address on which that server listens in any case. It gets no argument then, and need not
/// print when it is ready.
pub const SERVER_ADDR: &str = "SERVER_ADDR";

/// The factor by which every deadline is longer or shorter: `3` or `0.5`, for example.
pub const DEADLINE_SCALE: &str = "TESTKIT_DEADLINE_SCALE";

/// The file to which a test appends what it has to report, as lines of JSON. `cargo learn` sets it.
pub const REPORT: &str = "TESTKIT_REPORT";

/// If set, a test fails that would otherwise be skipped, and tests that take long run in full.
pub const STRICT: &str = "TESTKIT_STRICT";

/// Whether `TESTKIT_STRICT` is set, as in CI.
#[must_use]
pub fn is_strict() -> bool {
    env::var_os(STRICT).is_some()
}

/// Where the learner typed the command: cargo runs tests in the package's folder, but leaves the
/// shell's `PWD` as it was.
pub(crate) fn users_folder() -> PathBuf {
    let typed_in = env::var_os("PWD").map(PathBuf::from);
    typed_in
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .unwrap_or_else(|| env::current_dir().expect("the test has a current folder"))
}

/// Whether the tests run against the learner's own command.
pub(crate) fn is_foreign() -> bool {
    env::var_os(SERVER_CMD).is_some()
}
