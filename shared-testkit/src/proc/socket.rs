//! The kernel's table of TCP sockets (proc_net_tcp(5)).

use std::net::SocketAddr;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::FDInfo;
use rustix::fs::getxattr;
use rustix::process::Pid;

use crate::proc::process::descriptors;

/// Whether a server listens at this address. Looked up rather than tried: the server would give a
/// token to a connection.
pub(crate) fn is_listened_at(address: SocketAddr) -> bool {
    table().iter().any(|socket| {
        let local = socket.local_address;
        let covers_it = local.ip() == address.ip() || local.ip().is_unspecified();
        socket.state == TcpState::Listen && local.port() == address.port() && covers_it
    })
}

/// The server's end of a connection, if the server has accepted it and it is open. (Without a
/// process to own it, its inode is 0.)
pub(crate) fn connection(server: SocketAddr, client: SocketAddr) -> Option<TcpNetEntry> {
    table().into_iter().find(|socket| {
        let is_it = socket.remote_address == client && socket.local_address.port() == server.port();
        is_it && socket.inode != 0
    })
}

/// All sockets, those of IPv4 with addresses of IPv4 even if the server's are of IPv6
/// (`::ffff:127.0.0.1`).
pub(crate) fn table() -> Vec<TcpNetEntry> {
    let mut sockets = procfs::net::tcp().expect("the kernel's table of sockets can be read");
    sockets.extend(procfs::net::tcp6().unwrap_or_default());
    for socket in &mut sockets {
        for address in [&mut socket.local_address, &mut socket.remote_address] {
            address.set_ip(address.ip().to_canonical());
        }
    }
    sockets
}

/// How many TCP sockets a process has open, connected or not (`sockfs` in the kernel's net/socket.c).
pub(crate) fn open_tcp(pid: Pid) -> usize {
    let is_tcp = |descriptor: &FDInfo| {
        let path = format!("/proc/{}/fd/{}", pid.as_raw_pid(), descriptor.fd);
        let mut name = [0; 16];
        let name_of = getxattr(path, "system.sockprotoname", &mut name);
        name_of.is_ok_and(|_| name.starts_with(b"TCP"))
    };
    descriptors(pid).into_iter().filter(is_tcp).count()
}
