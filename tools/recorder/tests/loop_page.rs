//! The players in the book show every recorded trace, and show it right. Every page fits its screen.

use std::path::Path;
use std::process::{Command, Stdio};

use course::root;
use shared_testkit::{env::is_strict, skip};

/// In two browsers at once, with `TESTKIT_STRICT` set, as in CI. `loop_page.py` describes what it does.
#[test]
fn the_book_is_right_in_browsers() {
    if !is_strict() {
        return skip("two browsers play all scenes, and TESTKIT_STRICT is not set");
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
