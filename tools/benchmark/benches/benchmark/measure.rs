//! The measurement of a workload.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::Load;
use crate::server::{Contestant, FLOOR, Server};
use crate::workload::Workload;

/// Long enough for a server to finish what it does after its last write, such as its log.
const SETTLE: Duration = Duration::from_millis(10);

/// The results of a workload.
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    pub(crate) servers: Vec<Figures>,
}

/// What a server needs for a workload.
pub(crate) struct Figures {
    /// The server.
    pub(crate) name: &'static str,
    /// CPU time of the whole server per delivery, in µs: the median of the blocks.
    pub(crate) cpu_us: f64,
    /// The spread of the blocks: half the distance between their quartiles, relative to the median.
    /// A difference between two servers that is smaller than this may be chance.
    pub(crate) cpu_spread: f64,
    /// `cpu_us` divided by the floor's.
    pub(crate) cpu_to_floor: Option<f64>,
    /// The median duration of a round, in µs, over all blocks.
    pub(crate) round_us: f64,
    /// The duration that 99 % of the rounds do not exceed, in µs, over all blocks.
    pub(crate) slow_round_us: f64,
    /// Deliveries per second during the rounds: the median of the blocks.
    pub(crate) deliveries_per_second: f64,
    /// Memory growth per client from before they connect until after the first warm-up, in KiB.
    pub(crate) client_kib: f64,
}

impl Measured {
    /// The figures of a server, if it has any.
    pub(crate) fn server(&self, name: &str) -> Option<&Figures> {
        self.servers.iter().find(|server| server.name == name)
    }
}

/// Starts all servers, and measures them in turns. Fails if a milestone does.
pub(crate) fn measure(workload: &Workload, contestants: &[Contestant]) -> Result<Measured> {
    eprintln!("Measuring {workload}");
    let mut measured = Measured {
        workload: *workload,
        servers: Vec::new(),
    };
    for (contestant, lane) in contestants.iter().zip(run_lanes(workload, contestants)) {
        match lane {
            Ok(lane) => measured.servers.push(lane.figures(contestant.name)),
            // A peer may fail, our own servers must not.
            Err(e) if contestant.name.starts_with("milestone") => {
                return Err(e).context(contestant.name);
            }
            Err(e) => println!("No figures for {}: {e:#}", contestant.name),
        }
    }
    let floor = measured.server(FLOOR).map(|floor| floor.cpu_us);
    for server in &mut measured.servers {
        server.cpu_to_floor = floor.map(|floor| server.cpu_us / floor);
    }
    Ok(measured)
}

fn run_lanes(workload: &Workload, contestants: &[Contestant]) -> Vec<Result<Lane>> {
    let mut lanes: Vec<Result<Lane>> = contestants
        .iter()
        .map(|contestant| Lane::open(contestant, workload))
        .collect();
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    for _ in 0..workload.blocks {
        for &index in &order {
            if let Ok(lane) = &mut lanes[index]
                && let Err(e) = lane.run_block(workload)
            {
                lanes[index] = Err(lane.server.explain(e));
            }
        }
        // No server always follows the same other one.
        order.reverse();
    }
    lanes
}

/// A server, its clients, and what was measured so far.
struct Lane {
    // Dropped first: the clients disconnect before the server is killed.
    load: Load,
    server: Server,
    /// The server's memory before the clients connected.
    idle_kib: f64,
    client_kib: f64,
    /// CPU time per delivery, for each block.
    cpu_us: Vec<f64>,
    /// Deliveries per second, for each block.
    per_second: Vec<f64>,
    /// The duration of each round, for all blocks.
    round_us: Vec<f64>,
}

impl Lane {
    fn open(contestant: &Contestant, workload: &Workload) -> Result<Lane> {
        contestant.check(workload)?;
        let mut server = contestant.start()?;
        let idle_kib = server.memory_kib()?;
        let load = Load::connect(server.address, contestant.protocol, workload);
        Ok(Lane {
            load: load.map_err(|e| server.explain(e))?,
            server,
            idle_kib,
            client_kib: 0.0,
            cpu_us: Vec::new(),
            per_second: Vec::new(),
            round_us: Vec::new(),
        })
    }

    fn run_block(&mut self, workload: &Workload) -> Result<()> {
        // The caches hold another server's data.
        for _ in 0..=workload.rounds_per_block / 10 {
            self.load.round()?;
        }
        self.load.fall_behind()?;
        thread::sleep(SETTLE);
        if self.cpu_us.is_empty() {
            let growth = self.server.memory_kib()? - self.idle_kib;
            self.client_kib = growth / workload.clients() as f64;
        }

        let before = self.server.cpu_time()?;
        let mut time = Duration::ZERO;
        for _ in 0..workload.rounds_per_block {
            let round = self.load.round()?;
            self.round_us.push(micros(round));
            time += round;
        }
        thread::sleep(SETTLE);
        let cpu = self.server.cpu_time()? - before;
        self.load.finish()?;
        let deliveries = (self.load.deliveries * workload.rounds_per_block) as f64;
        self.cpu_us.push(micros(cpu) / deliveries);
        self.per_second.push(deliveries / time.as_secs_f64());
        Ok(())
    }

    fn figures(&self, name: &'static str) -> Figures {
        let cpu = |part| quantile(&self.cpu_us, part);
        let round = |part| quantile(&self.round_us, part);
        Figures {
            name,
            cpu_us: cpu(0.5),
            cpu_spread: (cpu(0.75) - cpu(0.25)) / 2.0 / cpu(0.5),
            cpu_to_floor: None,
            round_us: round(0.5),
            slow_round_us: round(0.99),
            deliveries_per_second: quantile(&self.per_second, 0.5),
            client_kib: self.client_kib,
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value that a part of all values does not exceed. There must be at least one value.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(values.len() as f64 * part).ceil() as usize - 1]
}
