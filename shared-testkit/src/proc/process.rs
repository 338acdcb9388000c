//! A process: its state, CPU time, memory and children (proc_pid_stat(5)).

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use procfs::WithCurrentSystemInfo;
use procfs::process::{FDInfo, FDTarget, Process, Stat, Syscall, Task};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// User and system time of all threads, in steps of a clock tick. `None` if it has ended.
pub(crate) fn cpu_time(pid: Pid) -> Option<Duration> {
    let stat = stat(pid)?;
    let ticks = stat.utime + stat.stime;
    let seconds = ticks as f64 / procfs::ticks_per_second() as f64;
    Some(Duration::from_secs_f64(seconds))
}

/// The resident set, in bytes. `None` if it has ended.
pub(crate) fn memory(pid: Pid) -> Option<u64> {
    Some(stat(pid)?.rss_bytes().get())
}

/// Whether it sleeps until something happens, with all its threads and its descendants. One that works,
/// or that sleeps for a time of its own choice (`nanosleep(2)`), may yet print or send. Other calls with
/// a timeout count as sleep: an event loop waits in one.
pub(crate) fn is_asleep(pid: Pid) -> bool {
    // Twice: the second look sees what was started during the first.
    (0..2).all(|_| {
        let mut descendants = descendants(pid).into_iter();
        sleeps(pid) && descendants.all(|child| has_ended(child) || sleeps(child))
    })
}

/// How a child of ours has ended, if it has. It stays a zombie for whatever waits for it (`WNOWAIT`,
/// waitid(2)).
pub(crate) fn end(child: Pid) -> Option<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(child), options).ok()??;
    // As wait(2) encodes it.
    let code = status.exit_status().map(|code| code << 8);
    code.or(status.terminating_signal())
        .map(ExitStatus::from_raw)
}

/// Whether another process traces it.
pub(crate) fn is_traced(pid: Pid) -> bool {
    let status = process(pid).and_then(|process| process.status().ok());
    status.is_some_and(|status| status.tracerpid != 0)
}

/// Whether it is gone, or a zombie: only its exit status is left.
fn has_ended(pid: Pid) -> bool {
    // All its threads, because the first one may end before the others.
    looks(pid).iter().all(|(state, _)| *state == 'Z')
}

fn sleeps(pid: Pid) -> bool {
    let looks = looks(pid);
    let sleeps =
        |(state, thread): &(char, Thread)| *state == 'S' && thread.call != Some("nanosleep");
    !looks.is_empty() && looks.iter().all(sleeps)
}

/// Whether all its threads are stopped: each stops by itself, some time after the signal.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    let looks = looks(pid);
    !looks.is_empty() && looks.iter().all(|(state, _)| *state == 'T')
}

/// Its children, zombies as well, and theirs (proc_pid_task(5)).
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    let tasks = tasks(pid).into_iter();
    let children = tasks.filter_map(|task| task.children().ok()).flatten();
    let mut all = Vec::new();
    for child in children.filter_map(|child| Pid::from_raw(child.try_into().ok()?)) {
        all.push(child);
        all.extend(descendants(child));
    }
    all
}

/// Its open file descriptors, or none if it has ended.
///
/// Listed, not taken from the size of the directory, which also counts the number that `accept(2)`
/// reserves and gives back if no connection is pending.
pub(crate) fn descriptors(pid: Pid) -> Vec<FDInfo> {
    let descriptors = process(pid).and_then(|process| process.fd().ok());
    // One that is closed while we look is of no interest.
    descriptors.into_iter().flatten().flatten().collect()
}

/// Whether this is the socket with this inode.
pub(crate) fn is_socket(descriptor: &FDInfo, inode: u64) -> bool {
    matches!(descriptor.target, FDTarget::Socket(socket) if socket == inode)
}

/// A thread that waits in a system call, or works.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    /// `None` if it works, or is in a call that says nothing.
    pub call: Option<&'static str>,
    /// The call's first argument.
    pub descriptor: i32,
    /// Whether it has work to do.
    pub runs: bool,
}

/// The system calls that say something. Those that do the same have one name.
const CALLS: &[(i64, &str)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
    (libc::SYS_ppoll, "poll"),
    (libc::SYS_pselect6, "select"),
    (libc::SYS_epoll_pwait, "epoll_wait"),
    (libc::SYS_epoll_pwait2, "epoll_wait"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept"),
    (libc::SYS_read, "read"),
    (libc::SYS_readv, "read"),
    (libc::SYS_recvfrom, "read"),
    (libc::SYS_recvmsg, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "write"),
    (libc::SYS_sendto, "write"),
    (libc::SYS_sendmsg, "write"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_clock_nanosleep, "nanosleep"),
];

/// What its threads wait in, as far as the kernel shows it (proc_pid_syscall(5)).
pub(crate) fn threads(pid: Pid) -> Vec<Thread> {
    looks(pid).into_iter().map(|(_, thread)| thread).collect()
}

/// The same with the state of each. One that ends while we look is left out: it does no more work.
fn looks(pid: Pid) -> Vec<(char, Thread)> {
    let look = |task: Task| {
        let state = task.stat().ok()?.state;
        let mut thread = Thread {
            runs: state == 'R',
            ..Thread::default()
        };
        if let Ok(Syscall::Blocked {
            syscall_number,
            argument_registers,
            ..
        }) = task.syscall()
        {
            let call = CALLS.iter().find(|call| call.0 == syscall_number);
            thread.call = call.map(|call| call.1);
            thread.descriptor = argument_registers[0] as i32;
        }
        Some((state, thread))
    };
    tasks(pid).into_iter().filter_map(look).collect()
}

/// Whether one of its threads has work to do, on a CPU or waiting for one.
pub(crate) fn is_running(pid: Pid) -> bool {
    threads(pid).iter().any(|thread| thread.runs)
}

/// Its threads, or none if it has ended.
fn tasks(pid: Pid) -> Vec<Task> {
    let tasks = process(pid).and_then(|process| process.tasks().ok());
    tasks.into_iter().flatten().flatten().collect()
}

fn stat(pid: Pid) -> Option<Stat> {
    process(pid)?.stat().ok()
}

fn process(pid: Pid) -> Option<Process> {
    Process::new(pid.as_raw_pid()).ok()
}
