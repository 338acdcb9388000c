//! A lock on a port, so that one test at a time runs a server there.

use std::env;
use std::fs::File;
use std::net::SocketAddr;

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

/// Waits until no other test runs a server at this address, in this process or in another one. The kernel
/// releases the lock when the file is closed (flock(2)).
///
/// # Panics
///
/// If the lock file cannot be made in the folder for temporary files.
pub(crate) fn lock_port(address: SocketAddr) -> File {
    let path = env::temp_dir().join(format!("learn-epoll-port-{}.lock", address.port()));
    // The file outlives the tests, and may belong to another user: opening it for reading is enough.
    let file = File::open(&path)
        .or_else(|_| File::create(&path).and_then(|_| File::open(&path)))
        .unwrap_or_else(|e| panic!("cannot make the lock file {}: {e}", path.display()));
    // No deadline here: whoever holds the lock has one.
    retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
        .unwrap_or_else(|e| panic!("cannot lock {}: {e}", path.display()));
    file
}
