//! `SERVER_CMD` and `SERVER_ADDR`: the learner's own command runs as intended, or the failure says
//! what is wrong with it.

use std::net::TcpListener;

use course::test_runner::{self, Outcome, Suite};
use course::workspace::read;

const CHAPTER: &str = "milestone-1-accept";

/// A test of the first chapter with this command.
fn run(suite: &Suite, command: &str) -> Outcome {
    let mut outcomes = suite.run(command, |test| test == "a_client_sees_end_of_file");
    outcomes.pop().unwrap()
}

/// With this command the test must fail, and say all this, separated by `&`.
#[track_caller]
fn assert_fails(suite: &Suite, command: &str, said: &str) {
    let Outcome { passed, output, .. } = run(suite, command);
    assert!(!passed, "with the command {command:?}");
    for said in said.split(" & ") {
        assert!(output.contains(said), "no {said:?} in:\n{output}");
    }
}

/// Without a server, the cause is not what the test is about. Many languages buffer what is printed to a
/// pipe, and then a server that works looks dead.
#[test]
fn a_command_without_a_server_is_a_clear_failure() {
    let suite = Suite::of(CHAPTER);
    // `sleep` alone would take the address for a second duration.
    let commands = "\
→ SERVER_CMD is empty
  → SERVER_CMD is empty
rat 'unfinished → SERVER_CMD is not a command line
./no/such/rat → SERVER_CMD names a program that does not exist: /
no-such-rat → cannot start no-such-rat:  & often: The command cannot be started.
sh -c 'echo no luck >&2; exit 3' → its last words: no luck
true → the server: has ended, exit status 0 & [does-not-start] & read: docs/src/your-own-server.md, 'Run a chapter's tests against it'
sh -c 'exec sleep 1000' → [does-not-listen] & nothing more in 2 s, and no line on stdout yet: does it flush";
    for line in commands.lines() {
        let (command, said) = line.split_once("→ ").unwrap();
        assert_fails(&suite, command, said);
    }
    let page = read("docs/src/your-own-server.md");
    assert!(page.contains("\n## Run a chapter's tests against it\n"));
}

/// Killing a wrapper does not kill what it has started. This one prints the address on stdout.
#[test]
fn a_wrapper_is_ended_with_its_server() {
    let suite = Suite::of(CHAPTER).deadline_scale(1.0);
    let program = test_runner::command(&suite.program);
    let Outcome { passed, output, .. } = run(
        &suite,
        &format!("sh -c '\"$0\" \"$1\" 2>&1; exit 1' {program}"),
    );
    // The test ends: it does not wait for a pipe that the server holds open.
    assert!(passed && !output.contains("still holds"), "{output}");
}

#[test]
fn a_port_in_use_is_a_clear_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut suite = Suite::of(CHAPTER);
    suite.server_address = Some(address);
    let said = format!("no server can be started at {address}: Address already in use");
    assert_fails(&suite, "true", &said);
}
