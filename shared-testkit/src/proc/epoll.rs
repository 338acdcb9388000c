//! What a process has asked of epoll (proc_pid_fdinfo(5)).

use std::fs;

use procfs::process::{FDInfo, FDTarget};
use rustix::process::Pid;

use crate::proc::process::{descriptors, is_socket};

// From Linux's eventpoll.h.
pub(crate) const EPOLLIN: u32 = 0x001;
pub(crate) const EPOLLOUT: u32 = 0x004;
pub(crate) const EPOLLONESHOT: u32 = 1 << 30;
pub(crate) const EPOLLET: u32 = 1 << 31;

/// What an epoll instance has been asked to report about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read, or the end of them (`EPOLLIN`).
    pub readable: bool,
    /// Room to write (`EPOLLOUT`).
    pub writable: bool,
}

impl Interest {
    /// Interest in reading alone.
    pub const READABLE: Interest = Interest {
        readable: true,
        writable: false,
    };

    /// Interest in both reading and writing.
    pub const READABLE_AND_WRITABLE: Interest = Interest {
        readable: true,
        writable: true,
    };
}

/// The interest in the socket with this inode, if the process has it open and registered.
pub(crate) fn interest(pid: Pid, inode: u64) -> Option<Interest> {
    let descriptors = descriptors(pid);
    let socket = descriptors.iter().find(|d| is_socket(d, inode))?.fd;
    let mut registered = registered(pid, &descriptors).into_iter();
    let (_, events) = registered.find(|&(descriptor, _)| descriptor == socket)?;
    Some(Interest {
        readable: events & EPOLLIN != 0,
        writable: events & EPOLLOUT != 0,
    })
}

/// Each registered descriptor with its events, of all epoll instances that can be read.
pub(crate) fn registered(pid: Pid, descriptors: &[FDInfo]) -> Vec<(i32, u32)> {
    let epolls = descriptors.iter().filter(|d| is_epoll(d));
    let infos = epolls.filter_map(|epoll| {
        fs::read_to_string(format!("/proc/{}/fdinfo/{}", pid.as_raw_pid(), epoll.fd)).ok()
    });
    let entries = infos.map(|info| info.lines().filter_map(entry).collect::<Vec<_>>());
    entries.flatten().collect()
}

pub(crate) fn is_epoll(descriptor: &FDInfo) -> bool {
    matches!(&descriptor.target, FDTarget::AnonInode(kind) if kind.contains("eventpoll"))
}

/// From a line such as `tfd: 7 events: 80002001 data: 1 …`, where the number after `events:` is
/// hexadecimal.
fn entry(line: &str) -> Option<(i32, u32)> {
    let (descriptor, events) = line.strip_prefix("tfd:")?.split_once("events:")?;
    let events = events.split_whitespace().next()?;
    Some((
        descriptor.trim().parse().ok()?,
        u32::from_str_radix(events, 16).ok()?,
    ))
}
