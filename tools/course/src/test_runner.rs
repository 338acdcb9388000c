//! Runs a chapter's tests the way a learner does: against a command of their own (`SERVER_CMD`).

use std::collections::BTreeMap;
use std::env;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use serde_json::Value;
use shared_testkit::assert_cmd;
use shared_testkit::env::{DEADLINE_SCALE, REPORT, SERVER_ADDR, SERVER_CMD};

use crate::workspace::{EXAMPLES, root, unnamed_file};

/// How many tests run at once, of all suites together: more than there are cores, because a failing test
/// mostly waits, and not so many that one which works is starved.
pub const AT_ONCE: usize = 64;

/// The built tests of one chapter, and how they are run.
#[derive(Clone)]
pub struct Suite {
    /// The chapter's own program.
    pub program: PathBuf,
    /// Every deadline, as a fraction of the usual 20 seconds: a tenth, because only failing tests get that
    /// far.
    pub deadline_scale: f64,
    /// For a command that always listens on this address and takes no argument (`SERVER_ADDR`).
    pub server_address: Option<SocketAddr>,
    /// When a test is killed that has not ended. With a server that hangs, that is how long a whole run
    /// takes, because a chapter has fewer tests than run at once.
    pub time_limit: Option<Duration>,
    /// How many tests run at once.
    pub at_once: usize,
    /// The folder in which cargo would run them.
    directory: PathBuf,
    tests: Vec<Test>,
}

#[derive(Clone)]
struct Test {
    binary: PathBuf,
    name: String,
}

/// The result of one test.
pub struct Outcome {
    /// The name of the test function.
    pub test: String,
    /// Whether it passed or was skipped.
    pub passed: bool,
    /// Whether it was killed, because it did not end in time.
    pub was_killed: bool,
    /// Everything that it printed: stdout, then stderr.
    pub output: String,
    /// What it has reported about itself, in order: the start of a server, a part that was skipped, and
    /// how it failed.
    pub reports: Vec<Report>,
}

/// Named texts, as the testkit hands them over ([`REPORT`]).
pub type Report = BTreeMap<String, String>;

impl Outcome {
    /// What it has reported under this name: how long its first server took to `started`, in milliseconds,
    /// or why it, or a part of it, was `skipped`.
    pub fn reported(&self, name: &str) -> Option<&str> {
        let mut reports = self.reports.iter();
        let text = reports.find_map(|report| report.get(name));
        text.map(String::as_str)
    }

    /// What the testkit has reported of its failure under this name, or else an empty text.
    pub fn get(&self, name: &str) -> &str {
        let mut reports = self.reports.iter();
        let failure = reports.find(|report| report.contains_key("title"));
        let text = failure.and_then(|failure| failure.get(name));
        text.map_or("", String::as_str)
    }

    /// Why it cannot hold, in the runtime that the server is written for.
    pub fn limit(&self) -> Option<&str> {
        (self.get("certainty") == "limit").then(|| self.get("cause"))
    }
}

impl Suite {
    /// Builds the tests of a package: `article.rs`, `departures.rs` and `attacks.rs`, as far as its
    /// folder `tests` has them.
    ///
    /// # Panics
    ///
    /// If they cannot be built.
    pub fn of(package: &str) -> Suite {
        Suite::build(package).unwrap_or_else(|e| panic!("{e}"))
    }

    /// [`Suite::of`] for a package that may be broken.
    ///
    /// # Errors
    ///
    /// The compiler's messages if the tests cannot be built.
    pub fn build(package: &str) -> Result<Suite, String> {
        let directory = root().join(package);
        // As the learner builds them, so that nothing is built twice.
        let mut arguments = vec!["test", "--no-run", "--package", package];
        for target in ["article", "departures", "attacks"] {
            if directory.join(format!("tests/{target}.rs")).exists() {
                arguments.extend(["--test", target]);
            }
        }
        let built = built_by_cargo(&arguments, &root())?;
        let (mut programs, tests): (Vec<_>, Vec<_>) =
            built.into_iter().partition(|(kind, _)| kind == "bin");
        let (_, program) = programs.pop().expect("its tests need its program");
        Ok(Suite {
            program,
            deadline_scale: 0.1,
            server_address: None,
            time_limit: None,
            at_once: AT_ONCE,
            directory,
            tests: tests
                .into_iter()
                .flat_map(|(_, path)| tests_in(path))
                .collect(),
        })
    }

    /// Tests that are meant to pass need the whole time on a busy machine.
    pub fn deadline_scale(mut self, scale: f64) -> Suite {
        self.deadline_scale = scale;
        self
    }

    /// Leaves out the tests that are not wanted.
    pub fn only(mut self, wanted: impl Fn(&str) -> bool) -> Suite {
        self.tests.retain(|test| wanted(&test.name));
        self
    }

    /// The names of all tests.
    pub fn names(&self) -> Vec<String> {
        self.tests.iter().map(|test| test.name.clone()).collect()
    }

    /// Runs the wanted tests against a command line (`SERVER_CMD`), each in its own process and
    /// several at once.
    ///
    /// # Panics
    ///
    /// If a test cannot be run at all.
    pub fn run(&self, server_command: &str, wanted: impl Fn(&str) -> bool) -> Vec<Outcome> {
        self.run_counting(server_command, wanted, |_| {})
    }

