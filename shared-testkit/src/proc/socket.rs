//! The kernel's table of TCP sockets (proc_net_tcp(5)).

use std::net::SocketAddr;

use procfs::net::{TcpNetEntry, TcpState};

/// Whether a server listens at this address. Looked up rather than tried: the server would give a
/// token to a connection.
pub(crate) fn is_listened_at(address: SocketAddr) -> bool {
    table(address).iter().any(|socket| {
        let local = socket.local_address;
        let covers_it = local.ip() == address.ip() || local.ip().is_unspecified();
        socket.state == TcpState::Listen && local.port() == address.port() && covers_it
    })
}

/// The server's end of a connection, if the server has accepted it and it is open. (Without a
/// process to own it, its inode is 0.)
pub(crate) fn connection(server: SocketAddr, client: SocketAddr) -> Option<TcpNetEntry> {
    table(server).into_iter().find(|socket| {
        let is_it = socket.remote_address == client && socket.local_address.port() == server.port();
        is_it && socket.inode != 0
    })
}

/// The sockets of an address's family. For IPv4 those of IPv6 as well, whose listeners may accept
/// both.
pub(crate) fn table(address: SocketAddr) -> Vec<TcpNetEntry> {
    let mut sockets = procfs::net::tcp6().unwrap_or_default();
    if address.is_ipv4() {
        sockets.extend(procfs::net::tcp().expect("the kernel's table of sockets can be read"));
    }
    sockets
}
