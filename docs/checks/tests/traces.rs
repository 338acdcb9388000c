//! The recorded traces are what the servers really do.

use std::fs;

use book_checks::picture::picture;
use book_checks::record::{Scene, check_traces, record};
use book_checks::root;
use shared_testkit::env::is_strict;

mod common;

use common::assert_none;

#[test]
fn each_scene_has_a_trace_and_its_lines_exist() {
    assert_none(&check_traces());
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
        let committed = fs::read_to_string(root().join(scene.path()));
        let is_same = committed.is_ok_and(|committed| committed == trace.to_json());
        assert!(is_same, "{} differs:\n{}", scene.path(), trace.to_json());
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
