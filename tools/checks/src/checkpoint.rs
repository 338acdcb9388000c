//! Builds and tests the program at the checkpoints of a chapter.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use course::test_runner::{self, Suite};
use course::typed_crate::{manifest, write_crate};
use course::typing::{Checkpoint, type_book};
use course::{Book, milestones};

/// The number of the next crate: each has a name of its own, because tests run at the same time.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// How many tests run at once: most wait more than they work, and an attack may need the machine.
const AT_ONCE: usize = 16;

/// A test that a checkpoint names.
struct Job<'a> {
    checkpoint: &'a Checkpoint<'a>,
    suite: Suite,
    program: PathBuf,
    test: &'a str,
    /// Whether it fails with this program.
    is_red: bool,
}

/// Builds the program at each checkpoint, where a warning is an error, and runs the tests that
/// the checkpoint names: `red` ones must fail with the program of the checkpoint before (or the
/// end of the chapter before), `green` ones must pass with this one.
///
/// The end of a chapter needs no checkpoint: the program is the milestone's, and that is built
/// and tested anyway.
#[must_use]
pub fn check_checkpoints(book: &Book) -> Vec<String> {
    let checkpoints = type_book(&book.pages).checkpoints;
    let mut problems = Vec::new();
    let mut jobs = Vec::new();
    for chapter in checkpoints.chunk_by(|a, b| a.chapter == b.chapter) {
        let number = chapter[0].chapter;
        let mut suite = Suite::of(&milestones()[number - 1]);
        suite.at_once = AT_ONCE;
        let mut before = (number > 1).then(|| test_runner::program(&milestones()[number - 2]));
        for checkpoint in chapter {
            match jobs_of(checkpoint, &suite, &mut before) {
                Ok(new) => jobs.extend(new),
                Err(what) => problems.push(problem(checkpoint, &what)),
            }
        }
    }
    thread::scope(|scope| {
        let running: Vec<_> = jobs.iter().map(|job| scope.spawn(|| job.run())).collect();
        let results = running.into_iter().map(|thread| thread.join());
        problems.extend(results.filter_map(|result| result.expect("the test can be run").err()));
    });
    problems
}

fn problem(checkpoint: &Checkpoint<'_>, what: &str) -> String {
    checkpoint.page.problem(checkpoint.block.line, what)
}

/// Builds the program of a checkpoint, which takes the place of the one before.
fn jobs_of<'a>(
    checkpoint: &'a Checkpoint<'_>,
    suite: &Suite,
    program: &mut Option<PathBuf>,
) -> Result<Vec<Job<'a>>, String> {
    let before = program.replace(build(checkpoint, suite)?);
    let mut jobs = Vec::new();
    // A test that is meant to pass has the whole time: the machine may be busy.
    for (key, program, scale) in [("red", &before, 0.1), ("green", &*program, 1.0)] {
        for test in checkpoint.block.values(key) {
            let program = program.clone();
            jobs.push(Job {
                checkpoint,
                suite: suite.clone().deadline_scale(scale),
                program: program.ok_or("there is no program before this one")?,
                test,
                is_red: key == "red",
            });
        }
    }
    Ok(jobs)
}

impl Job<'_> {
    fn run(&self) -> Result<(), String> {
        let command = test_runner::command(&self.program);
        let outcomes = self.suite.run(&command, |name| name == self.test);
        let test = self.test;
        let what = match &outcomes[..] {
            [] => format!("the chapter has no test {test}"),
            [outcome] if outcome.passed != self.is_red => return Ok(()),
            [_] if self.is_red => format!("{test} passes before this already"),
            [outcome, ..] => format!("{test} fails here:\n{}", outcome.output),
        };
        Err(problem(self.checkpoint, &what))
    }
}

/// Builds a crate of the program, with the milestone's dependencies and in the same target folder,
/// so that these are not built again.
fn build(checkpoint: &Checkpoint<'_>, suite: &Suite) -> Result<PathBuf, String> {
    let target = suite.program.ancestors().nth(2);
    let target = target.expect("it is in target/PROFILE");
    let name = format!("typed-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = target.join("typed").join(&name);
    // What an earlier run has left.
    let _ = fs::remove_dir_all(&folder);

    let manifest = manifest(&name, &milestones()[checkpoint.chapter - 1]);
    let manifest = manifest + "\n[lints.rust]\nwarnings = \"deny\"\n";
    write_crate(&folder, &manifest, &checkpoint.program)
        .map_err(|e| format!("cannot write {}: {e}", folder.display()))?;
    let target = target.to_str().expect("the path is Unicode");
    let arguments = ["build", "--bins", "--target-dir", target];
    let mut programs = test_runner::built_by_cargo(&arguments, &folder)?;
    Ok(programs.pop().expect("the crate has a binary").1)
}
