//! Code on the pages that are not typed, and system calls.

use crate::excerpt::{Program, check_quote, lines};
use crate::page::{Block, Page};
use crate::record;
use crate::workspace::{EXAMPLES, source_files};

/// The sources that any page may quote.
pub(crate) fn sources() -> Program {
    let files = source_files().into_iter();
    files.map(|path| (path.clone(), lines(&path))).collect()
}

/// Checks a block in C or Go, or on a page that is not typed in Rust. There is no `diff` block on such a
/// page, and its marks would not be found.
pub(crate) fn check(page: &Page, block: &Block, sources: &Program) -> Result<(), String> {
    match block.language.as_str() {
        "c" | "go" => {
            let path = format!("{EXAMPLES}/chat.{}", block.language);
            let example = lines(&path);
            check_quote(page, block, &[(path, example)].into())
        }
        _ if page.milestone().is_some() || block.has_flag("sketch") => Ok(()),
        _ if block.has_flag("wrong") => {
            let mut servers = sources.clone();
            servers.retain(|path, _| path.starts_with("milestone-") && path.contains("/src/"));
            check_quote(page, block, &servers)
        }
        _ => check_quote(page, block, sources),
    }
}

/// Checks a `text` block of system calls: a milestone makes them, one after the other.
pub(crate) fn check_calls(page: &Page, block: &Block) -> Result<(), String> {
    let milestone = block.values("calls").next();
    let calls = milestone.and_then(|name| Some((name.to_owned(), record::calls(name)?)));
    calls.map_or(Ok(()), |calls| check_quote(page, block, &[calls].into()))
}
