//! Waiting for facts, each time with a deadline.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use crate::env::DEADLINE_SCALE;

/// Far longer than any wait takes on a busy machine: only a failing test gets this far.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two checks of a fact that nothing announces.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// How long one wait takes if nothing comes.
///
/// # Panics
///
/// If `TESTKIT_DEADLINE_SCALE` is set to anything but a positive number.
pub(crate) fn patience() -> Duration {
    let Some(scale) = env::var_os(DEADLINE_SCALE) else {
        return PATIENCE;
    };
    let scaled = scale.to_str().and_then(scaled);
    scaled.unwrap_or_else(|| panic!("{DEADLINE_SCALE} must be a positive number, not {scale:?}"))
}

fn scaled(scale: &str) -> Option<Duration> {
    let seconds = PATIENCE.as_secs_f64() * scale.parse::<f64>().ok()?;
    let patience = Duration::try_from_secs_f64(seconds).ok()?;
    (!patience.is_zero()).then_some(patience)
}

/// Checks `condition` until it holds. Returns whether it held before the deadline.
///
/// # Panics
///
/// If `TESTKIT_DEADLINE_SCALE` is set to anything but a positive number.
pub fn wait_until(condition: impl FnMut() -> bool) -> bool {
    wait_at_most(patience(), condition)
}

/// [`wait_until`] with a deadline of its own.
pub(crate) fn wait_at_most(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        // Not a guess at how long it takes, only a pause between two checks.
        thread::sleep(PAUSE);
    }
    true
}

#[test]
fn a_scale_is_a_positive_number() {
    assert_eq!(scaled("0.5"), Some(PATIENCE / 2));
    for scale in ["three", "-1", "0", "NaN", ""] {
        assert_eq!(scaled(scale), None, "{scale}");
    }
}
