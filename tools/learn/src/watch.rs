//! Waits until a file changes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

/// How often the file is looked at. A build or an editor is done when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(300);

/// How deep a folder is looked into: a milestone's sources are no deeper, and a project's libraries are.
const DEPTH: usize = 2;

/// When a file, or the latest of a folder and what is in it, was changed. `None` if there is none.
pub(crate) fn last_change(path: &Path) -> Option<SystemTime> {
    latest(path, DEPTH)
}

fn latest(path: &Path, depth: usize) -> Option<SystemTime> {
    let own = fs::metadata(path).ok()?.modified().ok();
    if depth == 0 {
        return own;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let changes = entries.filter_map(|entry| latest(&entry.path(), depth - 1));
    changes.chain(own).max()
}

/// Waits until the last change is another one, and the file is at rest.
pub(crate) fn wait_for_change(path: &Path, last: Option<SystemTime>) {
    let mut now = last;
    loop {
        let before = now;
        thread::sleep(QUIET);
        now = last_change(path);
        if now.is_some() && now != last && now == before {
            return;
        }
    }
}
