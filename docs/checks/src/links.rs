//! Links, the anchors that they lead to, and the table of contents.

use std::path::{Component, Path, PathBuf};

use crate::page::Page;
use crate::{CHAPTERS, Problem};

/// The table of contents as mdBook reads it.
const SUMMARY: &str = "SUMMARY.md";

pub(crate) fn check(root: &Path, pages: &[Page]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for page in pages {
        problems.extend(check_headings(page));
        for link in &page.links {
            if let Err(what) = check_link(root, pages, page, &link.target) {
                problems.push(Problem::new(page, link.line, what));
            }
        }
    }
    problems.extend(check_summary(pages));
    problems
}

/// GitHub and mdBook make the same anchor of a heading, as long as it is plain ASCII and the only
/// one of its kind on the page.
fn check_headings(page: &Page) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut anchors: Vec<String> = Vec::new();
    for heading in &page.headings {
        let text = &heading.text;
        let anchor = anchor(text);
        let what = if !text.is_ascii() {
            "has more than ASCII"
        } else if anchors.contains(&anchor) {
            "is on this page already"
        } else {
            anchors.push(anchor);
            continue;
        };
        let what = format!("the heading {text:?} {what}: its anchor depends on who renders it");
        problems.push(Problem::new(page, heading.line, what));
    }
    problems
}

/// The anchor of an ASCII heading, by the rule of GitHub and of mdBook.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_ascii_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn check_link(root: &Path, pages: &[Page], page: &Page, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
    let path = match path {
        "" => page.path.clone(),
        path => resolve(&page.folder().join(path))
            .ok_or_else(|| format!("the link {target:?} leads out of the workspace"))?,
    };
    let in_book = page.folder() == Path::new(CHAPTERS);
    if in_book && !path.starts_with(CHAPTERS) {
        return Err(format!(
            "the link {target:?} leads out of the book, so it is dead where mdBook has built it: \
             name the file as `{}` instead",
            path.display()
        ));
    }

    let other = pages.iter().find(|other| other.path == path);
    if other.is_none() && !root.join(&path).exists() {
        return Err(format!(
            "the link {target:?} is dead: there is no {}",
            path.display()
        ));
    }
    if fragment.is_empty() {
        return Ok(());
    }
    let Some(other) = other else {
        return Err(format!(
            "the link {target:?} has an anchor, but {} is no page with headings",
            path.display()
        ));
    };
    let anchors: Vec<_> = other.headings.iter().map(|h| anchor(&h.text)).collect();
    if anchors.iter().any(|anchor| anchor == fragment) {
        return Ok(());
    }
    Err(format!(
        "the link {target:?} is dead: {} has no such heading, only\n#{}",
        path.display(),
        anchors.join("\n#")
    ))
}

/// Takes `.` and `..` out of a path. `None` if it leaves the workspace.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// Every page stands in the table of contents. That what stands there exists, `check_link` sees.
fn check_summary(pages: &[Page]) -> Vec<Problem> {
    let Some(summary) = pages.iter().find(|page| page.name() == SUMMARY) else {
        return Vec::new();
    };
    let is_listed = |page: &Page| {
        let mut links = summary.links.iter();
        links.any(|link| resolve(&summary.folder().join(&link.target)).as_ref() == Some(&page.path))
    };
    let forgotten = pages.iter().filter(|page| {
        page.folder() == summary.folder() && page.name() != SUMMARY && !is_listed(page)
    });
    forgotten
        .map(|page| Problem::new(page, 1, format!("this page does not stand in {SUMMARY}")))
        .collect()
}
