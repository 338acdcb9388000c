//! The players in the book show every recorded trace, and show it right. Every page fits its screen.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "panicking is how a check fails"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use course::root;
use recorder::Scene;
use shared_testkit::{env::is_strict, skip};

const PAGE: &str = "loop.md";

#[test]
fn each_scene_has_a_player() {
    let page = read(PAGE);
    for scene in Scene::all() {
        let is_there = players(&page).any(|names| names.contains(&scene.name.as_str()));
        assert!(is_there, "{PAGE} has no player for {}", scene.name);
    }
}

#[test]
fn each_player_has_what_it_needs() {
    let pages = std::fs::read_dir(root().join("docs/src")).expect("the book is there");
    let names = pages.map(|page| page.expect("the book is there").file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let pages = names.filter(|name| name.ends_with(".md"));
    let problems: Vec<_> = pages
        .flat_map(|page| problems(&page, &read(&page)))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// In two browsers at once, with `TESTKIT_STRICT` set, as in CI. `loop_page.py` describes what it does.
#[test]
fn the_book_is_right_in_browsers() {
    if !is_strict() {
        return;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let book = target.join("book");
    let build = Command::new("mdbook")
        .args(["build", "docs", "--dest-dir"])
        .arg(&book)
        .current_dir(root())
        .output();
    match build {
        Err(e) => return skip(&format!("mdbook cannot be run: {e}")),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
    // `.ci/run` has installed it there.
    let axe = target.join("../npm/node_modules/axe-core/axe.min.js");
    let browsers = ["chromium", "firefox"].map(|browser| {
        let check = Command::new(root().join("tools/recorder/tests/loop_page.py"))
            .arg(browser)
            .args([&book, &root(), &axe])
            .stdout(Stdio::piped())
            .spawn();
        (browser, check.expect("the script can be run"))
    });
    for (browser, check) in browsers {
        let output = check.wait_with_output().expect("it ends by itself");
        let found = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0) => {}
            // Selenium, the browser, its driver or axe-core.
            Some(2) => skip(&found),
            _ => panic!("{browser}: {found}"),
        }
    }
}

fn read(page: &str) -> String {
    let path = root().join("docs/src").join(page);
    std::fs::read_to_string(path).expect("the page can be read")
}

/// The scenes of each player on a page. The model's name is no scene's.
fn players(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let figures = page.split("<figure data-scene=\"").skip(1);
    let names = figures.filter_map(|rest| rest.split('"').next());
    names.map(|names| names.split(' ').filter(|name| *name != "model").collect())
}

/// What the players of a page need and the page lacks. mdBook includes it in comments, so the page
/// works without a network, and readers on GitHub do not see it.
fn problems(name: &str, page: &str) -> Vec<String> {
    let scenes = Scene::all();
    let mut problems = Vec::new();
    for player in players(page) {
        let mut needed = Vec::new();
        if let Some(first) = player.first() {
            needed.push(format!("<img src=\"loop/pictures/{first}.svg\" alt=\""));
        }
        for scene in player {
            needed.push(format!(
                "<!-- trace\n{{{{#include loop/traces/{scene}.json}}}}\n-->"
            ));
            let scene = scenes.iter().find(|known| known.name == scene);
            needed.extend(scene.map(|scene| include_of(&scene.program)));
        }
        let missing = needed.iter().filter(|text| !page.contains(*text));
        problems.extend(missing.map(|text| format!("{name} lacks {text}")));
    }
    problems
}

fn include_of(program: &str) -> String {
    let (path, include) = match program.split(' ').next() {
        Some("mistaken") => (
            "tools/mistaken/src/main.rs".to_owned(),
            "../../tools/mistaken/src/main.rs".to_owned(),
        ),
        Some("chat.c") => (
            "docs/examples/chat.c".to_owned(),
            "../examples/chat.c".to_owned(),
        ),
        _ => (
            format!("{program}/src/main.rs"),
            format!("../../{program}/src/main.rs"),
        ),
    };
    format!("<!-- source {path}\n{{{{#include {include}}}}}\n-->")
}
