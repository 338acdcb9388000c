//! A reader of stderr that is slow, or gone, harms nobody. The testkit reads stderr, so these tests
//! start the server themselves.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// More lines on stderr than a pipe and the log keep, 54 to 57 bytes each.
const REFUSED: usize = 8_000;

struct Server {
    child: Child,
    address: SocketAddr,
    stderr: Option<BufReader<ChildStderr>>,
}

impl Server {
    fn start() -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_milestone-5-harden"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim_start_matches("Listening on ").trim();
        Server {
            address: address.parse().unwrap(),
            child,
            stderr: Some(stderr),
        }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// Connects a client whose line is too long, and waits until the server has closed it.
    fn be_refused(&self) {
        let mut client = self.connect();
        // The server may close it while it still sends.
        let _ = client.write_all(&[b'x'; (64 << 10) + 1]);
        let _ = client.read(&mut [0]);
    }

    /// Two clients chat. Returns only if the server still serves.
    fn chat(&self) {
        let (mut alice, bob) = (self.connect(), self.connect());
        let mut bob = BufReader::new(bob);
        // Bob's own line comes back to alice once both are registered.
        bob.get_mut().write_all(b"ready\n").unwrap();
        let mut ready = [0; 6];
        alice.read_exact(&mut ready).unwrap();
        alice.write_all(b"still here\n").unwrap();
        let mut line = String::new();
        bob.read_line(&mut line).unwrap();
        assert_eq!(line, "still here\n");
        let _ = alice.shutdown(Shutdown::Both);
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milestone 4 stands still as soon as the pipe is full.
#[test]
fn an_unread_stderr_does_no_harm_and_dropped_lines_are_counted() {
    let mut server = Server::start();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..REFUSED / 4).for_each(|_| server.be_refused()));
        }
    });
    server.chat();
    let stderr = server.stderr.take().unwrap();
    let reader = thread::spawn(move || stderr.lines().map_while(Result::ok).collect::<Vec<_>>());
    assert_eq!(server.terminate(), Some(0));
    let said = reader.join().unwrap();
    let dropped = said.iter().filter_map(|line| {
        let count = line.strip_prefix("Dropped ")?;
        let count = count.strip_suffix(" lines of stderr: they could not be written")?;
        count.parse::<usize>().ok()
    });
    let dropped: usize = dropped.sum();
    let closed = said.iter().filter(|line| line.starts_with("Closing "));
    assert!(dropped > 0, "nothing was dropped");
    assert_eq!(closed.count() + dropped, REFUSED);
}

/// Milestone 4 panics at the next line that it prints.
#[test]
fn a_closed_stderr_does_no_harm() {
    let mut server = Server::start();
    server.stderr = None;
    for _ in 0..1_000 {
        server.be_refused();
    }
    server.chat();
    assert_eq!(server.terminate(), Some(0));
}
