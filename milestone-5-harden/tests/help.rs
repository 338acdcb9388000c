//! What only our own binary promises: an error of stdout is reported, even for `--help`.

use std::fs::File;
use std::process::Command;

#[test]
fn help_that_cannot_be_written_is_a_clear_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_milestone-5-harden"))
        .arg("--help")
        // Every write to it fails, as on a disk that is full (full(4)).
        .stdout(File::create("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("Error: cannot write to stdout\n"),
        "{said}"
    );
}
