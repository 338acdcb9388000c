//! Code on the pages that are not typed, and system calls.

use crate::excerpt::{check_quote, lines};
use crate::page::{Block, Page};
use crate::record;
use crate::workspace::{EXAMPLES, source_files};

/// Checks a block in C or Go, or on a page that is not typed in Rust. There is no `diff` block on such a
/// page, and its marks would not be found.
pub(crate) fn check(page: &Page, block: &Block) -> Result<(), String> {
    let mut sources = source_files();
    match block.language.as_str() {
        "c" | "go" => sources = vec![format!("{EXAMPLES}/chat.{}", block.language)],
        _ if page.milestone().is_some() || block.has_flag("sketch") => return Ok(()),
        _ if block.has_flag("wrong") => {
            sources.retain(|path| path.starts_with("milestone-") && path.contains("/src/"));
        }
        _ => {}
    }
    let sources = sources.into_iter().map(|path| {
        let lines = lines(&path);
        (path, lines)
    });
    check_quote(page, block, &sources.collect())
}

/// Checks a `text` block of system calls: a milestone makes them, one after the other.
pub(crate) fn check_calls(page: &Page, block: &Block) -> Result<(), String> {
    let milestone = block.values("calls").next();
    let calls = milestone.and_then(|name| Some((name.to_owned(), record::calls(name)?)));
    calls.map_or(Ok(()), |calls| check_quote(page, block, &[calls].into()))
}
