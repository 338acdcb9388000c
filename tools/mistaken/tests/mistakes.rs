//! Each of the known mistakes makes the tests fail that are meant to find it, and no others.
//!
//! Only the page `docs/src/mistakes.md` lists these tests, so what the reader sees there is what runs
//! here.

#![allow(clippy::expect_used, reason = "the helpers are part of the tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use course::root;
use course::test_runner::{self, Outcome, Suite};
use shared_testkit::{env::is_strict, skip};

/// The server that makes them.
const MISTAKEN: &str = env!("CARGO_BIN_EXE_mistaken");

/// Makes a test of each mistake, with the mistake's name (`_` instead of `-`).
macro_rules! mistakes {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                is_found(&stringify!($name).replace('_', "-"));
            }
        )+

        /// The tests, the page and the server have the same list of mistakes.
        #[test]
        fn none_is_left_out() {
            let tested = [$(stringify!($name).replace('_', "-")),+];
            let on_the_page: Vec<_> = page().into_iter().map(|entry| entry.mistake).collect();
            let list = Command::new(MISTAKEN).arg("--list").output();
            let list = String::from_utf8(list.expect("it runs").stdout).expect("it is text");
            assert_eq!(tested, on_the_page[..]);
            assert_eq!(tested, list.lines().collect::<Vec<_>>()[..]);
        }
    };
}

mistakes! {
    accepts_once, reads_once, writes_once, drops_the_rest, drops_half_lines, sends_half_lines,
    echoes_to_the_sender, forgets_the_last, wrong_order, writable_once, writable_always,
    forgets_to_remove, reuses_tokens, panics_on_stale, skips_the_write_half, reset_is_fatal,
    dies_of_eintr, no_nodelay, blocking_listener, blocking_clients, trims_white_space,
    forgets_the_newline, forgets_to_flush, ignores_the_address, emfile_is_fatal,
    takes_one_line, lossy_text, replaces_the_interest, would_block_closes, shares_one_buffer,
    forgets_to_insert,
}

/// mio is always edge-triggered, so this mistake is the C example's. Its switch changes nothing else.
#[test]
fn level_triggered() {
    let gcc = Command::new("gcc").arg("--version").output();
    if let Err(e) = gcc {
        skip(&format!("gcc cannot be run: {e}"));
        return;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("level-triggered");
    let source = root().join("docs/examples/chat.c");
    let gcc = Command::new("gcc")
        .arg("-o")
        .arg(&program)
        .arg(source)
        .status();
    assert!(gcc.expect("gcc can be run").success());

    let program = test_runner::command(&program);
    for (package, test) in [
        (
            "milestone-2-register",
            "a_second_event_comes_with_new_bytes_only",
        ),
        (
            "milestone-3-broadcast",
            "interest_in_writable_does_not_spin",
        ),
    ] {
        let chapter = &package["milestone-".len()..][..1];
        let command = format!("{program} --chapter {chapter} --level-triggered");
        let outcomes = Suite::of(package).run(&command, |name| name == test);
        let output = &outcomes.first().expect("the test exists").output;
        assert_eq!(rule(output), "level-triggered", "{output}");
    }
}

#[test]
fn without_a_mistake_all_pass() {
    for outcome in chapter()
        .clone()
        .deadline_scale(1.0)
        .run(&command(""), |_| true)
    {
        assert!(outcome.passed, "{}:\n{}", outcome.test, outcome.output);
    }
}

/// The tests on the page exist: a name without a test would never run, and never fail.
#[test]
fn the_page_names_tests() {
    let names = chapter().names();
    for entry in page() {
        for test in entry.found_by.iter().chain(&entry.by_chance) {
            assert!(
                names.contains(test),
                "{}: there is no {test}",
                entry.mistake
            );
        }
    }
}

fn is_found(mistake: &str) {
    let entry = page().into_iter().find(|entry| entry.mistake == mistake);
    let entry = entry.expect("the page has this mistake");
    let first = entry.found_by.first().expect("a test finds it");
    let command = command(mistake);
    // Running all tests against each mistake takes minutes. Without TESTKIT_STRICT, run only the one
    // that always finds it.
    let is_run = |test: &str| test == first || is_strict();
    let is_in = |tests: &[String], test: &str| tests.iter().any(|name| name == test);

    let found_by = |test: &str| is_run(test) && is_in(&entry.found_by, test);
    for outcome in chapter().run(&command, found_by) {
        let (test, output) = (&outcome.test, &outcome.output);
        if outcome.was_skipped() {
            continue;
        }
        if test != first {
            assert!(
                !outcome.passed || fails_at_last(test, &command),
                "not found by {test}"
            );
            continue;
        }
        assert!(!outcome.passed, "not found by {test}");
        let is_named = entry.named_by.contains(&rule(output));
        assert!(
            is_named || entry.is_named_at_last(test, &command),
            "none of {:?} in:\n{output}",
            entry.named_by
        );
    }
    if is_strict() {
        check_the_causes(&command, &entry.named_by);
    }
    // These are meant to pass, and the machine may be busy: the whole deadline.
    let others = |test: &str| {
        let is_listed = is_in(&entry.found_by, test) || is_in(&entry.by_chance, test);
        is_run(test) && !is_listed && !entry.by_others
    };
    for outcome in chapter().clone().deadline_scale(1.0).run(&command, others) {
        assert!(outcome.passed, "{}:\n{}", outcome.test, outcome.output);
    }
}

/// Nine of ten failures name the cause, or all but one of a few.
fn check_the_causes(command: &str, accepted: &[String]) {
    let outcomes = chapter().run(command, |_| true);
    let failures: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
    let names_it = |outcome: &&&Outcome| accepted.contains(&rule(&outcome.output));
    // A test that passes with the whole deadline fails because of a busy machine, not the mistake.
    let others = failures.iter().filter(|outcome| !names_it(outcome));
    let others: Vec<_> = others.map(|outcome| &outcome.test).collect();
    let patient = chapter().clone().deadline_scale(1.0);
    let outcomes = patient.run(command, |test| others.iter().any(|name| *name == test));
    let others = outcomes.iter().filter(|outcome| !outcome.passed);
    let others: Vec<_> = others.filter(|outcome| !names_it(&outcome)).collect();
    let right = failures.iter().filter(names_it).count();
    let tests: Vec<_> = others.iter().map(|outcome| &outcome.test).collect();
    let most = usize::max(1, (right + others.len()) / 10);
    assert!(
        others.len() <= most,
        "{right} failures name it, not {tests:?}"
    );
}

/// For each mistake, the failures and how many of them name its cause. Takes minutes:
/// `cargo test -p mistaken --test mistakes -- --ignored --nocapture scoreboard`.
#[test]
#[ignore = "prints a table and takes minutes"]
fn scoreboard() {
    let list = Command::new(MISTAKEN).arg("--list").output();
    let list = String::from_utf8(list.expect("it runs").stdout).expect("it is text");
    for mistake in list.lines() {
        let outcomes = chapter()
            .clone()
            .deadline_scale(0.2)
            .run(&command(mistake), |_| true);
        let failures: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed).collect();
        let mut rules = BTreeMap::<_, Vec<_>>::new();
        for failure in &failures {
            rules
                .entry(rule(&failure.output))
                .or_default()
                .push(&failure.test);
        }
        let entry = page().into_iter().find(|entry| entry.mistake == mistake);
        let accepted = entry.expect("the page has this mistake").named_by;
        let right: usize = accepted
            .iter()
            .filter_map(|rule| rules.get(rule))
            .map(Vec::len)
            .sum();
        println!(
            "{mistake:22} {:3} failures, {right:3} right",
            failures.len()
        );
        for (rule, tests) in rules {
            let is_right = accepted.contains(&rule);
            println!(
                "    {} {rule}: {}",
                if is_right { '+' } else { '-' },
                tests.len()
            );
            if !is_right {
                println!("        {tests:?}");
            }
        }
    }
}

