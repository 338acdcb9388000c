//! Compares the computed state with what proc(5) shows.

use std::fs;

use crate::record::state::{Connection, State};

/// A line of `/proc/net/tcp` (proc_net_tcp(5)).
struct Row {
    local: u16,
    remote: u16,
    /// Bytes that were written and not acknowledged.
    unsent: usize,
    /// Bytes that were not read; for a listener, pending connections.
    unread: usize,
}

impl Row {
    fn parse(line: &str) -> Option<Row> {
        let words: Vec<_> = line.split_whitespace().collect();
        let port = |word: &str| u16::from_str_radix(word.rsplit_once(':')?.1, 16).ok();
        let (unsent, unread) = words.get(4)?.split_once(':')?;
        Some(Row {
            local: port(words[1])?,
            remote: port(words[2])?,
            unsent: usize::from_str_radix(unsent, 16).ok()?,
            unread: usize::from_str_radix(unread, 16).ok()?,
        })
    }
}

/// Where the state differs from the kernel's, for a server with this number that listens at this
/// port. Otherwise the clients' receive buffers have been measured.
pub(super) fn compare(state: &mut State, pid: &str, port: u16) -> Result<(), String> {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel shows its sockets");
    let rows: Vec<_> = table.lines().filter_map(Row::parse).collect();
    let end = |local, remote| {
        rows.iter()
            .find(move |row| row.local == local && row.remote == remote)
    };

    let pending = end(port, 0).map_or(0, |row| row.unread);
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
        client.room_at_client = (there.unread < client.on_the_way()).then_some(there.unread);
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
    let (least, most) = (receiver.unread, receiver.unread + sender.unsent);
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
        (events & 1 != 0, events & 4 != 0, events >> 31 != 0)
    });
    let computed = client.interest.map(|i| (i.readable, i.writable, i.edge));
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
