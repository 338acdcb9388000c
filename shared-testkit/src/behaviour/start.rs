//! How every milestone starts, and what it prints when it cannot.

use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;

use predicates::str::starts_with;
use rustix::io::Errno;

use crate::failure;
use crate::harness::port_lock::lock_port;
use crate::lines::LISTENING;
use crate::{Builder, Program, Server, has_ipv6, run_to_exit};

/// Port 0 lets the kernel choose, and the first line reports what it chose.
pub fn reports_the_port_that_the_kernel_chose(program: Program) {
    if !program.takes_an_address() {
        return;
    }
    let server = Server::start(program);
    assert_ne!(server.address().port(), 0);
    server.connect("alice").leave();
    server.expect_match(starts_with("Accepted connection from 127.0.0.1:"));
}

/// An IPv6 address is given in brackets, as in a URL.
pub fn listens_on_ipv6(program: Program) {
    if !has_ipv6() || !program.takes_an_address() {
        return;
    }
    let server = Server::builder(program).listen_on("[::1]:0").start();
    server.connect("alice").leave();
    server.expect_match(starts_with("Accepted connection from [::1]:"));
}

/// A server that was ended can be started again on its port at once, although the kernel still keeps
/// its end of a connection (`SO_REUSEADDR`, socket(7)).
pub fn starts_again_on_its_port(program: Program) {
    if !program.takes_an_address() {
        return;
    }
    let server = Server::start(program.clone());
    let address = server.address();
    let mut alice = server.connect("alice");
    server.expect_match(starts_with("Accepted connection from "));
    drop(server);
    alice.expect_closed();

    let server = Server::builder(program)
        .listen_on(address.to_string())
        .start();
    assert_eq!(server.address(), address);
}

/// Without an argument it is 127.0.0.1:8080. Another program may have that port, or just be giving
/// it up: the first line names it in either case.
pub fn listens_on_port_8080_by_default(program: Program) {
    if !program.takes_an_address() {
        return;
    }
    let default = SocketAddr::from(([127, 0, 0, 1], 8080));
    let _lock = lock_port(default);
    let line = Server::builder(program)
        .without_address()
        .spawn()
        .first_line();
    assert!(
        line.contains("127.0.0.1:8080"),
        "without an argument it prints {line:?}"
    );
}

/// One clear error that names the address, exit status 1, and nothing on stdout.
pub fn refuses_a_malformed_address(program: Program) {
    if !program.takes_an_address() {
        return;
    }
    for address in ["", "8080", "127.0.0.1", "localhost:8080", "127.0.0.1:99999"] {
        refuses(program.clone(), Some(address), &[address]);
    }
    // Not Unicode: no text names it, but it is refused like the others.
    let bytes = OsStr::from_bytes(b"127.0.0.1:80\xff");
    refuses(program, [bytes], &["127.0.0.1:80"]);
}

/// A second address would be ignored silently.
pub fn refuses_a_second_argument(program: Program) {
    if !program.takes_an_address() {
        return;
    }
    let second = "127.0.0.1:8081";
    refuses(program, ["127.0.0.1:0", second], &[second]);
}

/// Row 2: a port in use is one clear error that names the address and the cause, exit status 1.
pub fn row_2_a_port_in_use_is_a_clear_error(program: Program) {
    let fixed = program.fixed_address;
    let _lock = fixed.map(lock_port);
    let wanted = fixed.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let taken = TcpListener::bind(wanted).expect("a free port");
    let address = taken.local_addr().expect("the listener has an address");
    let argument = fixed.is_none().then(|| address.to_string());
    // The C library's wording, as Rust and Python repeat it. Go writes the same in lower case.
    let cause = io::Error::from(Errno::ADDRINUSE).to_string();
    let (cause, _) = cause.split_once(" (os error").unwrap_or((&cause, ""));
    refuses(program, argument, &[&address.to_string(), cause]);
}

/// Exit status 1, nothing on stdout, and an error with these words. The rest of its wording is each
/// server's own affair.
#[track_caller]
fn refuses<A: AsRef<OsStr>>(
    program: Program,
    arguments: impl IntoIterator<Item = A>,
    words: &[&str],
) {
    let assert = run_to_exit(program, arguments);
    let output = assert.get_output();
    // A server in C may repeat bytes that are not Unicode.
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_clear = stderr.starts_with("Error: ") && !stderr.contains("panicked");
    let has = |word: &str| stderr.to_lowercase().contains(&word.to_lowercase());
    let is_refusal = is_clear && output.stdout.is_empty() && words.iter().all(|word| has(word));
    if output.status.code() != Some(1) || !is_refusal {
        failure::fail_refusal(output, words);
    }
}

/// Row 1: a signal that interrupts `poll` is no error (Ctrl-Z, then `fg`).
pub fn row_1_survives_stop_and_continue(program: Program) {
    let mut server = Server::start(program);
    for name in ["alice", "bob", "carol"] {
        // Let it fall asleep in `poll` first: being interrupted there is EINTR.
        server.wait_until_asleep();
        server.stop();
        server.resume();
        let client = server.connect(name);
        server.expect_line(&format!("Accepted connection from {}", client.address()));
    }
    server.expect_running();
    server.wait_until_asleep();
    let mut errors = server.stderr_lines().into_iter();
    let error = errors.find(|line| !line.starts_with(LISTENING));
    assert_eq!(error, None, "the error reported");
}

/// An error of `poll` that is not an interruption ends the server, which could only spin otherwise.
/// `strace` makes the calls fail.
pub fn ends_when_polling_fails(program: Program) {
    // It may end as soon as it listens, so nothing shows that it did.
    if !program.takes_an_address() {
        return;
    }
    let inject = "--inject=?epoll_wait,epoll_pwait,?epoll_pwait2:error=EBADF";
    let traced = Server::builder(program).under_strace(&[
        "--trace=?epoll_wait,epoll_pwait,?epoll_pwait2",
        "--output=/dev/null",
        inject,
    ]);
    // Some runtimes poll before they listen.
    let Some(mut server) = traced.map(Builder::spawn) else {
        return;
    };
    assert_ne!(server.expect_exit(), Some(0), "its exit status");
}
