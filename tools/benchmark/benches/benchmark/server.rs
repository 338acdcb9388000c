//! The servers: which exist, how they start, and the CPU time and memory that they use.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use course::test_runner;
use procfs::process::Process;
use shared_testkit::wait_until;

use crate::protocol::Protocol::{self, Lines, Nats, Redis};
use crate::workload::Workload;

/// The server that the others are compared with.
pub(crate) const FLOOR: &str = "floor";

/// The server that this benchmark is about.
pub(crate) const OURS: &str = "milestone 5";

/// The name, protocol and arguments of each server. `PORT` is replaced by the port to listen on.
const SERVERS: [(&str, Protocol, &str); 7] = [
    (FLOOR, Lines, "127.0.0.1:PORT"),
    ("milestone 4", Lines, "127.0.0.1:PORT"),
    (OURS, Lines, "127.0.0.1:PORT"),
    ("tokio", Lines, "127.0.0.1:PORT"),
    ("ncat", Lines, "--broker -l 127.0.0.1 PORT -m 10000"),
    ("redis-server", Redis, "--bind 127.0.0.1 --port PORT"),
    ("nats-server", Nats, "-a 127.0.0.1 -p PORT"),
];

/// The core that runs the servers, all of them: only one is active at a time.
pub(crate) const CORE: &str = "0";

/// A server that can be started.
pub(crate) struct Contestant {
    /// The name in the report.
    pub(crate) name: &'static str,
    /// The protocol that it speaks.
    pub(crate) protocol: Protocol,
    arguments: &'static str,
    program: PathBuf,
}

/// All servers that exist on this machine. Reports those that are not installed.
pub(crate) fn contestants() -> Vec<Contestant> {
    let mut contestants = Vec::new();
    for (name, protocol, arguments) in SERVERS {
        match program(name) {
            Some(program) => contestants.push(Contestant {
                name,
                protocol,
                arguments,
                program,
            }),
            None => println!("Skipped {name}: it is not installed"),
        }
    }
    contestants
}

fn program(server: &str) -> Option<PathBuf> {
    Some(match server {
        FLOOR => env!("CARGO_BIN_EXE_floor").into(),
        "tokio" => env!("CARGO_BIN_EXE_tokio-chat").into(),
        // For a benchmark, cargo builds only the programs of the same package.
        "milestone 4" => test_runner::program("milestone-4-write"),
        OURS => test_runner::program("milestone-5-harden"),
        peer => return test_runner::is_installed(peer).then(|| peer.into()),
    })
}

impl Contestant {
    /// Fails with the reason if this server cannot take part in a workload.
    pub(crate) fn check(&self, workload: &Workload) -> Result<()> {
        let reason = match self.name {
            FLOOR if workload.slow_readers > 0 => "it has no queue for a slow reader",
            "ncat" if workload.slow_readers > 0 => "it serves nobody while one reader is slow",
            // It uses select(2), which accepts no descriptor above 1,023. With more, it aborts.
            "ncat" if workload.clients() > 1_000 => "it serves at most 1,000 clients",
            _ => return Ok(()),
        };
        bail!(reason)
    }

    /// Starts the server and waits until it accepts connections.
    pub(crate) fn start(&self) -> Result<Server> {
        // The kernel chooses a free port, and does not soon choose it again.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let arguments = self.arguments.replace("PORT", &address.port().to_string());
        // The kernel kills the server at the end of the benchmark, even if that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "taskset", "--cpu-list", CORE])
            .arg(&self.program)
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Read only after a failure. The few lines written until then fit in the pipe.
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run `setpriv`, a part of util-linux like `taskset`")?;
        let mut server = Server { child, address };
        let has_ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        let is_open = || TcpStream::connect(address).is_ok();
        if wait_until(|| is_open() || has_ended(&mut server.child)) && is_open() {
            return Ok(server);
        }
        Err(server.explain(anyhow!("it does not accept connections")))
    }
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    /// The address that it listens on.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Ends the server, and adds to an error what the server reported: its exit status, if it had
    /// already ended, and its stderr.
    pub(crate) fn explain(&mut self, error: Error) -> Error {
        let ended = self.child.try_wait().ok().flatten();
        drop(self.child.kill());
        let mut stderr = String::new();
        if let Some(pipe) = &mut self.child.stderr {
            // If this fails, the message is shorter, no more.
            drop(pipe.read_to_string(&mut stderr));
        }
        let ended = ended.map_or(String::new(), |status| format!(", {status}"));
        anyhow!("{error:#}{ended}, stderr: {stderr:?}")
    }

    /// The CPU time that all threads have used, as the scheduler counts it: the times in
    /// `/proc/PID/stat` have a resolution of only 10 ms.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let tasks = self.process()?.tasks()?;
        let nanoseconds = tasks.map(|task| Ok(task?.schedstat()?.sum_exec_runtime));
        Ok(Duration::from_nanos(nanoseconds.sum::<Result<_>>()?))
    }

    /// The resident memory in KiB (`VmRSS`, proc_pid_status(5)).
    pub(crate) fn memory_kib(&self) -> Result<f64> {
        let status = self.process()?.status()?;
        Ok(status.vmrss.context("the server has ended")? as f64)
    }

    fn process(&self) -> Result<Process> {
        Ok(Process::new(self.child.id().try_into()?)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if it has already ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
