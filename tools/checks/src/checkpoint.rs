//! Builds and tests the program at the checkpoints of a chapter.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use course::milestones;
use course::test_runner::{self, Outcome, Suite};
use course::typed_crate::{manifest, write_crate};
use course::typing::Checkpoint;

/// The number of the next crate: each has a name of its own, because tests run at the same time.
static NEXT: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn check(checkpoints: &[Checkpoint<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    for chapter in checkpoints.chunk_by(|a, b| a.chapter == b.chapter) {
        let number = chapter[0].chapter;
        let mut before = (number > 1).then(|| test_runner::program(&milestones()[number - 2]));
        for checkpoint in chapter {
            match check_one(checkpoint, before.as_deref()) {
                Ok(program) => before = Some(program),
                Err(what) => problems.push(checkpoint.page.problem(checkpoint.block.line, &what)),
            }
        }
    }
    problems
}

/// Returns the program.
fn check_one(checkpoint: &Checkpoint<'_>, before: Option<&Path>) -> Result<PathBuf, String> {
    let milestone = &milestones()[checkpoint.chapter - 1];
    let program = build(checkpoint, milestone)?;
    let suite = Suite::of(milestone);
    for test in checkpoint.block.values("red") {
        let before = before.ok_or("there is no program before this one")?;
        if run(&suite, before, test)?.passed {
            return Err(format!("{test} passes before this already"));
        }
    }
    // The machine may be busy.
    let suite = suite.deadline_scale(1.0);
    for test in checkpoint.block.values("green") {
        let outcome = run(&suite, &program, test)?;
        if !outcome.passed {
            return Err(format!("{test} fails here:\n{}", outcome.output));
        }
    }
    Ok(program)
}

fn run(suite: &Suite, program: &Path, test: &str) -> Result<Outcome, String> {
    let outcomes = suite.run(&test_runner::command(program), |name| name == test);
    let what = format!("the chapter has no test {test}");
    outcomes.into_iter().next().ok_or(what)
}

/// Builds a crate of the program, with the milestone's dependencies and in the same target folder,
/// so that these are not built again.
fn build(checkpoint: &Checkpoint<'_>, milestone: &str) -> Result<PathBuf, String> {
    let target = test_runner::program(milestone);
    let target = target.ancestors().nth(2).expect("it is in target/PROFILE");
    let name = format!("typed-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = target.join("typed").join(&name);
    // What an earlier run has left.
    let _ = fs::remove_dir_all(&folder);

    let manifest = manifest(&name, milestone) + "\n[lints.rust]\nwarnings = \"deny\"\n";
    write_crate(&folder, &manifest, &checkpoint.program)
        .map_err(|e| format!("cannot write {}: {e}", folder.display()))?;
    let target = target.to_str().expect("the path is Unicode");
    let arguments = ["build", "--bins", "--target-dir", target];
    let mut programs = test_runner::built_by_cargo(&arguments, &folder, "bin")?;
    Ok(programs.pop().expect("the crate has a binary"))
}
