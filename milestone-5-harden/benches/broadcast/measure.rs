//! The measurement of one workload.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};

use crate::load::Load;
use crate::server::{Contestant, Server};
use crate::workload::{Plan, Workload};

/// Long enough for a server to finish what it does after its last write, such as its log.
const SETTLE: Duration = Duration::from_millis(10);

/// What a workload has shown.
pub(crate) struct Measured {
    /// The workload.
    pub(crate) workload: Workload,
    /// For how long each server was measured.
    pub(crate) plan: Plan,
    /// The servers, in the order of the report.
    pub(crate) entries: Vec<Entry>,
}

/// One server in one workload.
pub(crate) struct Entry {
    /// The server's name.
    pub(crate) server: &'static str,
    /// Its figures, or why it has none.
    pub(crate) figures: Result<Figures>,
}

/// What a server took for a workload.
pub(crate) struct Figures {
    /// CPU time of the whole server per delivery, in µs: the median of the blocks.
    pub(crate) cpu_us: f64,
    /// How far the blocks lie apart: half of the distance between their quartiles, as a part of the
    /// median. A difference between two servers that is smaller than this may be chance.
    pub(crate) cpu_spread: f64,
    /// The median time of a round in µs, over all blocks.
    pub(crate) round_us: f64,
    /// The time that 99 of 100 rounds do not exceed, in µs, over all blocks.
    pub(crate) slow_round_us: f64,
    /// Deliveries per second, while a round is under way: the median of the blocks.
    pub(crate) per_second: f64,
    /// Growth of the server's memory per client, from before they connected until after the
    /// warm-up, in KiB.
    pub(crate) client_kib: f64,
    /// How many messages arrive in a round.
    pub(crate) deliveries: usize,
}

impl Measured {
    /// The figures of a server, if it has any.
    pub(crate) fn figures(&self, server: &str) -> Option<&Figures> {
        let entry = self.entries.iter().find(|entry| entry.server == server)?;
        entry.figures.as_ref().ok()
    }
}

/// Starts all servers, measures them in turns and ends them. Fails only if one of our own does.
pub(crate) fn measure(
    workload: &Workload,
    plan: Plan,
    contestants: &[Contestant],
) -> Result<Measured> {
    eprintln!("Measuring {workload}");
    let mut lanes = Vec::new();
    for contestant in contestants {
        lanes.push(Lane::open(contestant, workload, plan)?);
    }
    // Every other block runs backwards, so that nobody always follows the same server.
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..plan.blocks {
        for &lane in &order {
            lanes[lane].run_block(plan)?;
        }
        order.reverse();
    }
    Ok(Measured {
        workload: *workload,
        plan,
        entries: lanes.into_iter().map(Lane::close).collect(),
    })
}

/// One server, from its start to its figures.
struct Lane<'a> {
    contestant: &'a Contestant,
    state: Result<Runner>,
}

impl<'a> Lane<'a> {
    fn open(contestant: &'a Contestant, workload: &Workload, plan: Plan) -> Result<Lane<'a>> {
        let mut lane = Lane {
            contestant,
            state: Runner::start(contestant, workload, plan),
        };
        lane.check()?;
        Ok(lane)
    }

    fn run_block(&mut self, plan: Plan) -> Result<()> {
        if let Ok(runner) = &mut self.state
            && let Err(e) = runner.run_block(plan)
        {
            // This ends the server too.
            self.state = Err(e);
        }
        self.check()
    }

    /// A peer that fails has no figures. One of our own must not fail.
    fn check(&mut self) -> Result<()> {
        if !self.contestant.is_own() || self.state.is_ok() {
            return Ok(());
        }
        let name = self.contestant.name;
        let state = std::mem::replace(&mut self.state, Err(Error::msg("it has failed")));
        state.map(drop).with_context(|| format!("{name} failed"))
    }

    fn close(self) -> Entry {
        Entry {
            server: self.contestant.name,
            figures: self.state.map(|runner| runner.figures()),
        }
    }
}

/// A server that runs, its clients, and what was seen so far.
struct Runner {
    // Dropped first: clients leave before the server is killed.
    load: Load,
    server: Server,
    client_kib: f64,
    blocks: Vec<Block>,
}

/// What was seen in one turn of a server.
struct Block {
    cpu: Duration,
    rounds: Vec<Duration>,
    deliveries: usize,
}

impl Runner {
    fn start(contestant: &Contestant, workload: &Workload, plan: Plan) -> Result<Runner> {
        if let Some(most) = contestant.most_clients {
            ensure!(
                workload.clients() <= most,
                "it cannot serve more than {most} clients"
            );
        }
        let mut server = contestant.start()?;
        let before = server.memory_kib()?;
        let load = Load::connect(server.address, contestant.protocol, workload);
        let mut load = explain(load, &mut server)?;
        let warmed = warm_up(&mut load, plan);
        explain(warmed, &mut server)?;
        thread::sleep(SETTLE);
        let growth = server.memory_kib()? as f64 - before as f64;
        Ok(Runner {
            load,
            server,
            client_kib: growth / workload.clients() as f64,
            blocks: Vec::new(),
        })
    }

    fn run_block(&mut self, plan: Plan) -> Result<()> {
        let block = self.measure_block(plan);
        let block = explain(block, &mut self.server)?;
        self.blocks.push(block);
        Ok(())
    }

    fn measure_block(&mut self, plan: Plan) -> Result<Block> {
        // The caches are full of another server's work.
        warm_up(&mut self.load, plan)?;
        thread::sleep(SETTLE);

        let before = self.server.cpu_time()?;
        let mut rounds = Vec::with_capacity(plan.rounds);
        let mut deliveries = 0;
        for _ in 0..plan.rounds {
            let round = self.load.round()?;
            rounds.push(round.time);
            deliveries += round.deliveries;
        }
        thread::sleep(SETTLE);
        let cpu = self.server.cpu_time()?.saturating_sub(before);
        self.load.expect_silence()?;
        Ok(Block {
            cpu,
            rounds,
            deliveries,
        })
    }

    fn figures(&self) -> Figures {
        let per_delivery = |block: &Block| micros(block.cpu) / block.deliveries as f64;
        let per_second = |block: &Block| {
            let time: Duration = block.rounds.iter().sum();
            block.deliveries as f64 / time.as_secs_f64()
        };
        let rounds = || self.blocks.iter().flat_map(|block| &block.rounds);
        let deliveries: usize = self.blocks.iter().map(|block| block.deliveries).sum();
        let cpu = |part| quantile(self.blocks.iter().map(per_delivery), part);
        Figures {
            cpu_us: cpu(0.5),
            cpu_spread: (cpu(0.75) - cpu(0.25)) / 2.0 / cpu(0.5),
            round_us: median(rounds().copied().map(micros)),
            slow_round_us: quantile(rounds().copied().map(micros), 0.99),
            per_second: median(self.blocks.iter().map(per_second)),
            client_kib: self.client_kib,
            deliveries: deliveries / rounds().count().max(1),
        }
    }
}

fn warm_up(load: &mut Load, plan: Plan) -> Result<()> {
    for _ in 0..=plan.rounds / 10 {
        load.round()?;
    }
    Ok(())
}

/// Adds to an error that the server has ended, if it has: the clients see only the consequences.
fn explain<T>(result: Result<T>, server: &mut Server) -> Result<T> {
    let Err(error) = result else {
        return result;
    };
    match server.ended() {
        Ok(Some(status)) => Err(error.context(format!("the server has ended ({status})"))),
        _ => Err(error),
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a part of all values does not exceed.
fn quantile(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * part).ceil() as usize;
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}
