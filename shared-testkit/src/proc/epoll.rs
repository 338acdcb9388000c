//! What a process has asked of epoll (proc_pid_fdinfo(5)).

use std::fs;

use procfs::process::{FDInfo, FDTarget};
use rustix::process::Pid;

use crate::proc::process::descriptors;

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

    /// From the event mask of `epoll_ctl(2)`, with the values of Linux's `eventpoll.h`.
    fn from_epoll(events: u32) -> Interest {
        Interest {
            readable: events & 0x001 != 0,
            writable: events & 0x004 != 0,
        }
    }
}

/// The interest in the socket with this inode, if the process has it open and registered.
pub(crate) fn interest_in_socket(pid: Pid, inode: u64) -> Option<Interest> {
    let descriptors = descriptors(pid);
    let is_it = |d: &&FDInfo| matches!(d.target, FDTarget::Socket(socket) if socket == inode);
    let wanted = descriptors.iter().find(is_it)?.fd;
    interest(pid, |descriptor, _| descriptor == wanted)
}

/// The interest registered under a token such as `Token(1)`, if any. Works for servers that use
/// mio, which keeps the token in the `data` of `epoll_ctl(2)`.
pub(crate) fn interest_under_token(pid: Pid, token: &str) -> Option<Interest> {
    let number = token.strip_prefix("Token(")?.strip_suffix(')')?;
    let wanted: u64 = number.parse().ok()?;
    interest(pid, |_, data| data == wanted)
}

fn interest(pid: Pid, is_it: impl Fn(i32, u64) -> bool) -> Option<Interest> {
    let mut epolls = descriptors(pid)
        .into_iter()
        .filter(|d| matches!(&d.target, FDTarget::AnonInode(kind) if kind.contains("eventpoll")))
        .peekable();
    assert!(
        epolls.peek().is_some(),
        "the server has no epoll instance, and this test checks what is registered there"
    );
    epolls.find_map(|epoll| {
        let path = format!("/proc/{}/fdinfo/{}", pid.as_raw_pid(), epoll.fd);
        let info = fs::read_to_string(path).expect("the server's epoll instance can be read");
        info.lines().find_map(|line| interest_of_line(line, &is_it))
    })
}

/// From a line such as `tfd: 7 events: 80002001 data: 1 …`, where the numbers after `events:` and
/// `data:` are hexadecimal.
fn interest_of_line(line: &str, is_it: impl Fn(i32, u64) -> bool) -> Option<Interest> {
    let words: Vec<_> = line.split_whitespace().collect();
    let ["tfd:", descriptor, "events:", events, "data:", data, ..] = words[..] else {
        return None;
    };
    let data = u64::from_str_radix(data, 16).ok()?;
    let events = u32::from_str_radix(events, 16).ok()?;
    is_it(descriptor.parse().ok()?, data).then(|| Interest::from_epoll(events))
}
