//! Compares the computed state with what proc(5) shows.

use std::fs;

use crate::record::calls::Flags;
use crate::record::state::{Connection, State};

/// One end of a connection, or a listener: a line of `/proc/net/tcp` (proc_net_tcp(5)).
struct Row {
    local: u16,
    remote: u16,
    /// Bytes that were written and not acknowledged.
    tx_queue: usize,
    /// Bytes that were not read; of a listener, pending connections.
    rx_queue: usize,
}

impl Row {
    /// From a line such as `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 …`.
    fn parse(line: &str) -> Option<Row> {
        let mut words = line.split_whitespace().skip(1);
        let mut pair = |skipped| {
            let (left, right) = words.nth(skipped)?.split_once(':')?;
            let number = |digits| usize::from_str_radix(digits, 16).ok();
            Some((number(left)?, number(right)?))
        };
        let (local, remote, queues) = (pair(0)?, pair(0)?, pair(1)?);
        Some(Row {
            local: local.1 as u16,
            remote: remote.1 as u16,
            tx_queue: queues.0,
            rx_queue: queues.1,
        })
    }
}

/// Where the state differs from the kernel's, for a server with this number that listens at this
/// port. Otherwise the clients' receive buffers have been measured.
pub(super) fn compare(state: &mut State, pid: &str, port: u16) -> Result<(), String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel shows its sockets");
    // A busy machine has ten thousands of others.
    let mark = format!(":{port:04X} ");
    let ours = table.lines().filter(|line| line.contains(&mark));
    let rows: Vec<_> = ours.filter_map(Row::parse).collect();
    let end = |local, remote| {
        rows.iter()
            .find(|row| (row.local, row.remote) == (local, remote))
    };
    let pending = end(port, 0).map_or(0, |row| row.rx_queue);
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
        let at_client = there.rx_queue;
        client.room_at_client = (at_client < client.on_the_way()).then_some(at_client);
    }
    Ok(())
}

fn check(
    name: &str,
    what: &str,
    computed: usize,
    receiver: &Row,
    sender: &Row,
) -> Result<(), String> {
    let (least, most) = (receiver.rx_queue, receiver.rx_queue + sender.tx_queue);
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
