//! What `cargo learn` cannot do is a clear error.

use assert_cmd::Command;
use predicates::str::{contains, is_empty};
use shared_testkit::env::{DEADLINE_SCALE, SERVER_ADDR};

#[test]
fn bad_usage_is_a_clear_error() {
    let no_file = "--watch needs a COMMAND with a word that is a file or a folder";
    let no_program = "there is no program ./no/rat (have you built it?)";
    let no_server = "the server did not report where it listens";
    for (words, said) in [
        ("", "what is to be done?"),
        ("chess 1", "there is no \"chess\""),
        ("check", "which CHAPTER?"),
        ("check 6", "a number from 1 to 5, not \"6\""),
        ("check one", "a number from 1 to 5, not \"one\""),
        ("check 2.x", "STOP is a number, as in 5.3, not \"2.x\""),
        ("check 2.9", "there is no stop 2.9"),
        ("check 1 2", "\"2\" is unexpected; COMMAND comes after --"),
        ("check 1 --wat", "\"--wat\" is unexpected"),
        ("check 1 --", "no COMMAND follows --"),
        ("check 1 -- ./no/rat", no_program),
        ("check 1 -- no-such-rat", "there is no program no-such-rat"),
        ("check 1 --watch -- true", no_file),
        ("tour 7", "a number from 1 to 5, not \"7\""),
        ("tour --all", "\"--all\" is unexpected"),
        ("tour 1 -- ./no/rat", "a program that does not exist"),
        ("tour 1 -- true", no_server),
        ("start 6 /dev/null/rat", "a number from 1 to 5, not \"6\""),
        ("start 2.9 /dev/null/rat", "chapter 2 has no stop 9"),
        ("start 2 /dev/null/rat", "cannot write to /dev/null/rat"),
    ] {
        let mut learn = Command::new(env!("CARGO_BIN_EXE_learn"));
        learn.args(words.split_whitespace());
        learn.env(DEADLINE_SCALE, "0.05").env_remove(SERVER_ADDR);
        let assert = learn.assert().code(2).stdout(is_empty());
        assert.stderr(contains(said));
    }
}
