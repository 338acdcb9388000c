//! `TESTKIT_PICTURES`: a failed test leaves a picture, and says where.

#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

use std::env;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use shared_testkit::assert_cmd::Command;
use shared_testkit::assert_cmd::assert::Assert;
use shared_testkit::env::{DEADLINE_SCALE, PICTURES};
use shared_testkit::predicates::str::contains;
use shared_testkit::{Client, Server};

/// Set for a test that runs once more in a process of its own, and fails there.
const ONCE_MORE: &str = "TESTKIT_ONCE_MORE";

/// A server that says where this test listens in its place, and a client that gets one line.
fn with_a_line(line: &str) -> (Server, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = format!("echo 'Listening on {address}' >&2; echo 'a < b & \x1b'; exec sleep 60");
    let server = Server::builder("sh")
        .argument("-c")
        .argument(script)
        .start();
    server.expect_match(contains("a < b"));
    let client = server.connect("alice");
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(line.as_bytes()).unwrap();
    (server, client)
}

/// A folder of this test's own that does not exist.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn once_more(test: &str, pictures: &Path) -> Assert {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(PICTURES, pictures)
        .env(DEADLINE_SCALE, "1")
        .env(ONCE_MORE, "1");
    command.assert()
}

#[test]
fn fails_an_assertion_of_the_testkit() {
    if env::var_os(ONCE_MORE).is_some() {
        let (_server, mut alice) = with_a_line("Hello from B\n");
        alice.expect_line("Hello from A");
    }
}

#[test]
fn fails_an_assertion_of_its_own() {
    if env::var_os(ONCE_MORE).is_some() {
        let (_server, mut alice) = with_a_line("Hello from B\n");
        assert_eq!(alice.receive_line(), b"Hello from A");
    }
}

#[test]
fn a_failed_test_is_drawn() {
    for test in [
        "fails_an_assertion_of_the_testkit",
        "fails_an_assertion_of_its_own",
    ] {
        let folder = folder(test);
        let picture = folder.join(format!("{test}.svg"));
        let said = format!("\npicture: {}\n", picture.display());
        once_more(test, &folder).failure().stderr(contains(said));

        let svg = fs::read_to_string(picture).unwrap();
        let rows: Vec<_> = svg
            .lines()
            .filter(|line| line.starts_with("<text "))
            .collect();
        for part in [
            ">alice<",
            ">kernel<",
            ">server<",
            ">\"Hello from B\\n\"<",
            ">| a &lt; b &amp; \u{fffd}<",
        ] {
            assert!(
                rows.iter().any(|row| row.contains(part)),
                "no {part} in:\n{svg}"
            );
        }
        // Last of all, where the server is.
        assert!(
            rows[rows.len() - 2].contains(&format!(">{test} fails after ")),
            "{svg}"
        );
        assert!(
            rows[rows.len() - 1].contains(">asleep in nanosleep<"),
            "{svg}"
        );
    }
}

#[test]
fn a_folder_that_cannot_be_made_does_not_hide_the_failure() {
    once_more(
        "fails_an_assertion_of_its_own",
        Path::new("/dev/null/pictures"),
    )
    .failure()
    .stderr(contains(
        "TESTKIT_PICTURES: cannot write /dev/null/pictures/fails_",
    ))
    .stderr(contains("Not a directory"))
    .stderr(contains("assertion `left == right` failed"));
}
