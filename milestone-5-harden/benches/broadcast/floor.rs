//! The least that a single-threaded server must do: one read, then one write to each receiver. It
//! has no queue, no log and no search for newlines, and it ends if a socket does not take a whole
//! write. A server that makes a system call for each delivery cannot need less, so the others are
//! compared with it. A server that gathers the lines of several senders into one write can.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::retry_on_intr;

/// The first argument that selects this role.
pub(crate) const ROLE: &str = "--floor";

/// The listener in epoll. A client is known by its index.
const LISTENER: u64 = u64::MAX;

/// Bytes that one read takes: more than any workload has in flight.
const BUFFER: usize = 64 * 1024;

/// Serves until it is killed.
pub(crate) fn run(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    // Level-triggered: what is still ready is reported again, so one call per event is enough.
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let listener_data = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, listener_data, EventFlags::IN)?;

    // A client that disconnects leaves its place to the next one.
    let mut clients: Vec<Option<TcpStream>> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; BUFFER];
    loop {
        retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), None))?;
        for event in events.drain(..) {
            if event.data.u64() != LISTENER {
                forward(&mut clients, event.data.u64() as usize, &mut buffer)?;
                continue;
            }
            let (client, _) = listener.accept()?;
            client.set_nonblocking(true)?;
            // As the milestones do: a short line is sent at once.
            client.set_nodelay(true)?;
            let free = clients.iter().position(Option::is_none);
            let index = free.unwrap_or(clients.len());
            epoll::add(
                &epoll,
                &client,
                EventData::new_u64(index as u64),
                EventFlags::IN,
            )?;
            clients.resize_with(clients.len().max(index + 1), || None);
            clients[index] = Some(client);
        }
    }
}

/// Reads from a client once, and sends what it has read to the others.
fn forward(clients: &mut [Option<TcpStream>], sender: usize, buffer: &mut [u8]) -> Result<()> {
    let Some(stream) = &mut clients[sender] else {
        return Ok(());
    };
    let n = stream.read(buffer).context("cannot read")?;
    if n == 0 {
        // Dropping the stream closes it, which removes it from epoll.
        clients[sender] = None;
        return Ok(());
    }
    for (index, client) in clients.iter_mut().enumerate() {
        if index != sender
            && let Some(receiver) = client
        {
            let written = receiver.write(&buffer[..n]).context("cannot write")?;
            ensure!(written == n, "a socket took only {written} of {n} bytes");
        }
    }
    Ok(())
}
