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

use shared_testkit::behaviour::start;
use shared_testkit::predicates::prelude::predicate::str::contains;
use shared_testkit::predicates::str::starts_with;
use shared_testkit::{Client, Program, Server, assert_cmd, run_to_exit};

const DEADLINE_SCALE: &str = "TESTKIT_DEADLINE_SCALE";

/// Set for a test that runs once more in a process of its own.
const ONCE_MORE: &str = "TESTKIT_ONCE_MORE";

/// What a script ends with that waits until it is killed, as a server does: it reads a pipe that it
/// could write to itself. (`sleep` would be a pause of its own choice.)
const WAIT: &str = "pipe=$(mktemp -u); mkfifo $pipe; exec 3<>$pipe; rm $pipe; exec cat <&3";

/// A shell script in the place of a server.
fn script(script: &str) -> Server {
    let script = format!("echo 'Listening on 127.0.0.1:9' >&2; {script}");
    Server::builder("sh")
        .argument("-c")
        .argument(script)
        .start()
}

/// A server that says where this test listens in its place.
fn listening() -> (Server, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = format!("echo 'Listening on {address}' >&2; {WAIT}");
    let server = Server::builder("sh")
        .argument("-c")
        .argument(script)
        .start();
    (server, listener)
}

/// The same with a client of it, and the server's end of the connection.
fn connected() -> (Server, Client, TcpStream) {
    let (server, listener) = listening();
    let client = server.connect("alice");
    let (peer, _) = listener.accept().unwrap();
    (server, client, peer)
}

/// What an assertion says when it fails, which it has to.
fn failure<T>(assertion: impl FnOnce() -> T) -> String {
    let payload = match panic::catch_unwind(AssertUnwindSafe(assertion)) {
        Ok(_) => panic!("the assertion held"),
        Err(payload) => payload,
    };
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[track_caller]
fn assert_has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
}

