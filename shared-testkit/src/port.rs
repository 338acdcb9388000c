//! A port that only one server at a time can have.

use std::env;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, all_processes};
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

/// The right to have a server at an address, until it is dropped.
pub(crate) struct Turn {
    /// The kernel gives back the lock when the file is closed (flock(2)).
    _lock: File,
}

/// Waits until no other test has a server at this address, in this process or in another one.
///
/// # Panics
///
/// If the lock file in the folder for temporary files cannot be made.
pub(crate) fn wait_for_turn(address: SocketAddr) -> Turn {
    let path = env::temp_dir().join(format!("learn-epoll-port-{}.lock", address.port()));
    // It stays when the tests have ended, and may be another user's then: to read it is enough.
    let lock = File::open(&path)
        .or_else(|_| File::create(&path).and_then(|_| File::open(&path)))
        .unwrap_or_else(|e| panic!("cannot make the lock file {}: {e}", path.display()));
    // Without a deadline: those who stand before us in the queue have theirs.
    retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))
        .unwrap_or_else(|e| panic!("cannot lock {}: {e}", path.display()));
    Turn { _lock: lock }
}

/// Who listens at an address, so that no server can: `None` if it is free.
pub(crate) fn holder(address: SocketAddr) -> Option<String> {
    match TcpListener::bind(address) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            let unknown = || "a process that cannot be looked at".to_owned();
            Some(listening_process(address).unwrap_or_else(unknown))
        }
        _ => None,
    }
}

/// Whether somebody listens at an address. Looks it up instead of connecting: a server would give
/// a token to that connection.
pub(crate) fn is_listened_at(address: SocketAddr) -> bool {
    listener(address).is_some()
}

fn listener(address: SocketAddr) -> Option<TcpNetEntry> {
    sockets(address).into_iter().find(|socket| {
        let local = socket.local_address;
        let is_there = local.ip() == address.ip() || local.ip().is_unspecified();
        socket.state == TcpState::Listen && local.port() == address.port() && is_there
    })
}

/// The kernel's table of sockets of an address' family (proc_net_tcp(5)), and for IPv4 also that of
/// IPv6, whose listeners may take both.
pub(crate) fn sockets(address: SocketAddr) -> Vec<TcpNetEntry> {
    let mut sockets = procfs::net::tcp6().unwrap_or_default();
    if address.is_ipv4() {
        sockets.extend(procfs::net::tcp().expect("the kernel's table of sockets can be read"));
    }
    sockets
}

fn listening_process(address: SocketAddr) -> Option<String> {
    let inode = listener(address)?.inode;
    all_processes().ok()?.flatten().find_map(|process| {
        let mut descriptors = process.fd().ok()?.flatten();
        descriptors.find(|d| matches!(d.target, FDTarget::Socket(socket) if socket == inode))?;
        let name = process.stat().ok()?.comm;
        Some(format!("process {} ({name})", process.pid))
    })
}
