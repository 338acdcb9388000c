//! Blocks of code and of differences against the source.

use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::page::{Block, Page};
use crate::{Problem, files, milestones, read};

/// A source file.
struct Source {
    /// From the workspace's root on.
    path: PathBuf,
    lines: Vec<String>,
}

/// A line of a block, and the number that it has on its page.
type Line = (usize, String);

/// One or more lines of a block that stand in the source without a gap.
type Piece<'a> = &'a [Line];

pub(crate) fn check(root: &Path, page: &Page) -> Vec<Problem> {
    let mut problems = Vec::new();
    for block in &page.blocks {
        let result = match block.language.as_str() {
            "rust" => check_rust(root, page, block),
            "diff" => check_diff(root, page, block),
            _ => Ok(()),
        };
        if let Err((line, what)) = result {
            problems.push(Problem::new(page, line, what));
        }
    }
    problems
}

fn check_rust(root: &Path, page: &Page, block: &Block) -> Result<(), (usize, String)> {
    if block.has_flag("sketch") {
        return Ok(());
    }
    let lines = numbered(block);
    let pieces = pieces(&lines, "// …");
    let sources = match page.milestone() {
        Some(number) => milestone(root, number).map_err(|what| (block.line, what))?,
        None if block.has_flag("wrong") => servers(root),
        None => all_sources(root),
    };
    let stands_in = sources.iter().find(|source| stands(&pieces, source));
    match (stands_in, block.has_flag("wrong")) {
        (Some(_), false) | (None, true) => Ok(()),
        (Some(source), true) => {
            let what = format!(
                "this block is marked as wrong, but it stands in {}",
                source.path.display()
            );
            Err((block.line, what))
        }
        (None, false) => Err(nearest(block, &pieces, &sources)),
    }
}

/// A block of a difference is right if what it shows of either side stands there, and if a line that
/// it adds or takes away is one that there is more, or less, of. Which of two equal lines is called
/// the new one differs from tool to tool, and this does not depend on it.
fn check_diff(root: &Path, page: &Page, block: &Block) -> Result<(), (usize, String)> {
    let whole = |what: String| (block.line, what);
    let Some(number) = page.milestone().filter(|number| *number > 1) else {
        let what = "a `diff` block belongs into the chapter of a milestone that has one before it";
        return Err(whole(what.to_owned()));
    };
    for (index, line) in block.lines.iter().enumerate() {
        if !line.is_empty() && !line.starts_with([' ', '+', '-']) && line != "…" {
            let what = format!("a line of a `diff` begins with ` `, `+` or `-`: {line:?}");
            return Err((block.line + index, what));
        }
    }

    let before = milestone(root, number - 1).map_err(whole)?;
    let after = milestone(root, number).map_err(whole)?;
    let old = side(block, '-');
    let new = side(block, '+');
    let old_pieces = pieces(&old, "…");
    let new_pieces = pieces(&new, "…");
    let Some(before) = before.iter().find(|source| stands(&old_pieces, source)) else {
        return Err(nearest(block, &old_pieces, &before));
    };
    let Some(after) = after.iter().find(|source| stands(&new_pieces, source)) else {
        return Err(nearest(block, &new_pieces, &after));
    };

    for (index, line) in block.lines.iter().enumerate() {
        let Some(code) = line.get(1..).filter(|code| !code.trim().is_empty()) else {
            continue;
        };
        let added = after.count(code) > before.count(code);
        let removed = after.count(code) < before.count(code);
        let verb = match line.chars().next() {
            Some('+') if !added => "add",
            Some('-') if !removed => "take away",
            _ => continue,
        };
        let what = format!(
            "the step to {} does not {verb} this line:\n{line}",
            after.path.display()
        );
        return Err((block.line + index, what));
    }
    Ok(())
}

fn numbered(block: &Block) -> Vec<Line> {
    (block.line..).zip(block.lines.iter().cloned()).collect()
}

/// One side of a difference: what is on both, and what only this one has.
fn side(block: &Block, mark: char) -> Vec<Line> {
    let mut lines = numbered(block);
    lines.retain(|(_, line)| !line.starts_with(['+', '-']) || line.starts_with(mark));
    for (_, line) in lines.iter_mut().filter(|(_, line)| line != "…") {
        *line = line.get(1..).unwrap_or_default().to_owned();
    }
    lines
}

/// The lines between those that stand for left-out ones.
fn pieces<'a>(lines: &'a [Line], left_out: &str) -> Vec<Piece<'a>> {
    let pieces = lines.split(|(_, line)| line.trim() == left_out);
    pieces
        .filter(|piece| piece.iter().any(|(_, line)| !line.trim().is_empty()))
        .collect()
}

