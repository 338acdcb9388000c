//! What only our own binary promises: an error of stdout is reported, even for `--help`.

use shared_testkit::predicates::str::starts_with;
use shared_testkit::run_to_exit;

#[test]
fn help_that_cannot_be_written_is_a_clear_error() {
    // Every write to it fails, as on a disk that is full (full(4)).
    let script = "exec \"$0\" --help > /dev/full";
    run_to_exit(
        "sh",
        ["-c", script, env!("CARGO_BIN_EXE_milestone-5-harden")],
    )
    .code(1)
    .stderr(starts_with("Error: cannot write to stdout\n"));
}
