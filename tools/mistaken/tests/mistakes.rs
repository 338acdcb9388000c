//! Each of the known mistakes makes the tests fail that are meant to find it, and the first of them says
//! what it has always said.
//!
//! Only the page `docs/src/mistakes.md` lists these tests, so what the reader sees there is what runs
//! here. What the first test says is in `tests/golden`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers are part of the tests"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use course::test_runner::{self, Suite, is_installed};
use course::{milestones, regex, root};
use shared_testkit::{env::is_strict, skip};

/// If set, what the tests say now becomes what they should say.
const RECORD: &str = "RECORD_GOLDEN";

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

        /// The server lists those on the page.
        #[test]
        fn none_is_left_out() {
            let tested = [$(stringify!($name).replace('_', "-")),+];
            let list = Command::new(MISTAKEN).arg("--list").output();
            let list = String::from_utf8(list.expect("it runs").stdout).expect("it is text");
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
    if !is_installed("gcc") {
        return skip("there is no gcc");
    }
    let program = test_runner::command(&test_runner::server_in_c());
    for (chapter, test) in [
        (2, "a_second_event_comes_with_new_bytes_only"),
        (3, "interest_in_writable_does_not_spin"),
    ] {
        let command = format!("{program} --chapter {chapter} --level-triggered");
        let outcomes = Suite::of(&milestones()[chapter - 1]).run(&command, |name| name == test);
        let [outcome] = &outcomes[..] else {
            panic!("there is no {test}");
        };
        let rule = outcome.get("rule");
        assert_eq!(rule, "level-triggered", "{}", outcome.output);
    }
}

#[test]
fn without_a_mistake_all_pass() {
    let suite = chapter().clone().deadline_scale(1.0);
    for outcome in suite.run(&command(""), |_| true) {
        assert!(outcome.passed, "{}:\n{}", outcome.test, outcome.output);
    }
}

fn is_found(mistake: &str) {
    let entry = page().into_iter().find(|entry| entry.mistake == mistake);
    let entry = entry.expect("the page has this mistake");
    let first = entry.found_by.first().expect("a test finds it");
    let command = command(mistake);
    let text = |scale| golden_text(&chapter().clone().deadline_scale(scale), first, &command);
    let mut now = text(0.25);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{mistake}.txt"));
    if env::var_os(RECORD).is_some() {
        fs::write(&path, &now).expect("the folder is there");
    }
    let golden = fs::read_to_string(&path).expect("it has been recorded");
    if now != golden {
        // Within the short time, a busy machine may not get as far as the mistake.
        now = text(1.0);
    }
    let shown = path.display();
    assert_eq!(now, golden, "{shown}; to record it, set {RECORD}");
    let names_it = |text: &str| {
        let mut rules = entry.named_by.iter();
        rules.any(|rule| text.contains(&format!("[{rule}]")))
    };
    assert!(names_it(&golden), "{:?} do not name it", entry.named_by);
    if !is_strict() || entry.by_others {
        return;
    }
    // Running all tests against each mistake takes minutes. What is meant to pass needs the whole deadline.
    // Of those that are listed, all but the first depend on timing more or less.
    let others = |test: &str| {
        let mut listed = entry.found_by.iter().chain(&entry.by_chance);
        listed.all(|name| name != test)
    };
    for outcome in chapter().clone().deadline_scale(1.0).run(&command, others) {
        // By chance, the mistake may show in another test too, which then names it.
        let is_right = outcome.passed || names_it(&outcome.output);
        assert!(is_right, "{}:\n{}", outcome.test, outcome.output);
    }
}

/// What a test says when it fails, without what is different each time.
fn golden_text(suite: &Suite, test: &str, command: &str) -> String {
    let outcomes = suite.run(command, |name| name == test);
    let failure = outcomes.first().filter(|outcome| !outcome.passed);
    let failure = failure.unwrap_or_else(|| panic!("{command} is not found by {test}"));
    // How far the test got before it noticed depends on the machine, the cause does not.
    let [cause, rule, read] = ["cause", "rule", "read"].map(|name| failure.get(name));
    let text = format!("{test}\n{cause} [{rule}]\n{read}\n");
    // Ports, times and how much a socket took.
    regex(r"\d{4,}").replace_all(&text, "N").into_owned()
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
    /// The tests that fail, the first always. What that one says is in `tests/golden`.
    found_by: Vec<String>,
    /// Tests that may fail as well, depending on timing.
    by_chance: Vec<String>,
    /// Whether any other test may fail too.
    by_others: bool,
    /// The rules that name its cause.
    named_by: Vec<String>,
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
