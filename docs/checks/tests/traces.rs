//! The recorded traces are what the servers really do.

#![allow(clippy::expect_used, reason = "the helpers are part of the tests")]

use std::fs;

use book_checks::picture::picture;
use book_checks::record::{Scene, Trace, check_traces, record};
use book_checks::root;
use shared_testkit::env::is_strict;

#[test]
fn each_scene_has_a_trace_and_its_lines_exist() {
    let problems = check_traces();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// With `TESTKIT_STRICT` set, as in CI. To record after a change of a server or scene:
///
/// ```sh
/// cargo test -p book-checks --test traces -- --ignored
/// ```
#[test]
fn recorded_again_they_are_the_same() {
    if !is_strict() {
        return;
    }
    for scene in Scene::all() {
        let Some(trace) = record(&scene) else {
            return;
        };
        let committed = scene.trace().expect("it can be read");
        let (now, then) = (
            comparable(&trace, &committed),
            comparable(&committed, &trace),
        );
        for (now, then) in now.lines().zip(then.lines()) {
            assert_eq!(now, then, "recorded now and committed: {}", scene.path());
        }
        assert_eq!(now.len(), then.len(), "{} ends elsewhere", scene.path());
    }
}

/// A trace as text. How many bytes fit into a socket is the kernel's choice: of another kernel's trace
/// only the numbers of up to four digits are compared.
fn comparable(trace: &Trace, other: &Trace) -> String {
    let json = trace.to_json();
    if trace.kernel == other.kernel {
        return json;
    }
    let json = json.replace(&trace.kernel, "");
    let parts = json.split(|c: char| !c.is_ascii_digit());
    let large = parts.filter(|number| number.len() > 4);
    large.fold(json.clone(), |json, number| json.replacen(number, "…", 1))
}

#[test]
#[ignore = "writes the traces and pictures instead of checking them"]
fn write_the_traces() {
    for scene in Scene::all() {
        let trace = record(&scene).expect("strace is installed");
        write(&scene.path(), &trace.to_json());
        write(&scene.picture_path(), &picture(&trace));
    }
}

fn write(path: &str, text: &str) {
    fs::write(root().join(path), text).expect("it can be written");
}