    /// [`Suite::run`], which reports after each test how many have ended.
    ///
    /// # Panics
    ///
    /// If a test cannot be run at all.
    pub fn run_counting(
        &self,
        server_command: &str,
        wanted: impl Fn(&str) -> bool,
        report: impl Fn(usize) + Sync,
    ) -> Vec<Outcome> {
        let tests = self.tests.iter().filter(|test| wanted(&test.name));
        let ended = AtomicUsize::new(0);
        let run_one = &|test| {
            let outcome = self.run_one(test, server_command);
            report(ended.fetch_add(1, Ordering::Relaxed) + 1);
            outcome
        };
        thread::scope(|scope| {
            let running = tests.map(|test| scope.spawn(move || run_one(test)));
            let running: Vec<_> = running.collect();
            let join = |thread: ScopedJoinHandle<_>| thread.join().expect("the test can be run");
            running.into_iter().map(join).collect()
        })
    }

    fn run_one(&self, test: &Test, server_command: &str) -> Outcome {
        let _place = Place::take(self.at_once);
        let (report, report_path) = unnamed_file();
        let address = self.server_address.map(|address| address.to_string());
        let mut command = Command::new(&test.binary);
        command
            .args(["--exact", &test.name, "--nocapture"])
            .current_dir(&self.directory)
            .env(SERVER_CMD, server_command)
            .env_remove(SERVER_ADDR)
            .envs(address.map(|address| (SERVER_ADDR, address)))
            .env(DEADLINE_SCALE, self.deadline_scale.to_string())
            .env(REPORT, report_path)
            // It would show where the test is, and nobody looks for the fault there.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null());
        let mut command = assert_cmd::Command::from_std(command);
        if let Some(limit) = self.time_limit {
            command.timeout(limit);
        }
        let output = command.output().expect("a test that was built can be run");
        let text = [output.stdout, output.stderr].concat();
        let report = BufReader::new(report);
        let reports = serde_json::Deserializer::from_reader(report).into_iter();
        Outcome {
            test: test.name.clone(),
            passed: output.status.success(),
            was_killed: output.status.code().is_none(),
            output: String::from_utf8_lossy(&text).into_owned(),
            reports: reports.map_while(Result::ok).collect(),
        }
    }
}

/// One of the places for a test that runs.
struct Place;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Place {
    /// Waits until a place is free.
    fn take(places: usize) -> Place {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = GIVEN_BACK.wait_while(taken, |taken| *taken >= places);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        // Those that wait may have different limits.
        GIVEN_BACK.notify_all();
    }
}

/// Builds a program of the workspace and returns its path.
///
/// # Panics
///
/// If it cannot be built.
pub fn program(name: &str) -> PathBuf {
    let arguments = ["build", "--package", name];
    let built = built_by_cargo(&arguments, &root()).unwrap_or_else(|e| panic!("{e}"));
    let mut paths = built.into_iter().map(|(_, path)| path);
    paths.next().expect("cargo reports what it has built")
}

/// Compiles the server in C, next to the workspace's own programs, and returns its path.
///
/// # Panics
///
/// If it cannot be compiled.
pub fn server_in_c() -> PathBuf {
    let server = program("mistaken").with_file_name("chat-c");
    let source = root().join(EXAMPLES).join("chat.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-o"]).args([&server, &source]);
    let is_compiled = gcc.status().is_ok_and(|status| status.success());
    assert!(is_compiled, "gcc compiles chat.c");
    server
}

/// A program as a command line for [`Suite::run`].
///
/// # Panics
///
/// If its path is not Unicode.
pub fn command(program: &Path) -> String {
    let path = program.to_str().expect("the path is Unicode");
    let quoted = shlex::try_quote(path).expect("a path has no NUL");
    quoted.into_owned()
}

/// An address for a server that cannot be told port 0 ([`Suite::server_address`]).
///
/// It is below the ports that the kernel chooses from (`ip_local_port_range`, ip(7)), so that no other
/// test's server gets the same one by chance, and in another place each time, so that two runs do not meet.
///
/// # Panics
///
/// If none of a thousand ports is free.
pub fn free_address() -> SocketAddr {
    let first = 20_000 + (process::id() % 10_000) as u16;
    let mut addresses = (first..first + 1_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let address = addresses.find(|address| TcpListener::bind(address).is_ok());
    address.expect("a port is free")
}

fn tests_in(binary: PathBuf) -> Vec<Test> {
    let mut list = Command::new(&binary);
    let list = list.args(["--list", "--format", "terse"]).output();
    let list = list.expect("a test that was built can be run").stdout;
    let list = String::from_utf8_lossy(&list);
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let test = |name: &str| Test {
        binary: binary.clone(),
        name: name.to_owned(),
    };
    names.map(test).collect()
}

/// Runs cargo in this folder and returns the executables that it has built, each after its kind (`bin` or
/// `test`), as it reports them: a file in the target folder may be out of date.
///
/// # Errors
///
/// The compiler's messages if they cannot be built.
pub fn built_by_cargo(arguments: &[&str], folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let mut cargo = cargo();
    cargo.args(arguments);
    // The same profile as this test, so that what is built already can be used.
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(folder)
        .output()
        .expect("cargo can be run");
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo failed:\n{errors}"));
    }
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let built = messages.map_while(Result::ok).filter_map(|message| {
        let kind = message["target"]["kind"][0].as_str()?;
        Some((kind.to_owned(), message["executable"].as_str()?.into()))
    });
    Ok(built.collect())
}

/// The cargo that runs this test.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether `PATH` has this program.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
