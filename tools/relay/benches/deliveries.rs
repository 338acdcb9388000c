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

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use course::test_runner::program;
use rustix::thread::{CpuSet, sched_setaffinity};
use shared_testkit::has_descriptors;

use crate::common::{Nats, Process};

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
        let mut figures = rooms.each_ref().map(|_| Figures::default());
        for _ in 0..BLOCKS {
            for (room, figures) in rooms.iter_mut().zip(&mut figures) {
                room.measure(speakers, Duration::from_secs(seconds as u64), figures);
            }
        }
        for (room, figures) in rooms.iter().zip(&figures) {
            figures.print(speakers, room.servers.len());
        }
    }
}

/// A server, or three that are joined, and the clients of all of them.
struct Room {
    clients: Vec<TcpStream>,
    relays: Vec<Process>,
    servers: Vec<Process>,
    nats: Option<Nats>,
    next_speaker: usize,
}

#[derive(Default)]
struct Figures {
    deliveries: usize,
    took: Duration,
    /// The CPU time of the servers, the relays and NATS.
    spent: [Duration; 3],
}

impl Room {
    fn open(nats: Option<Nats>, clients: usize) -> Room {
        run_on(MEASURED);
        let server = program("milestone-5-harden");
        let start = |_| Process::start(&server, &["127.0.0.1:0"]);
        let servers = if nats.is_some() { 3 } else { 1 };
        let mut room = Room {
            clients: Vec::new(),
            relays: Vec::new(),
            servers: (0..servers).map(start).collect(),
            nats,
            next_speaker: 0,
        };
        let address = |server: &Process| {
            let line = server.expect("Listening on ");
            line.trim_start_matches("Listening on ").parse().unwrap()
        };
        let addresses: Vec<SocketAddr> = room.servers.iter().map(address).collect();
        for address in addresses.iter().cycle().take(clients - servers) {
            room.clients.push(TcpStream::connect(address).unwrap());
        }
        if let Some(nats) = &room.nats {
            let url = nats.url();
            let relays = addresses.iter().map(|&a| Process::relay(a, &url));
            room.relays = relays.collect();
        }
        run_on(CLIENTS);
        // A server accepts in order: when it reads the last client's line, it knows all of them.
        for address in &addresses {
            room.clients.push(TcpStream::connect(address).unwrap());
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

    fn measure(&mut self, speakers: usize, time: Duration, figures: &mut Figures) {
        let before = self.spent();
        let start = Instant::now();
        loop {
            let first = self.next_speaker % (self.clients.len() + 1 - speakers);
            self.next_speaker += 1;
            self.round(first..first + speakers);
            figures.deliveries += speakers * (self.clients.len() - 1);
            if start.elapsed() >= time {
                break;
            }
        }
        figures.took += start.elapsed();
        for (index, spent) in self.spent().into_iter().enumerate() {
            figures.spent[index] += spent - before[index];
        }
    }

    fn spent(&self) -> [Duration; 3] {
        let nats = self.nats.as_ref().map(|nats| &nats.process);
        [
            self.servers.iter().map(Process::cpu_time).sum(),
            self.relays.iter().map(Process::cpu_time).sum(),
            nats.map(Process::cpu_time).unwrap_or_default(),
        ]
    }
}

impl Figures {
    fn print(&self, speakers: usize, servers: usize) {
        let per_second = self.deliveries as f64 / self.took.as_secs_f64();
        let per_delivery = |spent: Duration| spent.as_secs_f64() * 1e6 / self.deliveries as f64;
        let [server, relays, nats] = self.spent.map(per_delivery);
        let together = server + relays + nats;
        print!("| {speakers} | {servers} | {server:.3} | {relays:.3} | {nats:.3} | {together:.3} ");
        println!("| {:.0} | {per_second:.0} |", 1e6 / together);
    }
}

/// Runs this process, and those that it starts from now on, on one core.
fn run_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("two cores are needed");
}
