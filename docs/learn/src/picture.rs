//! `cargo learn picture`: records a scene of the book and draws it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use book_checks::milestones;
use book_checks::picture::picture;
use book_checks::record::{Scene, record};

pub(crate) struct Picture {
    pub chapter: usize,
    /// The name of a scene, or else the chapter's first.
    pub scene: Option<String>,
    /// Where the picture goes, or else stdout.
    pub out: Option<PathBuf>,
}

impl Picture {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let scene = self.scene()?;
        let trace = record(&scene).context("strace is needed to record a picture")?;
        let svg = picture(&trace);
        match &self.out {
            None => print!("{svg}"),
            Some(path) => {
                fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn scene(&self) -> Result<Scene> {
        let milestone = &milestones()[self.chapter - 1];
        let mut scenes = Scene::all();
        // The known mistakes are no chapter's.
        scenes
            .retain(|scene| scene.program == *milestone || scene.program.starts_with("mistaken "));
        let names: Vec<_> = scenes.iter().map(|scene| scene.name.clone()).collect();
        let wanted = |scene: &Scene| match &self.scene {
            Some(name) => scene.name == *name,
            None => scene.program == *milestone,
        };
        let Some(place) = scenes.iter().position(wanted) else {
            bail!(
                "chapter {} has no such scene, only {}",
                self.chapter,
                names.join(", ")
            );
        };
        Ok(scenes.swap_remove(place))
    }
}
