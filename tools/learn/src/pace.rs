//! How long tests may take, and how many run at once: as the machine and the server's start allow.

use std::fs;
use std::thread;
use std::time::Duration;

use course::test_runner::{AT_ONCE, Outcome, Suite};

/// How long a test waits for a fact on a quiet machine. With a server that hangs, all wait that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for chapter 5, whose server gives a reader 10 seconds.
const HARDEN_PATIENCE: Duration = Duration::from_secs(12);

/// How long the testkit waits without a scale.
const USUAL: Duration = Duration::from_secs(20);

/// A test that waits for one fact after the other is killed after so many waits, times the load.
const WAITS: f64 = 4.0;

/// A server's start and the work that follows it take up to so many times what a lone start takes.
const STARTS: u32 = 8;

/// All servers that start at once should be up after this time.
const ALL_UP: Duration = Duration::from_secs(2);

/// How often the load is looked at.
const LOOKS: usize = 9;

/// How patient a run is.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    patience: Duration,
    /// After so many waits a test is killed.
    limit: f64,
    at_once: usize,
}

impl Pace {
    /// What the load of the machine allows.
    pub(crate) fn of_machine(chapter: usize) -> Pace {
        let quiet = if chapter == 5 {
            HARDEN_PATIENCE
        } else {
            PATIENCE
        };
        Pace {
            patience: quiet,
            limit: WAITS * load(),
            at_once: AT_ONCE,
        }
    }

    /// For a server that has taken this long to start, alone.
    pub(crate) fn with_start(self, start: Duration) -> Pace {
        let servers = ALL_UP.as_secs_f64() / start.as_secs_f64().max(0.001);
        Pace {
            patience: self.patience + start * STARTS,
            limit: self.limit,
            at_once: (servers * cores()) as usize,
        }
    }

    /// For tests that were not done, and are run again nearly alone.
    pub(crate) fn again(self) -> Pace {
        Pace {
            patience: self.patience * 2,
            limit: self.limit,
            at_once: 2,
        }
    }

    pub(crate) fn of(self, suite: &Suite) -> Suite {
        let suite = self.without_limit(suite);
        let suite = suite.time_limit(self.patience.mul_f64(self.limit));
        suite.at_once(self.at_once.clamp(1, AT_ONCE))
    }

    /// For tests that may have to wait for each other.
    pub(crate) fn without_limit(self, suite: &Suite) -> Suite {
        let scale = self.patience.as_secs_f64() / USUAL.as_secs_f64();
        suite.clone().deadline_scale(scale)
    }
}

/// Whether the machine was too slow to tell: most of the failed tests did not end, or saw no server.
pub(crate) fn is_too_slow(outcomes: &[Outcome]) -> bool {
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    let is_late = |outcome: &&&Outcome| {
        let failure = outcome.failure();
        let has_cause = failure.is_some_and(|f| f.contains_key("cause") || f.contains_key("final"));
        outcome.was_killed || !has_cause
    };
    let late = failed.iter().filter(is_late).count();
    late > 2 && late * 2 > failed.len()
}

/// How many runnable threads there are for each core: what has to share it with one more.
fn load() -> f64 {
    let looks = (0..LOOKS).map(|_| {
        thread::sleep(Duration::from_millis(5));
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let running = text
            .split(' ')
            .nth(3)
            .and_then(|field| field.split('/').next());
        running
            .and_then(|running| running.parse::<u32>().ok())
            .unwrap_or(1)
    });
    let mut looks: Vec<_> = looks.collect();
    looks.sort_unstable();
    (f64::from(looks[LOOKS / 2]) / cores()).max(1.0)
}

fn cores() -> f64 {
    thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}
