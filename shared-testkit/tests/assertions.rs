//! The assertions fail when they should, and say what is needed to see why.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers are part of the tests"
)]

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::thread;
use std::time::Duration;

use shared_testkit::assert_cmd::assert::Assert;
use shared_testkit::behaviour::start;
use shared_testkit::predicates::constant::always;
use shared_testkit::predicates::str::starts_with;
use shared_testkit::{Builder, Client, Program, Server, assert_cmd, run_to_exit};

const DEADLINE_SCALE: &str = "TESTKIT_DEADLINE_SCALE";

/// Set for a test that runs once more in a process of its own.
const ONCE_MORE: &str = "TESTKIT_ONCE_MORE";

/// What a script ends with that waits until it is killed, as a server does: it reads a pipe that it
/// could write to itself. (`sleep` would be a pause of its own choice.)
const WAIT: &str = "pipe=$(mktemp -u); mkfifo $pipe; exec 3<>$pipe; rm $pipe; exec cat <&3";

/// A shell in the place of a server.
fn shell(script: &str) -> Builder {
    Server::builder("sh").argument("-c").argument(script)
}

/// A script that begins as a server does.
fn script(script: &str) -> Server {
    shell(&format!("echo 'Listening on 127.0.0.1:9' >&2; {script}")).start()
}

/// A server that says where this test listens in its place.
fn listening(script: &str) -> (Server, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = shell(&format!("echo 'Listening on {address}' >&2; {script}")).start();
    (server, listener)
}

/// The same with a client of it, and the server's end of the connection.
fn connected(script: &str) -> (Server, Client, TcpStream) {
    let (server, listener) = listening(script);
    let client = server.connect("alice");
    let (peer, _) = listener.accept().unwrap();
    (server, client, peer)
}

/// The assertion must fail, and say this.
#[track_caller]
fn fails<T>(assertion: impl FnOnce() -> T, parts: &[&str]) {
    let Err(payload) = panic::catch_unwind(AssertUnwindSafe(assertion)) else {
        panic!("the assertion held, and does not say {parts:?}");
    };
    let message = payload.downcast::<String>().unwrap();
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

/// Runs a test of this file once more in a process of its own, with another deadline.
fn once_more(test: &str, scale: &str) -> Assert {
    assert_cmd::Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DEADLINE_SCALE, scale)
        .env(ONCE_MORE, "1")
        // A stack trace is as long as the standard library likes it.
        .env("RUST_BACKTRACE", "0")
        .assert()
}

/// What a client's assertion says if these bytes come, and perhaps the end of file.
#[track_caller]
fn says(bytes: &[u8], has_ended: bool, assertion: fn(&mut Client), parts: &[&str]) {
    let (_server, mut alice, mut peer) = connected(WAIT);
    peer.write_all(bytes).unwrap();
    let _peer = (!has_ended).then_some(peer);
    fails(|| assertion(&mut alice), parts);
}

#[test]
fn what_came_is_shown_beside_what_was_expected() {
    says(
        b"Hello\tfrom B\n",
        false,
        |alice| alice.expect_line("Hello from A"),
        &[
            "alice did not receive what was expected",
            r#"expected: "Hello from A\n""#,
            r#"received: "Hello\tfrom B\n""#,
            "\n                  ^ they differ at byte 5\n",
            "server !  Listening on 127.0.0.1:",
            "alice  .  connects from 127.0.0.1:",
            r#"alice  <  "Hello\tfrom B\n""#,
        ],
    );
    let surprise = &["alice was not closed", r#"received: "surprise""#];
    says(b"surprise", true, Client::expect_closed, surprise);
    let no_line = &["alice did not receive a line", "\"Hel\", then end of file"];
    says(b"Hel", true, |alice| drop(alice.receive_line()), no_line);
}

#[test]
fn what_the_server_prints_is_shown() {
    let server = script("echo one; echo two; echo three >&2; echo 'Four!'");
    server.expect_line("one");
    fails(
        // At once: this server has ended, so nothing more can come.
        || server.expect_line("Four"),
        &[
            "the server did not print what was expected",
            "expected: | Four",
            // What was meant to be the line comes first.
            "received: | Four!",
            "| two",
            "! three",
        ],
    );
    // A line is taken only once, and only from its own stream.
    let server = script("echo same; echo same; echo to stderr >&2");
    server.expect_lines(["same", "same"]);
    fails(|| server.expect_line("same"), &["did not print"]);
    fails(|| server.expect_line("to stderr"), &["! to stderr"]);
    fails(|| server.expect_stderr(starts_with("same")), &[]);

    let server = script("for n in 1 2 3 4 5 6 7; do echo line $n; done");
    server.expect_line("line 7");
    fails(
        || server.expect_no_more_lines(),
        &["printed more than was expected", "| line 3", "(and 3 more)"],
    );
}

#[test]
fn a_server_that_is_not_at_rest() {
    // A line that is still to come counts as well.
    let server = script("echo one; sleep 0.2; echo two");
    server.expect_line("one");
    fails(|| server.expect_no_more_lines(), &["| two"]);
    let idle = ["the server does not sleep", "asleep 0 times of 50"];
    fails(|| script("while :; do :; done").expect_idle(), &idle);
}

#[test]
fn a_program_that_does_not_run() {
    let nowhere = "no/such/program";
    fails(|| Server::start(nowhere), &["cannot start no/such/program"]);
    let silent = [
        "did not report where it listens",
        "! no such luck",
        "[does-not-start]",
    ];
    fails(|| shell("echo no such luck >&2; exit 3").start(), &silent);
    let mut server = script("exit 3");
    server.expect_exit();
    let ended = ["the server has ended", "has ended, exit status 3"];
    fails(|| server.expect_running(), &ended);
    for (program, rule) in [("true", "[exit-status]"), ("false", "[error-text]")] {
        let refuses = || start::refuses_a_second_argument(Program::from(program));
        fails(refuses, &["did not end with a clear error", rule]);
    }
}

/// A runtime opens pipes and files of its own.
#[test]
fn only_tcp_sockets_are_counted() {
    assert_eq!(script(WAIT).tcp_sockets(), 0);
}

#[test]
fn nothing_comes_until_the_deadline() {
    if env::var_os(ONCE_MORE).is_none() {
        once_more("nothing_comes_until_the_deadline", "0.1").success();
        return;
    }
    let (server, _listener) = listening(WAIT);
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|name| server.connect(name));
    let silence = "received: nothing more in 2 s";
    let never = || server.wait_until("pigs fly", || false);
    let not_registered = "the server did not register dave";
    // More than the kernel takes for a peer that does not read.
    let too_much = || carol.send(vec![b'x'; 64 << 20]);
    let stuck = ["carol could not send", "bytes were sent, then:"];
    // All at once, because each of them waits until the deadline.
    thread::scope(|scope| {
        scope.spawn(|| fails(|| alice.expect_line("Hello"), &[silence]));
        scope.spawn(|| fails(|| bob.expect_closed(), &["bob was not closed", silence]));
        scope.spawn(|| fails(|| server.expect_line("Hello"), &[silence]));
        scope.spawn(|| fails(|| server.client("dave"), &[not_registered]));
        scope.spawn(|| fails(never, &["did not happen", "expected: pigs fly"]));
        scope.spawn(|| fails(too_much, &stuck));
    });
}

