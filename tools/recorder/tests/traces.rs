//! The recorded traces are what the servers really do.

use std::collections::BTreeMap;
use std::fs;

use course::quote::check_quote;
use course::workspace::{files, read, root};
use course::{Book, regex};
use recorder::{Scene, Trace, calls, picture, record};
use shared_testkit::{env::is_strict, skip};

#[test]
fn each_scene_has_a_trace_and_its_picture() {
    let scenes = Scene::all();
    let mut paths: Vec<_> = scenes.iter().map(|scene| scene.trace.path()).collect();
    paths.sort();
    assert_eq!(paths, files("docs/src/loop/traces", "json"));
    for scene in scenes {
        let (trace, path) = (scene.trace.committed(), scene.trace.picture_path());
        assert_eq!(trace.program, scene.trace.program);
        assert!(trace.to_json() == read(&trace.path()), "not as written");
        assert!(picture(&trace) == read(&path), "{path} is another trace's");
    }
}

/// With `TESTKIT_STRICT` set, as in CI. To record after a change of a server or scene:
///
/// ```sh
/// cargo test -p recorder --test traces -- --ignored
/// ```
#[test]
fn recorded_again_they_are_the_same() {
    if !is_strict() {
        return skip("all scenes are recorded, and TESTKIT_STRICT is not set");
    }
    for scene in Scene::all() {
        let trace = record(&scene).expect("strace is installed");
        let [now, then] = [&trace, &trace.committed()].map(comparable);
        let path = trace.path();
        for (now, then) in now.lines().zip(then.lines()) {
            assert_eq!(now, then, "recorded now and committed: {path}");
        }
        assert_eq!(now.len(), then.len(), "{path} ends elsewhere");
    }
}

/// A trace as text. How many bytes fit into a socket is the kernel's choice, and not even the same on one
/// machine all the time, so only numbers of up to four digits are compared. Of milestone 5 none is, because
/// what is left of a flood when a socket is full depends on it, too.
fn comparable(trace: &Trace) -> String {
    let differs = match &*trace.program {
        "milestone-5-harden" => r"x{40}…|\d+",
        _ => r"x{40}…|\d{5,}",
    };
    let json = trace.to_json();
    regex(differs).replace_all(&json, "…").into_owned()
}

/// Those that a `text,calls=MILESTONE` block quotes, as this package's program prints them: the lines of a
/// block come one after the other.
#[test]
fn the_system_calls_in_the_book_are_made() {
    if !is_strict() {
        return skip("the milestones run under strace, and TESTKIT_STRICT is not set");
    }
    let mut programs = BTreeMap::new();
    for (page, block) in Book::read().blocks(&["text"]) {
        for milestone in block.values("calls") {
            let program = programs.entry(milestone.to_owned()).or_insert_with(|| {
                let calls = calls(milestone).expect("strace is installed");
                [(String::new(), calls)].into()
            });
            assert_eq!(check_quote(page, block, program), Ok(()));
        }
    }
}

#[test]
#[ignore = "writes the traces and pictures instead of checking them"]
fn write_the_traces() {
    for scene in Scene::all() {
        let trace = record(&scene).expect("strace is installed");
        for (path, text) in [
            (trace.path(), trace.to_json()),
            (trace.picture_path(), picture(&trace)),
        ] {
            fs::write(root().join(path), text).expect("it can be written");
        }
    }
}
