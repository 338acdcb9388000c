//! Code on the pages that are not typed.

use crate::excerpt::{check_quote, lines};
use crate::page::{Block, Page};
use crate::record;
use crate::typing::TYPED;
use crate::workspace::{EXAMPLES, source_files};

/// Checks a `c` or `go` block: it is in the example server in that language.
pub(crate) fn check_example(page: &Page, block: &Block) -> Result<(), String> {
    let path = format!("{EXAMPLES}/chat.{}", block.language);
    let source = lines(&path);
    check_quote(page, block, &[(path, source)].into())
}

/// Checks a `text` block of system calls: a milestone makes them, one after the other.
pub(crate) fn check_calls(page: &Page, block: &Block) -> Result<(), String> {
    let milestone = block.values("calls").next();
    let calls = milestone.and_then(|name| Some((name.to_owned(), record::calls(name)?)));
    calls.map_or(Ok(()), |calls| check_quote(page, block, &[calls].into()))
}

/// Checks a `rust` block on a page that is not typed. There is no `diff` block on such a page, and
/// its marks would not be found.
pub(crate) fn check(page: &Page, block: &Block) -> Result<(), String> {
    let chapter = page.milestone();
    if chapter.is_some_and(|chapter| TYPED.contains(&chapter)) || block.has_flag("sketch") {
        return Ok(());
    }
    let mut sources = source_files();
    if chapter.is_some() || block.has_flag("wrong") {
        let prefix = chapter.map_or("milestone-".to_owned(), |n| format!("milestone-{n}-"));
        sources.retain(|source| source.starts_with(&prefix) && source.contains("/src/"));
    }
    let sources = sources
        .into_iter()
        .map(|source| (source.clone(), lines(&source)));
    check_quote(page, block, &sources.collect())
}
