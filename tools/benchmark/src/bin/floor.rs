//! The least that a single-threaded server must do: one read, then one write to each receiver. It
//! has no queue, no log and no search for newlines, and it ends if a socket does not take a whole
//! write. A server that makes a system call for each delivery cannot need less, so the others are
//! compared with it. A server that gathers the lines of several senders into one write can.

use std::collections::BTreeMap;
use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::retry_on_intr;

/// The listener in epoll. Clients count up from 1.
const LISTENER: u64 = 0;

/// Bytes that one read takes: more than any workload has in flight.
const BUFFER: usize = 64 * 1024;

/// Serves on the address that is its argument, until it is killed.
fn main() -> Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).context("no address")?)?;
    // Level-triggered: what is still ready is reported again, so one call per event is enough.
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let data = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, data, EventFlags::IN)?;

    let mut clients = BTreeMap::new();
    let mut last_id = LISTENER;
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; BUFFER];
    loop {
        retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), None))?;
        for event in events.drain(..) {
            if event.data.u64() != LISTENER {
                forward(&mut clients, event.data.u64(), &mut buffer)?;
                continue;
            }
            let (client, _) = listener.accept()?;
            client.set_nonblocking(true)?;
            // As the milestones do: a short line is sent at once.
            client.set_nodelay(true)?;
            last_id += 1;
            let data = EventData::new_u64(last_id);
            epoll::add(&epoll, &client, data, EventFlags::IN)?;
            clients.insert(last_id, client);
        }
    }
}

/// Reads from a client once, and sends what it has read to the others.
fn forward(clients: &mut BTreeMap<u64, TcpStream>, sender: u64, buffer: &mut [u8]) -> Result<()> {
    let n = (&clients[&sender]).read(buffer).context("cannot read")?;
    if n == 0 {
        // Dropping the stream closes it, which removes it from epoll.
        clients.remove(&sender);
        return Ok(());
    }
    for (id, client) in clients {
        if *id != sender {
            let written = client.write(&buffer[..n]).context("cannot write")?;
            ensure!(written == n, "a socket took only {written} of {n} bytes");
        }
    }
    Ok(())
}
