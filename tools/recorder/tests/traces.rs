//! The recorded traces are what the servers really do.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "panicking is how a check fails"
)]

use std::fs;

use course::{Book, Page, root};
use recorder::{Scene, Trace, check_calls, check_traces, picture, record};
use shared_testkit::env::is_strict;

#[test]
fn each_scene_has_a_trace_and_its_picture() {
    let problems = check_traces();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// With `TESTKIT_STRICT` set, as in CI. To record after a change of a server or scene:
///
/// ```sh
/// cargo test -p recorder --test traces -- --ignored
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
        let (now, then) = (comparable(&trace), comparable(&committed));
        for (now, then) in now.lines().zip(then.lines()) {
            assert_eq!(now, then, "recorded now and committed: {}", scene.path());
        }
        assert_eq!(now.len(), then.len(), "{} ends elsewhere", scene.path());
    }
}

/// A trace as text. How many bytes fit into a socket is the kernel's choice, and not even the same on one
/// machine all the time, so only numbers of up to four digits are compared.
fn comparable(trace: &Trace) -> String {
    let json = trace.to_json().replace(&trace.kernel, "");
    let parts = json.split(|c: char| !c.is_ascii_digit());
    let large = parts.filter(|number| number.len() > 4);
    large.fold(json.clone(), |json, number| json.replacen(number, "…", 1))
}

#[test]
fn the_system_calls_in_the_book_are_made() {
    if is_strict() {
        assert_eq!(check_calls(&Book::read()), [""; 0]);
    }
}

#[test]
fn a_system_call_that_is_not_made_is_found() {
    if is_strict() {
        let block =
            "```text,calls=milestone-1-accept\nlisten(4, 128) = 0\nlisten(4, 64) = 0\n```\n";
        let page = Page::new("docs/src/a.md", block);
        let problems = check_calls(&Book::of_pages(vec![page]));
        let [problem] = &problems[..] else {
            panic!("one problem was expected: {problems:?}");
        };
        assert!(
            problem.starts_with("docs/src/a.md:3: not in the source"),
            "{problem}"
        );
    }
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
