//! Compares the computed state with what proc(5) shows.

use std::fs;

use procfs::net::TcpNetEntry;

use crate::record::calls::Flags;
use crate::record::state::{Connection, State};

/// Where the state differs from the kernel's, for a server with this number that listens at this
/// port. Otherwise the clients' receive buffers have been measured.
pub(super) fn compare(state: &mut State, pid: &str, port: u16) -> Result<(), String> {
    let rows = procfs::net::tcp().expect("the kernel shows its sockets");
    let end = |local, remote| {
        let ports = |row: &TcpNetEntry| (row.local_address.port(), row.remote_address.port());
        rows.iter().find(|row| ports(row) == (local, remote))
    };
    let pending = end(port, 0).map_or(0, |row| row.rx_queue as usize);
    if pending != state.pending.len() {
        return Err(format!("{pending} connections are pending"));
    }
    let interests = interests(pid);
    for (name, client) in state
        .clients
        .iter_mut()
        .filter(|(_, client)| client.is_open())
    {
        let (Some(here), Some(there)) = (end(port, client.port), end(client.port, port)) else {
            return Err(format!("{name} is not connected"));
        };
        // A byte that the receiver has and has not acknowledged is in both queues.
        check(
            name,
            "unread",
            client.unread() + usize::from(client.has_unread_end()),
            here,
            there,
        )?;
        check(name, "on the way", client.on_the_way(), there, here)?;
        check_interest(name, client, &interests)?;
        let at_client = there.rx_queue as usize;
        client.room_at_client = (at_client < client.on_the_way()).then_some(at_client);
    }
    Ok(())
}

fn check(
    name: &str,
    what: &str,
    computed: usize,
    receiver: &TcpNetEntry,
    sender: &TcpNetEntry,
) -> Result<(), String> {
    let (least, most) = (
        receiver.rx_queue as usize,
        (receiver.rx_queue + sender.tx_queue) as usize,
    );
    if (least..=most).contains(&computed) {
        return Ok(());
    }
    Err(format!(
        "{name}: {computed} bytes {what}, but the kernel has {least} to {most}"
    ))
}

fn check_interest(
    name: &str,
    client: &Connection,
    interests: &[(usize, u32)],
) -> Result<(), String> {
    let registered = interests
        .iter()
        .find(|(descriptor, _)| client.has_descriptor(*descriptor));
    let registered = registered.map(|(_, events)| {
        // From Linux's eventpoll.h: EPOLLIN, EPOLLOUT, EPOLLET.
        [events & 1 != 0, events & 4 != 0, events >> 31 != 0]
    });
    let computed = [Flags::READABLE, Flags::WRITABLE, Flags::EDGE];
    let computed = client
        .interest
        .map(|interest| computed.map(|flag| interest.has(flag)));
    if registered == computed {
        return Ok(());
    }
    Err(format!(
        "{name}: {computed:?} is registered, but the kernel has {registered:?}"
    ))
}

/// What is registered with epoll: descriptors and events (proc_pid_fdinfo(5)).
fn interests(pid: &str) -> Vec<(usize, u32)> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the server runs");
    let infos = folder.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let lines: Vec<_> = infos
        .flat_map(|info| info.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let interest = |line: &String| {
        let words: Vec<_> = line.strip_prefix("tfd:")?.split_whitespace().collect();
        let events = u32::from_str_radix(words.get(2)?, 16).ok()?;
        Some((words.first()?.parse().ok()?, events))
    };
    lines.iter().filter_map(interest).collect()
}
