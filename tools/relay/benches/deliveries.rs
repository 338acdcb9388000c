//! What it costs to deliver a line: with one server, and with three that relays join.
//!
//! ```text
//! cargo bench -p relay              # 300 clients, about a minute
//! cargo bench -p relay -- 3000 1    # 3,000 clients, and a second for each block
//! ```
//!
//! The servers, the relays and NATS share one core. The clients are this process, on another core, in a
//! closed loop: a round begins when somebody speaks, and ends when everybody else has received it all. A
//! *delivery* is a line received by a client. CPU time is what the scheduler has counted, so what else
//! the machine does changes the deliveries per second, and the CPU time much less.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failure ends the measurement"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::{Duration, Instant};
use std::{env, mem};

use course::test_runner::program;
use procfs::process::Process;
use rustix::thread::{CpuSet, sched_setaffinity};
use shared_testkit::{Builder, Server, has_descriptors};

use crate::common::{Nats, relay};

/// The core of the programs that are measured, and that of the clients.
const MEASURED: usize = 0;
const CLIENTS: usize = 1;

/// A line with its newline: 64 bytes.
const LINE: &[u8; 64] = b"what a line of sixty-four bytes looks like with its newline ...\n";

/// How often each figure is measured. The rooms take turns.
const BLOCKS: usize = 5;

fn main() {
    let mut numbers = env::args().filter_map(|argument| argument.parse().ok());
    let clients = numbers.next().unwrap_or(300);
    let seconds = numbers.next().unwrap_or(2);
    run_on(MEASURED);
    let Some(nats) = Nats::start(&[]) else { return };
    if !has_descriptors(3 * clients as u64) {
        return;
    }
    let mut rooms = [Room::open(None, clients), Room::open(Some(nats), clients)];
    println!("{clients} clients. CPU time in µs for each delivery, and deliveries in a second:\n");
    println!("| at once | servers | servers | relays | NATS | together | of CPU | of the clock |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for speakers in [1, 10, 100].map(|speakers| clients.min(speakers)) {
        for _ in 0..BLOCKS {
            for room in &mut rooms {
                room.measure(speakers, Duration::from_secs(seconds as u64));
            }
        }
        for room in &mut rooms {
            room.report(speakers);
        }
    }
}

/// A server, or three that are joined, and the clients of all of them.
struct Room {
    clients: Vec<TcpStream>,
    /// The servers, the relays and NATS.
    groups: [Vec<Server>; 3],
    next_speaker: usize,
    /// Deliveries since the last report, and how long they took.
    deliveries: usize,
    took: Duration,
    /// The CPU time of each group for them.
    spent: [Duration; 3],
}

impl Room {
    fn open(nats: Option<Nats>, clients: usize) -> Room {
        run_on(MEASURED);
        let server = program("milestone-5-harden");
        // To read what it prints would take time.
        let silent = ["-c", "exec \"$0\" \"$@\" >/dev/null"];
        let start = |_| {
            let shell = silent.iter().fold(Server::builder("sh"), Builder::argument);
            shell.argument(&server).start()
        };
        let count = if nats.is_some() { 3 } else { 1 };
        let servers: Vec<_> = (0..count).map(start).collect();
        let addresses: Vec<_> = servers.iter().map(Server::address).collect();
        let connect = |address| TcpStream::connect(address).unwrap();
        let early = addresses.iter().cycle().take(clients - count);
        let clients = early.map(connect).collect();
        let join = |nats: &Nats| {
            let relays = addresses.iter().map(|&a| relay(a, &nats.url()));
            relays.collect()
        };
        let relays = nats.as_ref().map(join).unwrap_or_default();
        let nats = nats.into_iter().map(|nats| nats.process).collect();
        let mut room = Room {
            clients,
            groups: [servers, relays, nats],
            next_speaker: 0,
            deliveries: 0,
            took: Duration::ZERO,
            spent: [Duration::ZERO; 3],
        };
        run_on(CLIENTS);
        // A server accepts in order: when it reads the last client's line, it knows all of them.
        for address in &addresses {
            room.clients.push(connect(address));
            room.round(room.clients.len() - 1..room.clients.len());
        }
        room
    }

    /// These clients say a line each, and everybody else receives it.
    fn round(&mut self, speakers: Range<usize>) {
        for speaker in &mut self.clients[speakers.clone()] {
            speaker.write_all(LINE).unwrap();
        }
        let mut buffer = vec![0; LINE.len() * speakers.len()];
        for (number, client) in self.clients.iter_mut().enumerate() {
            let own = LINE.len() * usize::from(speakers.contains(&number));
            client.read_exact(&mut buffer[own..]).unwrap();
        }
    }

    fn measure(&mut self, speakers: usize, time: Duration) {
        let before = self.cpu_times();
        let start = Instant::now();
        loop {
            let first = self.next_speaker % (self.clients.len() + 1 - speakers);
            self.next_speaker += 1;
            self.round(first..first + speakers);
            self.deliveries += speakers * (self.clients.len() - 1);
            if start.elapsed() >= time {
                break;
            }
        }
        self.took += start.elapsed();
        for (index, now) in self.cpu_times().into_iter().enumerate() {
            self.spent[index] += now - before[index];
        }
    }

    fn cpu_times(&self) -> [Duration; 3] {
        let groups = self.groups.each_ref();
        groups.map(|group| group.iter().map(cpu_time).sum())
    }

    /// Prints the figures since the last report.
    fn report(&mut self, speakers: usize) {
        let (deliveries, took) = (mem::take(&mut self.deliveries), mem::take(&mut self.took));
        let per_second = deliveries as f64 / took.as_secs_f64();
        let per_delivery = |spent: Duration| spent.as_secs_f64() * 1e6 / deliveries as f64;
        let [server, relays, nats] = mem::take(&mut self.spent).map(per_delivery);
        let (together, servers) = (server + relays + nats, self.groups[0].len());
        print!("| {speakers} | {servers} | {server:.3} | {relays:.3} | {nats:.3} | {together:.3} ");
        println!("| {:.0} | {per_second:.0} |", 1e6 / together);
    }
}

/// The CPU time that all threads of a process have used.
fn cpu_time(server: &Server) -> Duration {
    let process = Process::new(server.pid().as_raw_pid()).unwrap();
    let tasks = process.tasks().unwrap().map_while(Result::ok);
    let nanoseconds = tasks.map(|task| task.schedstat().unwrap().sum_exec_runtime);
    Duration::from_nanos(nanoseconds.sum())
}

/// Runs this process, and those that it starts from now on, on one core.
fn run_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("two cores are needed");
}
