//! The kernel's table of TCP sockets (proc_net_tcp(5)), and what it knows of one of them.

use std::io;
use std::net::{SocketAddr, TcpStream};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, all_processes};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::proc::process::descriptors;

/// Whether a server listens at this address. Looked up rather than tried: the server would give a
/// token to a connection.
pub(crate) fn is_listened_at(address: SocketAddr) -> bool {
    listener(address).is_some()
}

/// The process that listens at this address, as far as it can be identified.
pub(crate) fn listening_process(address: SocketAddr) -> Option<String> {
    let inode = listener(address)?.inode;
    all_processes().ok()?.flatten().find_map(|process| {
        let mut descriptors = process.fd().ok()?.flatten();
        descriptors.find(|d| matches!(d.target, FDTarget::Socket(socket) if socket == inode))?;
        let name = process.stat().ok()?.comm;
        Some(format!("process {} ({name})", process.pid))
    })
}

fn listener(address: SocketAddr) -> Option<TcpNetEntry> {
    table(address).into_iter().find(|socket| {
        let local = socket.local_address;
        let covers_it = local.ip() == address.ip() || local.ip().is_unspecified();
        socket.state == TcpState::Listen && local.port() == address.port() && covers_it
    })
}

/// The server's end of a connection, if it is open.
pub(crate) fn connection(server: SocketAddr, client: SocketAddr) -> Option<TcpNetEntry> {
    table(server).into_iter().find(|socket| {
        socket.remote_address == client && socket.local_address.port() == server.port()
    })
}

/// The sockets of an address's family. For IPv4 those of IPv6 as well, whose listeners may accept
/// both.
fn table(address: SocketAddr) -> Vec<TcpNetEntry> {
    let mut sockets = procfs::net::tcp6().unwrap_or_default();
    if address.is_ipv4() {
        sockets.extend(procfs::net::tcp().expect("the kernel's table of sockets can be read"));
    }
    sockets
}

/// `TCP_NODELAY` of the process's socket for its connection with `peer`.
pub(crate) fn has_nodelay(pid: Pid, peer: SocketAddr) -> io::Result<bool> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    for descriptor in descriptors(pid) {
        if !matches!(descriptor.target, FDTarget::Socket(_)) {
            continue;
        }
        let copy = pidfd_getfd(&process, descriptor.fd, PidfdGetfdFlags::empty())?;
        let stream = TcpStream::from(copy);
        // The listener has no peer.
        if stream.peer_addr().is_ok_and(|address| address == peer) {
            return stream.nodelay();
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
