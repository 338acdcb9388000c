//! How long tests may take, and how many run at once: as the machine and the server's start allow.

use std::thread;
use std::time::Duration;

use course::test_runner::{AT_ONCE, Outcome, Suite};
use procfs::{Current, LoadAverage};

/// How long a test waits for a fact on a quiet machine. With a server that hangs, all wait that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same for chapter 5, whose server gives a reader 10 seconds.
const HARDEN_PATIENCE: Duration = Duration::from_secs(12);

/// How long the testkit waits without a scale.
const USUAL: Duration = Duration::from_secs(20);

/// On a busy machine tests wait so many times as long at most.
const MOST_LOAD: f64 = 4.0;

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
    waits: f64,
    at_once: usize,
}

impl Pace {
    /// What the load of the machine allows.
    pub(crate) fn of_machine(chapter: usize) -> Pace {
        let patience = match chapter {
            5 => HARDEN_PATIENCE,
            _ => PATIENCE,
        };
        let load = load();
        Pace {
            patience: patience.mul_f64(load.min(MOST_LOAD)),
            waits: WAITS * load,
            at_once: AT_ONCE,
        }
    }

    /// For a server that has started alone in this test.
    pub(crate) fn with_start(self, outcome: &Outcome) -> Pace {
        let start = outcome.reported("started").and_then(|ms| ms.parse().ok());
        let Some(start) = start.map(Duration::from_millis) else {
            return self;
        };
        let servers = ALL_UP.as_secs_f64() / start.as_secs_f64().max(0.001);
        let at_once = (servers * cores()) as usize;
        Pace {
            patience: self.patience + start * STARTS,
            at_once: at_once.clamp(1, AT_ONCE),
            ..self
        }
    }

    /// For tests that were not done, and are run again nearly alone.
    pub(crate) fn again(self) -> Pace {
        Pace {
            patience: self.patience * 2,
            at_once: 2,
            ..self
        }
    }

    pub(crate) fn of(self, suite: &Suite) -> Suite {
        let mut suite = suite.clone().deadline_scale(self.scale());
        suite.time_limit = Some(self.patience.mul_f64(self.waits));
        suite.at_once = self.at_once;
        suite
    }

    /// Of the testkit's deadlines.
    pub(crate) fn scale(self) -> f64 {
        self.patience.as_secs_f64() / USUAL.as_secs_f64()
    }
}

/// Whether the machine was too slow to tell: most of the failed tests did not end, or saw no server.
pub(crate) fn is_too_slow(outcomes: &[Outcome]) -> bool {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed);
    let has_cause = |o: &Outcome| !o.get("cause").is_empty() || !o.get("final").is_empty();
    let is_late = |outcome: &&Outcome| outcome.was_killed || !has_cause(outcome);
    let late = failed.clone().filter(is_late).count();
    late > 2 && late * 2 > failed.count()
}

/// How many runnable threads there are for each core: what has to share it with one more.
fn load() -> f64 {
    let looks = (0..LOOKS).map(|_| {
        thread::sleep(Duration::from_millis(5));
        LoadAverage::current().map_or(1, |load| load.cur)
    });
    let mut looks: Vec<_> = looks.collect();
    looks.sort_unstable();
    (f64::from(looks[LOOKS / 2]) / cores()).max(1.0)
}

fn cores() -> f64 {
    thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}
