//! Waits until a file changes.

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// A build or an editor is done when nothing has happened for this long.
const QUIET: Duration = Duration::from_millis(300);

/// Watches a file, or a folder with everything in it.
pub(crate) struct Watch {
    /// It stops watching when it is dropped.
    _watcher: RecommendedWatcher,
    changes: Receiver<()>,
}

impl Watch {
    pub(crate) fn new(path: &Path) -> Result<Watch> {
        let path = path.canonicalize()?;
        let (sender, changes) = mpsc::channel();
        let watched = path.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Running a program only opens its file.
            let is_change = |event: &Event| !matches!(event.kind, EventKind::Access(_));
            let is_ours = |event: &Event| event.paths.iter().any(|p| p.starts_with(&watched));
            if event.is_ok_and(|event| is_change(&event) && is_ours(&event)) {
                // It fails only when nobody waits any more.
                let _ = sender.send(());
            }
        })?;
        // Many programs replace a file by renaming another one: its folder notices that.
        let folder = if path.is_dir() {
            &path
        } else {
            path.parent().context("it is in no folder")?
        };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Watch {
            _watcher: watcher,
            changes,
        })
    }

    /// Waits for a change since the last call, and until the file is at rest.
    pub(crate) fn wait(&self) -> Result<()> {
        self.changes.recv()?;
        while self.changes.recv_timeout(QUIET).is_ok() {}
        Ok(())
    }
}
