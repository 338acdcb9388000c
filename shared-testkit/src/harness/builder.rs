//! Starting a server, and programs that exit by themselves.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use assert_cmd::assert::Assert;
use rustix::process::Pid;

use crate::failure;
use crate::harness::client::Client;
use crate::harness::port_lock::lock_port;
use crate::harness::program::Program;
use crate::harness::server::Server;
use crate::log::{Kind, Log};
use crate::proc::process;
use crate::report::hand_over;
use crate::skip::skip;
use crate::wait::{PAUSE, patience};

/// Without the descriptors that the tests have inherited (some terminals and shells leave one open), so
/// that the server's own have the same numbers everywhere.
const WITHOUT_INHERITED: &str =
    r#"for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd > 2)) && exec {fd}>&-; done; exec "$@""#;

/// Runs a program that is expected to exit by itself, such as a server with a bad address.
///
/// The result has [`assert_cmd`]'s assertions on exit status, stdout and stderr. A program that
/// still runs at the deadline is killed, and counts as failed.
///
/// # Panics
///
/// If the program cannot be started.
pub fn run_to_exit<A>(program: impl Into<Program>, arguments: impl IntoIterator<Item = A>) -> Assert
where
    A: AsRef<OsStr>,
{
    failure::teach();
    assert_cmd::Command::from_std(program.into().command())
        .args(arguments)
        .timeout(patience() * 2)
        .assert()
}

/// How to start a [`Server`], where [`Server::start`] is not enough.
pub struct Builder {
    program: Program,
    address: Option<String>,
    is_traced: bool,
    injection: Option<String>,
    unread: Vec<Kind>,
}

impl Server {
    /// Starts a program with `127.0.0.1:0` as its only argument, so that the kernel chooses a free
    /// port, and waits until it prints where it listens, on stderr or on stdout.
    ///
    /// # Panics
    ///
    /// If the program cannot be started, exits, or prints nothing until the deadline.
    #[must_use]
    pub fn start(program: impl Into<Program>) -> Server {
        Server::builder(program).start()
    }

    /// [`Server::start`], and a [`Server::client`] of each name.
    ///
    /// # Panics
    ///
    /// As those do.
    #[must_use]
    pub fn start_with<const N: usize>(
        program: impl Into<Program>,
        names: [&str; N],
    ) -> (Server, [Client; N]) {
        let server = Server::start(program);
        let clients = names.map(|name| server.client(name));
        (server, clients)
    }

    /// [`Server::start`] with [`Builder::under_strace`].
    ///
    /// # Panics
    ///
    /// As those do.
    #[must_use]
    pub fn start_under_strace(program: impl Into<Program>, options: &[&str]) -> Option<Server> {
        let builder = Server::builder(program).under_strace(options)?;
        Some(builder.start())
    }

    /// Starts with the defaults of [`Server::start`], to change some of them.
    #[must_use]
    pub fn builder(program: impl Into<Program>) -> Builder {
        Builder {
            program: program.into(),
            address: Some("127.0.0.1:0".to_owned()),
            is_traced: false,
            injection: None,
            unread: Vec::new(),
        }
    }
}

