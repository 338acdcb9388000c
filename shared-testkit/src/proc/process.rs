//! A process: its state, CPU time, memory and children (proc_pid_stat(5)).

use std::time::Duration;

use procfs::WithCurrentSystemInfo;
use procfs::process::{FDInfo, Process, Stat, Syscall, Task};
use rustix::process::Pid;

/// User and system time of all threads, in steps of a clock tick.
pub(crate) fn cpu_time(pid: Pid) -> Duration {
    let stat = stat(pid);
    let ticks = stat.utime + stat.stime;
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}

/// The resident set, in bytes.
pub(crate) fn memory(pid: Pid) -> u64 {
    stat(pid).rss_bytes().get()
}

/// Whether it sleeps until something happens, with all its threads and its descendants. One that works, or that sleeps for a time of its own choice (`nanosleep(2)`), may yet print or send.
/// Other calls with a timeout count as sleep: an event loop waits in one.
pub(crate) fn is_asleep(pid: Pid) -> bool {
    // Twice: the second look sees what was started during the first.
    (0..2).all(|_| {
        let mut descendants = descendants(pid).into_iter();
        sleeps(pid) && descendants.all(|child| has_ended(child) || sleeps(child))
    })
}

/// Whether it is gone, or a zombie: only its exit status is left.
fn has_ended(pid: Pid) -> bool {
    let tasks = Process::new(pid.as_raw_pid()).and_then(|process| process.tasks());
    let stats = tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| task.stat());
    // All its threads, because the first one may end before the others.
    stats.flatten().all(|stat| stat.state == 'Z')
}

fn sleeps(pid: Pid) -> bool {
    let Ok(tasks) = Process::new(pid.as_raw_pid()).and_then(|process| process.tasks()) else {
        return false;
    };
    // A thread that ends while we look does no more work.
    let mut states = tasks.flatten().filter_map(|task| {
        let state = task.stat().ok()?.state;
        Some(state == 'S' && !is_in_nanosleep(&task))
    });
    states.all(|is_asleep| is_asleep)
}

/// By the number of the system call that blocks the thread (proc_pid_syscall(5)). Where the kernel
/// does not show it, the answer is no.
fn is_in_nanosleep(task: &Task) -> bool {
    let Ok(Syscall::Blocked { syscall_number, .. }) = task.syscall() else {
        return false;
    };
    [libc::SYS_nanosleep, libc::SYS_clock_nanosleep].contains(&syscall_number)
}

/// Whether all its threads are stopped: each stops by itself, some time after the signal.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    let tasks = process(pid)
        .tasks()
        .expect("the server's threads can be listed");
    // A thread that ends while we look does no more work.
    let mut states = tasks
        .flatten()
        .filter_map(|task| Some(task.stat().ok()?.state));
    states.all(|state| state == 'T')
}

/// Its children, zombies as well, and theirs (proc_pid_task(5)).
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    let tasks = Process::new(pid.as_raw_pid()).and_then(|process| process.tasks());
    let children = tasks.into_iter().flatten().flatten();
    let children = children.filter_map(|task| task.children().ok()).flatten();
    let mut all = Vec::new();
    for child in children.filter_map(|child| Pid::from_raw(child.try_into().ok()?)) {
        all.push(child);
        all.extend(descendants(child));
    }
    all
}

/// Its open file descriptors.
///
/// Listed, not taken from the size of the directory, which also counts the number that `accept(2)`
/// reserves and gives back if no connection is pending.
pub(crate) fn descriptors(pid: Pid) -> Vec<FDInfo> {
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
    Process::new(pid.as_raw_pid()).expect("the server runs")
}