/// Whether all pieces stand in the source, one after the other, all indented less by the same.
fn stands(pieces: &[Piece<'_>], source: &Source) -> bool {
    let Some((first, others)) = pieces.split_first() else {
        return true;
    };
    (0..source.lines.len()).any(|start| {
        let Some(indent) = indent_at(first, source, start) else {
            return false;
        };
        let mut from = start + first.len();
        others.iter().all(|piece| {
            let place = (from..source.lines.len())
                .find(|start| indent_at(piece, source, *start) == Some(indent));
            if let Some(place) = place {
                from = place + piece.len();
            }
            place.is_some()
        })
    })
}

/// By how much more the source is indented, if the piece stands in it from this line on.
fn indent_at(piece: Piece<'_>, source: &Source, start: usize) -> Option<usize> {
    let lines = source.lines.get(start..start + piece.len())?;
    let pairs = || piece.iter().map(|(_, line)| line).zip(lines);
    let (line, source_line) = pairs().find(|(line, _)| !line.is_empty())?;
    let indent = source_line.len().checked_sub(line.len())?;
    let spaces = " ".repeat(indent);
    pairs()
        .all(|(line, source)| match line.is_empty() {
            true => source.is_empty(),
            false => source.strip_prefix(&spaces) == Some(line),
        })
        .then_some(indent)
}

/// The first line that is not in the source, and the difference between the first piece that stands
/// nowhere and the place most like it.
fn nearest(block: &Block, pieces: &[Piece<'_>], sources: &[Source]) -> (usize, String) {
    let names: Vec<_> = sources
        .iter()
        .map(|s| s.path.display().to_string())
        .collect();
    let names = match names.len() {
        0..=3 => names.join(" or "),
        _ => "any source file".to_owned(),
    };
    let language = &block.language;
    let stands_alone = |piece: Piece<'_>| sources.iter().any(|source| stands(&[piece], source));
    let Some(lost) = pieces.iter().find(|piece| !stands_alone(piece)) else {
        let what = format!(
            "the pieces of this {language} block stand in {names}, but not in one file, in this \
             order and with the same indentation"
        );
        return (block.line, what);
    };

    let texts: Vec<_> = lost.iter().map(|(_, line)| line.as_str()).collect();
    let windows = sources.iter().flat_map(|source| {
        let lines = &source.lines;
        (0..lines.len()).map(move |start| (source, start))
    });
    let window = |source: &'_ Source, start: usize| {
        let end = (start + texts.len()).min(source.lines.len());
        source.lines[start..end].to_vec()
    };
    let indent = |line: &str| line.len() - line.trim_start().len();
    // By how much more each line is indented in the source that is the same otherwise.
    let alike = |lines: &[String]| -> Vec<usize> {
        let pairs = texts.iter().zip(lines);
        let same = pairs.filter(|(a, b)| !a.trim().is_empty() && a.trim() == b.trim());
        same.map(|(a, b)| indent(b).saturating_sub(indent(a)))
            .collect()
    };
    // Of equals the first, which `max_by_key` would not give.
    let best = windows
        .rev()
        .max_by_key(|(source, start)| alike(&window(source, *start)).len());
    let same = best.map(|(source, start)| alike(&window(source, start)));
    let (Some((source, start)), Some(Some(less))) = (best, same.map(|s| s.first().copied())) else {
        let what = format!(
            "no line of this {language} block stands in {names}:\n{}",
            texts.join("\n")
        );
        return (lost[0].0, what);
    };

    let in_source: Vec<_> = window(source, start)
        .iter()
        .map(|line| {
            line.get(less.min(indent(line))..)
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let pairs = texts.iter().zip(&in_source);
    let first = pairs
        .take_while(|(a, b)| *a == b)
        .count()
        .min(lost.len() - 1);
    let in_book = texts.join("\n") + "\n";
    let in_source = in_source.join("\n") + "\n";
    let difference = TextDiff::from_lines(&in_book, &in_source);
    let what = format!(
        "this {language} block does not stand in {names}. `-` is the book, `+` is {} from line {} \
         on:\n{}",
        source.path.display(),
        start + 1,
        difference.unified_diff().context_radius(3)
    );
    (lost[first].0, what)
}

impl Source {
    fn read(root: &Path, path: &Path) -> Source {
        Source {
            path: path.strip_prefix(root).unwrap_or(path).to_owned(),
            lines: read(path).lines().map(str::to_owned).collect(),
        }
    }

    /// How often a line stands in it, wherever it is indented to.
    fn count(&self, line: &str) -> usize {
        let line = line.trim();
        self.lines.iter().filter(|l| l.trim() == line).count()
    }
}

/// The source files of a milestone.
fn milestone(root: &Path, number: usize) -> Result<Vec<Source>, String> {
    let names = milestones(root);
    let prefix = format!("milestone-{number}-");
    let Some(name) = names.iter().find(|name| name.starts_with(&prefix)) else {
        return Err(format!("there is no milestone {number}"));
    };
    let paths = files(&root.join(name).join("src"), "rs");
    Ok(paths.iter().map(|path| Source::read(root, path)).collect())
}

/// The source files of all milestones.
fn servers(root: &Path) -> Vec<Source> {
    let sources = milestones(root)
        .into_iter()
        .map(|name| format!("{name}/src"));
    read_all(root, sources)
}

/// Every source file that a page may quote which is not a milestone's chapter.
fn all_sources(root: &Path) -> Vec<Source> {
    let others = ["shared-testkit".to_owned(), "docs".to_owned()];
    read_all(root, milestones(root).into_iter().chain(others))
}

fn read_all(root: &Path, folders: impl Iterator<Item = String>) -> Vec<Source> {
    let paths = folders.flat_map(|folder| files(&root.join(folder), "rs"));
    paths.map(|path| Source::read(root, &path)).collect()
}