impl Builder {
    /// An argument to pass before the address.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Builder {
        self.program.arguments.push(argument.into());
        self
    }

    /// The address to pass as the last argument, instead of `127.0.0.1:0`.
    #[must_use]
    pub fn listen_on(mut self, address: impl Into<String>) -> Builder {
        self.address = Some(address.into());
        self
    }

    /// Passes no address.
    #[must_use]
    pub fn without_address(mut self) -> Builder {
        self.address = None;
        self
    }

    /// How many file descriptors the server may have open at once (`RLIMIT_NOFILE`, getrlimit(2)).
    #[must_use]
    pub fn descriptor_limit(mut self, descriptors: u32) -> Builder {
        // The shell lowers its own limit and then becomes the server.
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        self.program = self.program.started_by(["sh", "-c", &script]);
        self
    }

    /// Leaves the server's stdout unread after what comes first, a pipe that fills, until
    /// [`Server::read_output`] or [`Server::close_output`]. Until then no assertion on its lines can hold.
    #[must_use]
    pub fn leave_stdout_unread(mut self) -> Builder {
        self.unread.push(Kind::Stdout);
        self
    }

    /// The same for stderr, whose first line reports where the server listens.
    #[must_use]
    pub fn leave_stderr_unread(mut self) -> Builder {
        self.unread.push(Kind::Stderr);
        self
    }

    /// Runs the server under strace(1) with these options, to trace its system calls or to make them
    /// fail. Without `--output`, the calls are lines on the server's stderr, each written before the
    /// server continues. `None` where `strace` is not installed or not allowed: the calling test is
    /// reported as skipped.
    ///
    /// # Panics
    ///
    /// As [`skip`].
    #[must_use]
    pub fn under_strace(mut self, options: &[&str]) -> Option<Builder> {
        let attempt = "--daemonize --output /dev/null true".split(' ');
        let attempt = Command::new("strace").args(attempt).output();
        if !attempt.is_ok_and(|output| output.status.success()) {
            skip("strace is not installed, or not allowed");
            return None;
        }
        self.is_traced = true;
        self.injection = options.iter().find_map(|option| injection(option));
        // `--daemonize` makes strace a child of the server, which stays the process we started.
        // `--seccomp-bpf` stops the server only at the calls that are traced. `-q`: no word about itself.
        let strace = "strace -q --daemonize --follow-forks --seccomp-bpf".split(' ');
        let without_inherited = ["bash", "-c", WITHOUT_INHERITED, "bash"].into_iter();
        let words = without_inherited.chain(strace).chain(options.to_vec());
        self.program = self.program.started_by(words);
        Some(self)
    }

    /// Starts the server and waits until it prints where it listens, on stderr or on stdout.
    ///
    /// With `SERVER_ADDR` set it first waits until no other test uses that address, and then until
    /// the kernel has a listener there.
    ///
    /// # Panics
    ///
    /// If the program cannot be started, exits, or prints nothing until the deadline; with
    /// `SERVER_ADDR`, if another program has that address.
    #[must_use]
    pub fn start(self) -> Server {
        failure::server_starts();
        let start = Instant::now();
        let fixed_address = self.program.fixed_address;
        let server = self.spawn();
        server.wait_until_ready(fixed_address);
        failure::server_is_ready();
        hand_over(&[("started", &start.elapsed().as_millis().to_string())]);
        server
    }

    /// Starts the server and waits for nothing.
    ///
    /// # Panics
    ///
    /// If the program cannot be started.
    #[must_use]
    pub fn spawn(self) -> Server {
        let fixed_address = self.program.fixed_address;
        let port = fixed_address.map(lock_free_port);
        let mut command = self.program.command();
        let address = self.address.filter(|_| fixed_address.is_none());
        command.args(&address).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut spawn = || {
            let child = command.spawn();
            child.unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.path.display()))
        };
        let mut child = spawn();
        while self.is_traced && !is_traced(Pid::from_child(&child)) {
            child = spawn();
        }
        let wanted = fixed_address.or_else(|| address?.parse().ok());
        let log = Log::new(Pid::from_child(&child), wanted, self.injection);
        Server::watch(child, port, log, &self.unread)
    }
}

/// Waits until strace traces it. On a busy machine it may not be ready after three seconds: then it ends
/// what it was to trace by an alarm, and this returns false.
fn is_traced(server: Pid) -> bool {
    while !process::is_traced(server) && process::end(server).is_none() {
        thread::sleep(PAUSE);
    }
    process::end(server).and_then(|end| end.signal()) != Some(libc::SIGALRM)
}

/// What strace makes fail: `accept fail with EINTR` for `--inject=accept,accept4:error=EINTR:when=1`.
fn injection(option: &str) -> Option<String> {
    let (calls, rest) = option.strip_prefix("--inject=")?.split_once(":error=")?;
    let (call, error) = (calls.split(',').next()?, rest.split(':').next()?);
    Some(format!("{call} fail with {error}"))
}

fn lock_free_port(address: SocketAddr) -> File {
    let lock = lock_port(address);
    if let Err(e) = TcpListener::bind(address) {
        panic!("no server can be started at {address}: {e}");
    }
    lock
}
