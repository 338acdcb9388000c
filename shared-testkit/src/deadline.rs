//! How long a wait may last.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than any wait takes on a busy machine: only a failing test gets here.
const PATIENCE: Duration = Duration::from_secs(20);

/// The environment variable that scales [`PATIENCE`]: a factor such as `3` or `0.5`.
pub(crate) const SCALE: &str = "TESTKIT_DEADLINE_SCALE";

/// How often a fact is looked up that nobody announces.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long one wait may last.
///
/// # Panics
///
/// If `TESTKIT_DEADLINE_SCALE` is set to anything but a positive number.
pub(crate) fn patience() -> Duration {
    let Some(scale) = env::var_os(SCALE) else {
        return PATIENCE;
    };
    scale
        .to_str()
        .and_then(|scale| scale.parse().ok())
        .and_then(|scale: f64| Duration::try_from_secs_f64(PATIENCE.as_secs_f64() * scale).ok())
        .filter(|patience| !patience.is_zero())
        .unwrap_or_else(|| panic!("{SCALE} must be a positive number, not {scale:?}"))
}

/// Looks until `condition` holds, for facts that come without a notice. Returns whether it held
/// before the deadline.
pub(crate) fn wait_until(condition: impl FnMut() -> bool) -> bool {
    wait_at_most(patience(), condition)
}

/// The same with a deadline of its own.
pub(crate) fn wait_at_most(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        // Not a guess at how long it takes, only a pause between two looks.
        thread::sleep(LOOK_AGAIN);
    }
    true
}