/// The name of the rule at the end of the paragraph `cause:`, or `often`.
fn rule(output: &str) -> String {
    let cause = output
        .split("\ncause: ")
        .nth(1)
        .and_then(|text| text.split("]\nread: ").next());
    let rule = cause.and_then(|cause| cause.rsplit('[').next());
    rule.unwrap_or("often").to_owned()
}

/// Whether a test finds the mistake when it is repeated. All but the first test depend on timing and
/// find it nearly always.
fn fails_at_last(test: &str, command: &str) -> bool {
    let is_it = |name: &str| name == test;
    (0..10).any(|_| {
        chapter()
            .run(command, is_it)
            .iter()
            .any(|outcome| !outcome.passed)
    })
}

/// The last chapter before hardening: it has nearly all tests of the earlier ones as well.
fn chapter() -> &'static Suite {
    static CHAPTER: OnceLock<Suite> = OnceLock::new();
    CHAPTER.get_or_init(|| Suite::of("milestone-4-write"))
}

fn command(mistake: &str) -> String {
    format!("{} {mistake}", test_runner::command(Path::new(MISTAKEN)))
}

/// What the page says about one mistake.
struct Entry {
    mistake: String,
    /// The tests that fail: the first always, the others nearly always.
    found_by: Vec<String>,
    /// Tests that may fail as well, depending on timing.
    by_chance: Vec<String>,
    /// Whether any other test may fail too.
    by_others: bool,
    /// The rules that name its cause.
    named_by: Vec<String>,
}

impl Entry {
    /// Whether a test names the cause with the whole deadline: within the short one, a busy machine may
    /// not get as far as the mistake.
    fn is_named_at_last(&self, test: &str, command: &str) -> bool {
        let patient = chapter().clone().deadline_scale(1.0);
        let outcomes = patient.run(command, |name| name == test);
        outcomes
            .iter()
            .any(|o| self.named_by.contains(&rule(&o.output)))
    }
}

fn page() -> Vec<Entry> {
    let path = root().join("docs/src/mistakes.md");
    let text = fs::read_to_string(path).expect("the page can be read");
    // Each mistake has a section, whose heading begins with its name.
    let entries = text.split("\n## `").skip(1).map(|part| {
        let (mistake, part) = part.split_once('`').expect("the name ends");
        Entry {
            mistake: mistake.to_owned(),
            found_by: tests_after(part, "\n- found by "),
            by_chance: tests_after(part, "\n- at times also by "),
            by_others: part.contains("by other tests\n"),
            named_by: tests_after(part, "\n- named by the rules "),
        }
    });
    entries.collect()
}

/// The names in the list item with this beginning.
fn tests_after(part: &str, beginning: &str) -> Vec<String> {
    let Some((_, item)) = part.split_once(beginning) else {
        return Vec::new();
    };
    let item = item.split("\n\n").next().unwrap_or_default();
    let item = item.split("\n- ").next().unwrap_or_default();
    let names = item.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}