/// All that a learner has to read: what came, the log, whether the server lives, and the lesson. So does
/// what fails without a server, or by an `assert` of the standard library.
#[test]
fn a_failure_fits_a_terminal_and_teaches() {
    if env::var_os(ONCE_MORE).is_some() {
        fail_in("keeps_half_lines", fail_at_length);
        fail_in("tokens_count_up_from_1", || {
            let server = script(&format!("echo what the server said; {WAIT}"));
            server.expect_line("what the server said");
            assert_eq!(1, 2);
        });
        return fail_in("refuses_a_second_argument", || {
            run_to_exit("true", ["argument"]).failure();
        });
    }
    let output = once_more("a_failure_fits_a_terminal_and_teaches", "1").success();
    let output = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    for part in [
        "^ they differ at byte 100; shown from 86 on",
        "earlier events left out",
        "its last words: cannot go on",
        "the test: half a line stays in the buffer until its newline arrives",
        "cause: The server ended (exit status 3: \"cannot go on\").",
        "read: docs/src/3-broadcast.md, 'One way out'",
        "server |  what the server said",
        "read: docs/src/2-register.md, 'A token for each client'",
        "read: docs/src/1-accept.md, 'Start, or say why not'",
    ] {
        assert!(output.contains(part), "no {part:?} in:\n{output}");
    }
    for failure in output.split("\nthread '") {
        let is_narrow = |line: &str| line.chars().count() <= 80;
        // The first line names the place in the source, and is Rust's own.
        assert!(
            failure.lines().skip(1).all(is_narrow),
            "too wide:\n{failure}"
        );
        assert!(failure.lines().count() <= 32, "too long:\n{failure}");
    }
}

/// libtest gives a test's thread its name, by which its lesson is found.
fn fail_in(test: &str, assertion: fn()) {
    let thread = thread::Builder::new().name(test.to_owned());
    thread.spawn(assertion).unwrap().join().unwrap_err();
}

/// Fails after many lines of a server that ends with an error.
fn fail_at_length() {
    let (server, mut alice, mut peer) =
        connected("seq -s ' ' 40; seq 40; echo cannot go on >&2; exit 3");
    let mut message = [b'x'; 200];
    peer.write_all(&message[..150]).unwrap();
    drop(peer);
    server.expect_line("40");
    message[100] = b'y';
    alice.expect_bytes(message);
}

/// What a server prints without end does not fill the memory, whatever it is.
#[test]
fn a_server_that_prints_without_end() {
    let server = script("exec yes \"$(printf 'one\\ntwo')\"");
    fails(|| server.expect_line("three"), &["did not print"]);
    assert!(server.stdout_lines().len() <= 100_000);
}

#[test]
fn a_dropped_server_is_killed() {
    let server = script(&format!("echo $$; {WAIT}"));
    let process = Path::new("/proc").join(server.expect_match(always()));
    assert!(process.exists());
    drop(server);
    assert!(!process.exists());
}

/// A child that has ended, and whose exit status nobody has asked for, does nothing.
#[test]
fn a_zombie_is_at_rest() {
    // It ends when the shell has become `cat`: a shell would ask.
    let child = "until grep -q cat /proc/$$/comm; do :; done & echo $!; exec cat";
    let server = script(&WAIT.replace("exec cat", child));
    let child = server.expect_match(always());
    let state = Path::new("/proc").join(child).join("stat");
    server.wait_until("the child is a zombie", || {
        fs::read_to_string(&state).unwrap().contains(") Z ")
    });
    server.wait_until_asleep();
}

#[test]
fn a_client_is_not_inherited_by_the_next_server() {
    let (_server, alice, mut peer) = connected(WAIT);
    let _next = script(WAIT);
    alice.leave();
    let mut nothing = [0];
    peer.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(peer.read(&mut nothing).unwrap(), 0, "end of file");
}
