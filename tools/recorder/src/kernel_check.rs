//! Compares the computed state with what proc(5) shows.

use std::fs;

use course::call::Flags;
use course::regex;
use procfs::net::TcpNetEntry;

use crate::state::State;

/// Where the state differs from the kernel's, for a server with this number that listens at this
/// port. Otherwise the clients' receive buffers have been measured.
pub(crate) fn compare(state: &mut State, pid: &str, port: u16) -> Result<(), String> {
    let table = procfs::net::tcp().expect("the kernel shows its sockets");
    let pending = queues(&table, port, 0).map_or(0, |(_, pending)| pending);
    if pending != state.pending.len() {
        return Err(format!("{pending} connections are pending"));
    }
    let clients = state.clients.iter_mut();
    for (name, client) in clients.filter(|(_, client)| client.is_open()) {
        let ends = [(port, client.port), (client.port, port)];
        let [Some(here), Some(there)] = ends.map(|(from, to)| queues(&table, from, to)) else {
            return Err(format!("{name} is not connected"));
        };
        let unread = client.socket.unread + usize::from(client.has_unread_end());
        for (what, computed, sender, receiver) in [
            ("unread", unread, there, here),
            ("on the way", client.socket.unsent, here, there),
        ] {
            // A byte that the receiver has and has not acknowledged is in both queues.
            let kernel = receiver.1..=receiver.1 + sender.0;
            if !kernel.contains(&computed) {
                return Err(format!(
                    "{name}: {computed} bytes {what}, but the kernel has {kernel:?}"
                ));
            }
        }
        let events = registered(pid, client.descriptor).unwrap_or_default();
        if !is_interest(&client.interest, events) {
            let computed = &client.interest;
            return Err(format!(
                "{name}: {computed:?} is registered, but the kernel has {events:#x}"
            ));
        }
        client.room_at_client = (there.1 < client.socket.unsent).then_some(there.1);
    }
    Ok(())
}

/// Whether these are the kernel's events. From Linux's eventpoll.h: EPOLLIN, EPOLLOUT, EPOLLET.
fn is_interest(interest: &Flags, events: u32) -> bool {
    let mut bits = [("READABLE", 0), ("WRITABLE", 2), ("edge", 31)].into_iter();
    bits.all(|(flag, bit)| interest.contains(&flag) == (events >> bit & 1 == 1))
}

/// One end of a connection, or with 0 as the other port a listener: bytes that were written and not
/// acknowledged, and bytes that were not read, or of a listener the pending connections (proc_net_tcp(5)).
fn queues(table: &[TcpNetEntry], local: u16, remote: u16) -> Option<(usize, usize)> {
    let ports = |socket: &TcpNetEntry| (socket.local_address.port(), socket.remote_address.port());
    let socket = table
        .iter()
        .find(|socket| ports(socket) == (local, remote))?;
    Some((socket.tx_queue as usize, socket.rx_queue as usize))
}

/// The events for which a descriptor is registered with epoll: a line such as `tfd: 5 events: 80000019 …` in
/// `/proc/PID/fdinfo` (proc_pid_fdinfo(5)).
fn registered(pid: &str, descriptor: Option<usize>) -> Option<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the server runs");
    let infos = folder.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let line = regex(&format!(r"tfd: +{} events: +([0-9a-f]+)", descriptor?));
    let infos: String = infos.collect();
    u32::from_str_radix(&line.captures(&infos)?[1], 16).ok()
}
