//! Links, the anchors that they point to, and the table of contents.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use course::workspace::{PAGES, SUMMARY, root};
use course::{Book, Page};

/// Checks that links lead somewhere, that their anchors exist, and that the table of contents
/// has every page.
#[must_use]
pub fn check_links(book: &Book) -> Vec<String> {
    let pages = &book.pages;
    let summary = pages.iter().find(|page| page.name() == SUMMARY);
    let mut problems = Vec::new();
    for page in pages {
        let is_listed = |summary: &Page| summary.links.iter().any(|l| l.text == page.name());
        let is_in_book = page.folder() == Path::new(PAGES) && page.name() != SUMMARY;
        if is_in_book && !summary.is_none_or(is_listed) {
            problems.push(page.problem(1, "this page is not in SUMMARY.md"));
        }
        problems.extend(check_headings(page));
        for link in &page.links {
            if let Err(what) = check_link(pages, page, &link.text) {
                let what = format!("the link {:?} {what}", link.text);
                problems.push(page.problem(link.line, &what));
            }
        }
    }
    problems
}

/// GitHub and mdBook derive the same anchor from a heading, as long as it is ASCII and unique on its
/// page.
fn check_headings(page: &Page) -> Vec<String> {
    let mut anchors = BTreeSet::new();
    let problems = page.headings.iter().filter_map(|heading| {
        let why = match &heading.text {
            text if !text.is_ascii() => "is not ASCII, so its anchor depends on the tool",
            text if !anchors.insert(anchor(text)) => "is on this page already",
            _ => return None,
        };
        let what = format!("the heading {:?} {why}", heading.text);
        Some(page.problem(heading.line, &what))
    });
    problems.collect()
}

/// The anchor of an ASCII heading.
fn anchor(heading: &str) -> String {
    let mut anchor = heading.to_ascii_lowercase().replace(' ', "-");
    anchor.retain(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    anchor
}

fn check_link(pages: &[Page], page: &Page, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.path.clone(),
        file => resolve(page.folder(), file).ok_or("points out of the workspace")?,
    };
    let name = path.display();
    if page.folder() == Path::new(PAGES) && !path.starts_with(PAGES) {
        return Err(format!("points out of the book: write `{name}` instead"));
    }
    let other = pages.iter().find(|other| other.path == path);
    if other.is_none() && !root().join(&path).exists() {
        return Err(format!("is dead: there is no {name}"));
    }
    let headings = other.map_or(&[][..], |other| &other.headings);
    let anchors: Vec<_> = headings.iter().map(|h| anchor(&h.text)).collect();
    if fragment.is_empty() || anchors.iter().any(|anchor| anchor == fragment) {
        return Ok(());
    }
    Err(format!("is dead: the anchors of {name} are {anchors:?}"))
}

/// Follows a relative path. `None` if it leads out of the workspace.
fn resolve(folder: &Path, relative: &str) -> Option<PathBuf> {
    let mut parts = relative.split('/');
    parts.try_fold(folder.to_owned(), |path, part| match part {
        ".." => Some(path.parent()?.to_owned()),
        part => Some(path.join(part)),
    })
}
