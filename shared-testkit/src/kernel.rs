//! Facts about a running server that only the kernel can tell, by way of proc(5).

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use procfs::WithCurrentSystemInfo;
use procfs::process::{FDInfo, FDTarget, Process, Stat};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::port::sockets;

/// What an epoll instance has been asked to tell about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// That there is something to read (`EPOLLIN`).
    pub readable: bool,
    /// That there is room to write (`EPOLLOUT`).
    pub writable: bool,
}

impl Interest {
    /// To be told of something to read, and of nothing else.
    pub const READABLE: Interest = Interest {
        readable: true,
        writable: false,
    };

    /// To be told of something to read and of room to write.
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

pub(crate) fn cpu_time(pid: Pid) -> Duration {
    let stat = stat(pid);
    let ticks = stat.utime + stat.stime;
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

pub(crate) fn memory(pid: Pid) -> u64 {
    stat(pid).rss_bytes().get()
}

/// Its children, and theirs, as far as they live (proc_pid_task(5)).
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    let tasks = Process::new(pid.as_raw_nonzero().get()).and_then(|process| process.tasks());
    let children = tasks.into_iter().flatten().flatten();
    let children = children.filter_map(|task| task.children().ok()).flatten();
    let mut all = Vec::new();
    for child in children.filter_map(|child| Pid::from_raw(child.try_into().ok()?)) {
        all.push(child);
        all.extend(descendants(child));
    }
    all
}

/// Whether it waits for something to happen (`proc_pid_stat(5)`).
pub(crate) fn is_asleep(pid: Pid) -> bool {
    stat(pid).state == 'S'
}

pub(crate) fn is_stopped(pid: Pid) -> bool {
    stat(pid).state == 'T'
}

/// Listed, not taken from the directory's size: that also counts the number which `accept(2)` takes
/// in advance, and gives back if nobody waits.
pub(crate) fn descriptors(pid: Pid) -> usize {
    descriptors_of(pid).len()
}

/// The number that the kernel has for the server's end of a connection, if it is open.
pub(crate) fn socket(server: SocketAddr, client: SocketAddr) -> Option<u64> {
    let sockets = sockets(server);
    let ours = sockets.iter().find(|socket| {
        socket.remote_address == client && socket.local_address.port() == server.port()
    });
    ours.map(|socket| socket.inode)
}

/// The interest in a socket, if the server has it and has registered it.
pub(crate) fn interest_in_socket(pid: Pid, socket: u64) -> Option<Interest> {
    let descriptors = descriptors_of(pid);
    let is_it = |d: &&FDInfo| matches!(d.target, FDTarget::Socket(inode) if inode == socket);
    let wanted = descriptors.iter().find(is_it)?.fd;
    interest(pid, |descriptor, _| descriptor == wanted)
}

/// The interest that is registered under a token such as `Token(1)`, if any. Holds for servers with
/// mio, which keeps its token in the `data` of `epoll_ctl(2)`.
pub(crate) fn interest_under_token(pid: Pid, token: &str) -> Option<Interest> {
    let number = token.strip_prefix("Token(")?.strip_suffix(')')?;
    let wanted: u64 = number.parse().ok()?;
    interest(pid, |_, data| data == wanted)
}

fn interest(pid: Pid, is_it: impl Fn(i32, u64) -> bool) -> Option<Interest> {
    let mut epolls = descriptors_of(pid)
        .into_iter()
        .filter(|d| matches!(&d.target, FDTarget::AnonInode(kind) if kind.contains("eventpoll")))
        .peekable();
    assert!(
        epolls.peek().is_some(),
        "the server has no epoll instance, and this test looks at what it asks of epoll"
    );
    epolls.find_map(|epoll| {
        let path = format!("/proc/{}/fdinfo/{}", pid.as_raw_pid(), epoll.fd);
        let info = fs::read_to_string(path).expect("the server's epoll instance can be read");
        info.lines().find_map(|line| interest_of_line(line, &is_it))
    })
}

/// From a line such as `tfd: 7 events: 80002001 data: 1 …`, where the numbers after `events:` and
/// `data:` are hexadecimal (proc_pid_fdinfo(5)).
fn interest_of_line(line: &str, is_it: impl Fn(i32, u64) -> bool) -> Option<Interest> {
    let words: Vec<_> = line.split_whitespace().collect();
    let ["tfd:", descriptor, "events:", events, "data:", data, ..] = words[..] else {
        return None;
    };
    let data = u64::from_str_radix(data, 16).ok()?;
    let events = u32::from_str_radix(events, 16).ok()?;
    is_it(descriptor.parse().ok()?, data).then(|| Interest::from_epoll(events))
}

/// `TCP_NODELAY` of the process's socket for its connection with `peer`.
pub(crate) fn has_nodelay(pid: Pid, peer: SocketAddr) -> io::Result<bool> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    for descriptor in descriptors_of(pid) {
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

/// The receive queue of the socket with these two ends (`/proc/net/tcp`, proc_net_tcp(5)).
pub(crate) fn unread_bytes(local: SocketAddr, peer: SocketAddr) -> usize {
    let sockets = procfs::net::tcp().expect("the kernel's table of sockets can be read");
    let socket = sockets
        .iter()
        .find(|socket| socket.local_address == local && socket.remote_address == peer)
        .expect("there is such a socket");
    socket.rx_queue as usize
}

fn descriptors_of(pid: Pid) -> Vec<FDInfo> {
    let descriptors = process(pid)
        .fd()
        .expect("the server's descriptors can be listed");
    // One that is closed while we look is of no interest.
    descriptors.flatten().collect()
}

fn stat(pid: Pid) -> Stat {
    process(pid).stat().expect("the server's state can be read")
}

fn process(pid: Pid) -> Process {
    Process::new(pid.as_raw_pid()).expect("the server is there")
}
