//! The servers that are measured: which there are, how they start, and what they use.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use procfs::process::Process;

use crate::floor;
use crate::leash;
use crate::protocol::Protocol;

/// The server by which the others are measured.
pub(crate) const FLOOR: &str = "floor";

/// The server that this benchmark is about.
pub(crate) const OURS: &str = "milestone 5";

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two attempts to connect to a server that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What our own servers say on stderr, before the address.
const READY: &str = "Listening on ";

/// A server that can be started.
pub(crate) struct Contestant {
    /// The name by which the report calls it.
    pub(crate) name: &'static str,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// How many clients it can serve, if there is a known limit.
    pub(crate) most_clients: Option<usize>,
    program: OsString,
    launch: Launch,
}

/// How a server is told where to listen.
enum Launch {
    /// It takes `127.0.0.1:0` after these arguments and says where it listens.
    Asked(&'static [&'static str]),
    /// It must be given a port.
    Told(fn(port: &str) -> Vec<&str>),
}

/// A server from elsewhere, if it is installed.
struct Peer {
    name: &'static str,
    protocol: Protocol,
    most_clients: Option<usize>,
    arguments: fn(port: &str) -> Vec<&str>,
}

/// The peers, told to keep nothing on disk.
const PEERS: [Peer; 3] = [
    Peer {
        name: "ncat",
        protocol: Protocol::Lines,
        // It waits with select(2), which takes no descriptor above 1,023: beyond that it aborts.
        most_clients: Some(1_000),
        arguments: |port| vec!["--broker", "-l", "127.0.0.1", port, "-m", "10000"],
    },
    Peer {
        name: "redis-server",
        protocol: Protocol::Redis,
        most_clients: None,
        arguments: |port| {
            let mut arguments = vec!["--port", port, "--bind", "127.0.0.1"];
            arguments.extend(["--save", "", "--appendonly", "no"]);
            arguments
        },
    },
    Peer {
        name: "nats-server",
        protocol: Protocol::Nats,
        most_clients: None,
        arguments: |port| vec!["-a", "127.0.0.1", "-p", port],
    },
];

/// All servers that can be measured here. Says which peers are not installed.
pub(crate) fn contestants() -> Result<Vec<Contestant>> {
    let milestone_5 = PathBuf::from(env!("CARGO_BIN_EXE_milestone-5-harden"));
    let milestone_4 = build_milestone_4(&milestone_5)?;
    let myself = env::current_exe().context("cannot tell the path of the benchmark")?;

    let mut contestants = vec![
        own(FLOOR, myself, &[floor::ROLE]),
        own("milestone 4", milestone_4, &[]),
        own(OURS, milestone_5, &[]),
    ];
    for peer in PEERS {
        match installed(peer.name) {
            Some(program) => contestants.push(Contestant {
                name: peer.name,
                protocol: peer.protocol,
                most_clients: peer.most_clients,
                program: program.into(),
                launch: Launch::Told(peer.arguments),
            }),
            None => println!("Skipped {}: it is not installed", peer.name),
        }
    }
    Ok(contestants)
}

fn own(name: &'static str, program: PathBuf, arguments: &'static [&'static str]) -> Contestant {
    Contestant {
        name,
        protocol: Protocol::Lines,
        most_clients: None,
        program: program.into(),
        launch: Launch::Asked(arguments),
    }
}

/// Builds milestone 4, and returns its program: cargo does not build the binaries of other packages
/// for a benchmark.
fn build_milestone_4(milestone_5: &Path) -> Result<PathBuf> {
    const PACKAGE: &str = "milestone-4-write";
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // TARGET/release/milestone-5-harden: the same target folder again, wherever it is.
    let target = milestone_5.ancestors().nth(2);
    let target = target.context("cannot tell the target folder")?;
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", PACKAGE])
        .arg("--target-dir")
        .arg(target)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo cannot build {PACKAGE}: {status}");

    let program = milestone_5.with_file_name(PACKAGE);
    ensure!(
        program.is_file(),
        "{PACKAGE} was built, but is not at {}: benchmarks are for the release profile",
        program.display()
    );
    Ok(program)
}

/// The path of a program, if there is one. A user's `PATH` may lack the folders of servers.
fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin".into(), "/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

impl Contestant {
    /// Whether the benchmark fails if this one does. A peer may.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.launch, Launch::Asked(_))
    }

    /// Starts the server and waits until it takes connections.
    pub(crate) fn start(&self) -> Result<Server> {
        match self.launch {
            Launch::Asked(arguments) => self.start_asked(arguments),
            Launch::Told(arguments) => self.start_told(arguments),
        }
    }

    fn start_asked(&self, arguments: &[&str]) -> Result<Server> {
        let mut command = leash::command(&self.program)?;
        command
            .args(arguments)
            .arg("127.0.0.1:0")
            .stderr(Stdio::piped());
        let mut server = self.spawn(command)?;
        let stderr = server.child.stderr.take().context("stderr is not piped")?;
        server.address = address_from(stderr, self.name)?;
        Ok(server)
    }

    fn start_told(&self, arguments: fn(&str) -> Vec<&str>) -> Result<Server> {
        let address = free_address()?;
        let mut command = leash::command(&self.program)?;
        command.args(arguments(&address.port().to_string()));
        let mut server = self.spawn(command)?;
        server.address = address;
        server.wait_until_it_listens()?;
        Ok(server)
    }

    fn spawn(&self, mut command: Command) -> Result<Server> {
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        Ok(Server {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        })
    }
}

/// Waits for the address that a server says on stderr. What it says later goes to our own stderr,
/// so that the pipe never fills.
fn address_from(stderr: ChildStderr, name: &'static str) -> Result<SocketAddr> {
    let (found, address) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            match line.strip_prefix(READY) {
                // Nobody waits any more when the time was up.
                Some(address) => drop(found.send(address.to_owned())),
                None => eprintln!("{name}: {line}"),
            }
        }
    });
    let address = address
        .recv_timeout(PATIENCE)
        .with_context(|| format!("{name} did not say `{READY}ADDRESS` in {PATIENCE:?}"))?;
    address
        .parse()
        .with_context(|| format!("{name} listens on {address:?}, which is no address"))
}

/// An address whose port is free now. The kernel does not soon give it out again.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context("cannot find a free port")
}

/// A server that runs. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Server {
    fn wait_until_it_listens(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Err(e) = TcpStream::connect_timeout(&self.address, PATIENCE) else {
                return Ok(());
            };
            if let Some(status) = self.ended()? {
                bail!("it has ended before it took connections: {status}");
            }
            if Instant::now() > end {
                return Err(e).with_context(|| format!("cannot connect to it in {PATIENCE:?}"));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// How the server has ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot tell if it runs")
    }

    /// The CPU time that all of the server's threads have used so far, by the scheduler's own
    /// count: the sums of `stat` come in steps of 10 ms.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let tasks = self
            .process()?
            .tasks()
            .context("cannot list the server's threads")?;
        let mut nanoseconds = 0;
        for task in tasks {
            let statistics = task
                .and_then(|task| task.schedstat())
                .context("cannot read the CPU time of a server's thread")?;
            nanoseconds += statistics.sum_exec_runtime;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The memory in use, in KiB (`VmRSS`, proc_pid_status(5)).
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        let status = self
            .process()?
            .status()
            .context("cannot read the server's state")?;
        status.vmrss.context("the server has no memory")
    }

    fn process(&self) -> Result<Process> {
        let pid = i32::try_from(self.child.id()).context("the server's pid is out of range")?;
        Process::new(pid).context("the server is gone")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
