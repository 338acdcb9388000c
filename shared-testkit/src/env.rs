//! The environment variables that control how tests run.

use std::env;

/// The command line of a server to test instead of the milestone's own binary.
pub const SERVER_CMD: &str = "SERVER_CMD";

/// The address on which that server listens in any case. It gets no argument then, and need not
/// print when it is ready.
pub const SERVER_ADDR: &str = "SERVER_ADDR";

/// The factor by which every deadline is longer or shorter: `3` or `0.5`, for example.
pub const DEADLINE_SCALE: &str = "TESTKIT_DEADLINE_SCALE";

/// If set, a test fails that would otherwise be skipped, and tests that take long run in full.
pub const STRICT: &str = "TESTKIT_STRICT";

/// Whether `TESTKIT_STRICT` is set, as in CI.
#[must_use]
pub fn is_strict() -> bool {
    env::var_os(STRICT).is_some()
}

/// Whether the tests run against the learner's own command.
pub(crate) fn is_foreign() -> bool {
    env::var_os(SERVER_CMD).is_some()
}