/// Runs a test of this file once more in a process of its own, with another deadline.
fn once_more(test: &str, scale: &str) -> assert_cmd::assert::Assert {
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
fn says<T>(bytes: &[u8], has_ended: bool, assertion: fn(&mut Client) -> T, parts: &[&str]) {
    let (_server, mut alice, mut peer) = connected();
    peer.write_all(bytes).unwrap();
    let _peer = (!has_ended).then_some(peer);
    assert_has(&failure(|| assertion(&mut alice)), parts);
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
    let half = &[r#"received: "Hel", then end of file"#];
    says(b"Hel", true, |alice| alice.expect_line("Hello"), half);
    let surprise = &["alice was not closed", r#"received: "surprise""#];
    says(b"surprise", true, Client::expect_closed, surprise);
    let cut = &[
        "alice did not receive a line",
        r#""cut o", then end of file"#,
    ];
    says(b"cut o", true, Client::receive_line, cut);
    let mut bytes = [b'x'; 5000];
    bytes[4321] = 0xff;
    let far = &[
        r#"received: "xxxxxxxxxxxxxx\xffxxx"#,
        "\n                           ^ they differ at byte 4321; shown from 4307 on",
    ];
    says(&bytes, false, |alice| alice.expect_bytes([b'x'; 5000]), far);
}

#[test]
fn a_line_that_nobody_waits_for_is_kept() {
    let (_server, mut alice, mut peer) = connected();
    peer.write_all(b"one\ntwo\n").unwrap();
    alice.expect_line("one");
    alice.expect_line("two");
}

#[test]
fn nothing_comes_until_the_deadline() {
    if env::var_os(ONCE_MORE).is_none() {
        once_more("nothing_comes_until_the_deadline", "0.1").success();
        return;
    }
    let (server, _listener) = listening();
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|name| server.connect(name));
    let silence = "received: nothing more in 2 s";
    // All at once, because each of them waits until the deadline.
    thread::scope(|scope| {
        scope.spawn(|| assert_has(&failure(|| alice.expect_line("Hello")), &[silence]));
        scope.spawn(|| {
            let parts = ["bob was not closed", silence];
            assert_has(&failure(|| bob.expect_closed()), &parts);
        });
        scope.spawn(|| assert_has(&failure(|| server.expect_line("Hello")), &[silence]));
        scope.spawn(|| {
            let parts = [
                "the server did not register dave",
                "Accepted connection from",
            ];
            assert_has(&failure(|| server.client("dave")), &parts);
        });
        scope.spawn(|| {
            let never = || server.wait_until("pigs fly", || false);
            assert_has(&failure(never), &["did not happen", "expected: pigs fly"]);
        });
        scope.spawn(|| {
            // More than the kernel takes for a peer that does not read.
            let message = failure(|| carol.send(vec![b'x'; 64 << 20]));
            assert_has(
                &message,
                &["carol could not send", "bytes were sent, then:"],
            );
        });
    });
}

#[test]
fn a_deadline_scale_that_is_no_number() {
    if env::var_os(ONCE_MORE).is_none() {
        for scale in ["three", "-1", "0", "NaN", ""] {
            once_more("a_deadline_scale_that_is_no_number", scale).success();
        }
        return;
    }
    let message = failure(|| script(WAIT));
    assert_has(
        &message,
        &["TESTKIT_DEADLINE_SCALE must be a positive number, not"],
    );
}

#[test]
fn a_failure_of_any_kind_shows_the_log() {
    if env::var_os(ONCE_MORE).is_none() {
        once_more("a_failure_of_any_kind_shows_the_log", "1")
            .failure()
            .stderr(contains("server |  what the server said"));
        return;
    }
    let server = script(&format!("echo what the server said; {WAIT}"));
    server.expect_line("what the server said");
    panic!("not by an assertion of the testkit");
}

/// All that a learner has to read: what came, the log, whether the server lives, and the lesson.
#[test]
fn a_failure_fits_a_terminal_and_teaches() {
    if env::var_os(ONCE_MORE).is_some() {
        // libtest gives a test's thread its name, by which its lesson is found.
        let thread = thread::Builder::new().name("keeps_half_lines".to_owned());
        thread.spawn(fail_at_length).unwrap().join().unwrap_err();
        return;
    }
    let output = once_more("a_failure_fits_a_terminal_and_teaches", "1").success();
    let output = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert_has(
        &output,
        &[
            "alice did not receive what was expected",
            "^ they differ at byte 100; shown from 86 on",
            "earlier events left out",
            "the server: has ended, exit status 3",
            "its last words: cannot go on",
            "the test: half a line stays in the buffer until its newline arrives",
            "cause: The server ended (exit status 3: \"cannot go on\").",
            "read: docs/src/3-broadcast.md, 'One way out'",
        ],
    );
    assert!(output.lines().count() <= 32, "too long:\n{output}");
    // The line that names the place in the source is Rust's own.
    let is_narrow = |line: &str| line.chars().count() <= 80 || line.starts_with("thread '");
    assert!(output.lines().all(is_narrow), "too wide:\n{output}");
}

/// Fails after many lines of a server that ends with an error.
fn fail_at_length() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = format!(
        "echo 'Listening on {address}'; seq -s ' ' 40; seq 40; echo cannot go on >&2; exit 3"
    );
    let builder = Server::builder("sh").argument("-c").argument(script);
    let server = builder.start();
    let mut alice = server.connect("alice");
    let (mut peer, _) = listener.accept().unwrap();
    let mut message = [b'x'; 200];
    peer.write_all(&message[..150]).unwrap();
    drop(peer);
    server.expect_line("40");
    message[100] = b'y';
    alice.expect_bytes(message);
}

/// What fails without a server, or by an `assert` of the standard library, teaches as well.
#[test]
fn a_plain_assertion_teaches_too() {
    if env::var_os(ONCE_MORE).is_none() {
        once_more("a_plain_assertion_teaches_too", "1")
            .success()
            .stderr(contains("server |  what the server said"))
            .stderr(contains("server: "))
            .stderr(contains(
                "read: docs/src/2-register.md, 'A token for each client'",
            ))
            .stderr(contains(
                "read: docs/src/1-accept.md, 'Start, or say why not'",
            ));
        return;
    }
    let fail = |test: &str, assertion: fn()| {
        let thread = thread::Builder::new().name(test.to_owned());
        thread.spawn(assertion).unwrap().join().unwrap_err();
    };
    fail("tokens_count_up_from_1", || {
        let server = script(&format!("echo what the server said; {WAIT}"));
        server.expect_line("what the server said");
        assert_eq!(1, 2);
    });
    fail("refuses_a_second_argument", || {
        run_to_exit("true", ["argument"]).failure();
    });
}

#[test]
fn a_line_that_the_server_does_not_say() {
    let server = script("echo one; echo two; echo three >&2; echo 'Four!'");
    server.expect_line("one");
    // It fails at once: this server has ended, so nothing more can come.
    let message = failure(|| server.expect_line("Four"));
    let parts = [
        "the server did not print what was expected",
        "expected: | Four",
        "| two",
        "! three",
    ];
    assert_has(&message, &parts);
    // What was meant to be the line comes first.
    assert_has(&message, &["received: | Four!"]);
    assert!(
        !message.contains("            | one"),
        "it was expected:\n{message}"
    );
}

#[test]
fn a_line_is_taken_only_once() {
    let server = script("echo same; echo same");
    server.expect_lines(["same", "same"]);
    failure(|| server.expect_line("same"));
}

#[test]
fn a_line_on_the_other_stream_does_not_count() {
    let server = script("echo to stdout; echo to stderr >&2");
    failure(|| server.expect_line("to stderr"));
    failure(|| server.expect_stderr(starts_with("to stdout")));
    server.expect_line("to stdout");
    assert_eq!(server.expect_stderr(starts_with("to")), "to stderr");
}

#[test]
fn more_lines_than_expected() {
    let server = script("for n in 1 2 3 4 5 6 7; do echo line $n; done");
    server.expect_line("line 7");
    let message = failure(|| server.expect_no_more_lines());
    assert_has(
        &message,
        &[
            "the server printed more than was expected",
            "| line 3",
            "(and 3 more)",
        ],
    );
    server.expect_lines((1..=6).map(|n| format!("line {n}")));
    server.expect_no_more_lines();
}

/// A line that is still to come counts as well: a server that pauses by `nanosleep` is not at rest.
#[test]
fn a_line_after_a_pause() {
    let server = script(&format!("echo one; sleep 0.2; echo two; {WAIT}"));
    server.expect_line("one");
    let message = failure(|| server.expect_no_more_lines());
    assert_has(&message, &["printed more than was expected", "| two"]);
}

#[test]
fn a_server_that_ends_instead_of_listening() {
    let message = failure(|| {
        Server::builder("sh")
            .argument("-c")
            .argument("echo no such luck >&2; exit 3")
            .start()
    });
    assert_has(
        &message,
        &[
            "did not report where it listens",
            "! no such luck",
            "[does-not-start]",
        ],
    );
}

#[test]
fn a_program_that_does_not_refuse_its_arguments() {
    for (program, rule) in [("true", "[exit-status]"), ("false", "[no-error]")] {
        let message = failure(|| start::refuses_a_second_argument(Program::from(program)));
        assert_has(&message, &["did not end with a clear error", rule]);
    }
}

#[test]
fn a_program_that_is_not_there_and_a_server_that_has_ended() {
    let message = failure(|| Server::start("no/such/program"));
    assert_has(&message, &["cannot start no/such/program"]);
    let mut server = script("exit 3");
    server.expect_exit();
    let message = failure(|| server.expect_running());
    assert_has(&message, &["the server has ended", "exit status: 3"]);
}

#[test]
fn a_server_that_spins() {
    let server = script("while :; do :; done");
    let message = failure(|| server.expect_idle());
    assert_has(
        &message,
        &["the server does not sleep", "asleep 0 times of 50"],
    );
}

/// What a server prints without end does not fill the memory, whatever it is.
#[test]
fn a_server_that_prints_without_end() {
    let script = "echo 'Listening on 127.0.0.1:9'; exec yes \"$(printf 'one\\ntwo')\"";
    let server = Server::builder("sh")
        .argument("-c")
        .argument(script)
        .start();
    failure(|| server.expect_line("three"));
    assert!(server.stdout_lines().len() <= 100_000);
}

#[test]
fn a_dropped_server_is_killed() {
    let server = script(&format!("echo $$; {WAIT}"));
    let pid = server.expect_match(contains(""));
    let process = Path::new("/proc").join(pid);
    assert!(process.exists());
    drop(server);
    assert!(!process.exists());
}

#[test]
fn a_stopped_server_goes_on_when_it_is_resumed() {
    let server = script(WAIT);
    server.stop();
    server.resume();
    server.wait_until_asleep();
}

/// A child that has ended, and whose exit status nobody has asked for, does nothing.
#[test]
fn a_zombie_is_at_rest() {
    // It ends when the shell has become `cat`: a shell would ask.
    let child = "until grep -q cat /proc/$$/comm; do :; done & echo $!; exec cat";
    let server = script(&WAIT.replace("exec cat", child));
    let child = server.expect_match(contains(""));
    let state = Path::new("/proc").join(child).join("stat");
    server.wait_until("the child is a zombie", || {
        fs::read_to_string(&state).unwrap().contains(") Z ")
    });
    server.wait_until_asleep();
}

#[test]
fn the_descriptor_limit_is_the_servers() {
    let script = "echo 'Listening on 127.0.0.1:9' >&2; ulimit -n";
    let builder = Server::builder("sh").argument("-c").argument(script);
    builder.descriptor_limit(17).start().expect_line("17");
}

#[test]
fn a_client_is_not_inherited_by_the_next_server() {
    let (_server, alice, mut peer) = connected();
    let _next = script(WAIT);
    alice.leave();
    let mut nothing = [0];
    peer.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(peer.read(&mut nothing).unwrap(), 0, "end of file");
}
