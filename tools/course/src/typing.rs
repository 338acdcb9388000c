//! Types the program of each chapter from the blocks of its pages.

use crate::page::{Block, Page, Text};
use std::collections::BTreeMap;

use crate::quote::{Program, check_quote, lines, lost, pieces, places};
use crate::workspace::{files, milestones};

/// The file that a block is about if it does not say otherwise.
const MAIN: &str = "src/main.rs";

/// What comes before the name of an item.
const KEYWORDS: [&str; 5] = ["fn", "const", "struct", "enum", "impl"];

/// The program at one place in a chapter, and the tests that are about it.
pub struct Checkpoint<'a> {
    /// Where it is.
    pub page: &'a Page,
    /// The block that names the tests.
    pub block: &'a Block,
    /// The number of the chapter.
    pub chapter: usize,
    /// Every file of the program, by its path in the crate.
    pub program: Program,
}

/// What came of typing the chapters.
#[derive(Default)]
pub struct Typed<'a> {
    /// What is wrong: of each chapter, what is wrong first.
    pub problems: Vec<String>,
    /// In the order of the text.
    pub checkpoints: Vec<Checkpoint<'a>>,
    /// The program as it stands where a page begins, by the page's [`Page::place`].
    pub starts: BTreeMap<(usize, usize), Program>,
}

/// Types the program of each chapter. A chapter of several pages goes on where the page before ended.
#[must_use]
pub fn type_book(pages: &[Page]) -> Typed<'_> {
    let mut typed = Typed::default();
    let chapters = pages.chunk_by(|a, b| a.milestone() == b.milestone());
    for pages in chapters {
        if let Some(chapter) = pages[0].milestone() {
            let result = type_chapter(chapter, pages, &mut typed);
            typed.problems.extend(result.err());
        }
    }
    typed
}

fn type_chapter<'a>(
    chapter: usize,
    pages: &'a [Page],
    typed: &mut Typed<'a>,
) -> Result<(), String> {
    // What the chapter before has left is its milestone, or that is reported there.
    let mut program = match chapter {
        1 => Program::from([(MAIN.to_owned(), Vec::new())]),
        _ => milestone(chapter - 1),
    };
    let source = milestone(chapter);
    for page in pages {
        typed
            .starts
            .extend(page.place().map(|place| (place, program.clone())));
        for block in &page.blocks {
            type_block(&mut program, &source, page, block)?;
            if block.has_flag("checkpoint") {
                typed.checkpoints.push(Checkpoint {
                    page,
                    block,
                    chapter,
                    program: program.clone(),
                });
            }
        }
    }
    compare(&program, &source, pages)
}

fn type_block(
    program: &mut Program,
    source: &Program,
    page: &Page,
    block: &Block,
) -> Result<(), String> {
    for file in block.values("copy") {
        let what = format!("the milestone has no {file}");
        let lines = source
            .get(file)
            .ok_or_else(|| page.problem(block.line, &what))?;
        program.insert(file.to_owned(), lines.clone());
    }
    match block.language.as_str() {
        "diff" => patch(program, page, block),
        "rust" if block.has_flag("sketch") || block.has_flag("example") => Ok(()),
        "rust" if block.has_flag("wrong") => check_quote(page, block, source),
        "rust" if block.has_flag("shown") => check_quote(page, block, program),
        "rust" => add(program, page, block),
        _ => Ok(()),
    }
}

fn milestone(number: usize) -> Program {
    let folder = &milestones()[number - 1];
    let files = ["rs", "txt"].map(|extension| files(&format!("{folder}/src"), extension));
    let files = files.into_iter().flatten();
    let relative = |path: &str| path[folder.len() + 1..].to_owned();
    files.map(|path| (relative(&path), lines(&path))).collect()
}

/// Types a whole block: after an item, at the end of a file, or as a new file.
fn add(program: &mut Program, page: &Page, block: &Block) -> Result<(), String> {
    if let Some(new) = block.values("new").next() {
        program.entry(new.to_owned()).or_default();
    }
    let file = file_of(program, page, block)?;
    let mut place = file.len();
    if let Some(item) = block.values("after").next() {
        let what = format!("as typed so far, there is no {item}, or more than one");
        place = end_of(item, file).ok_or_else(|| page.problem(block.line, &what))?;
    }
    let mut lines: Vec<_> = block.lines.iter().map(|line| line.text.clone()).collect();
    if place > 0 {
        lines.insert(0, String::new());
    }
    file.splice(place..place, lines);
    Ok(())
}

/// Applies the hunks of a `diff` block.
fn patch(program: &mut Program, page: &Page, block: &Block) -> Result<(), String> {
    let file = file_of(program, page, block)?;
    for hunk in pieces(block) {
        let old = without(hunk, '+');
        if old.is_empty() {
            return Err(page.problem(hunk[0].line, "nothing says where these lines go"));
        }
        let places = places(&old, file);
        let [place] = places[..] else {
            let (Text { line, text }, times) = (lost(&old, file), places.len());
            let what = format!("this hunk is there {times} times so far, not once:\n{text}");
            return Err(page.problem(*line, &what));
        };
        let new = without(hunk, '-').into_iter().map(|line| line.text);
        file.splice(place..place + old.len(), new);
    }
    Ok(())
}

/// One side of a diff, without the marks.
fn without(hunk: &[Text], mark: char) -> Vec<Text> {
    let lines = hunk.iter().filter(|line| !line.text.starts_with(mark));
    let unmarked = lines.map(|line| Text::new(line.line, line.text.get(1..).unwrap_or_default()));
    unmarked.collect()
}

fn file_of<'a>(
    program: &'a mut Program,
    page: &Page,
    block: &Block,
) -> Result<&'a mut Vec<String>, String> {
    let mut keys = ["new", "append", "file"].into_iter();
    let name = keys.find_map(|key| block.values(key).next());
    let name = name.unwrap_or(MAIN);
    let what = format!("as typed so far, there is no file {name}");
    let file = program.get_mut(name);
    file.ok_or_else(|| page.problem(block.line, &what))
}

/// The index of the line after an item. As `rustfmt` formats it, the item ends with the first line
/// that is indented like its first one and ends with `}` or `;`.
fn end_of(item: &str, file: &[String]) -> Option<usize> {
    let mut starts: Vec<_> = (0..file.len()).collect();
    starts.retain(|index| declares(&file[*index], item));
    let start = *starts.last()?;
    // A type and its `impl` have the same name, but two functions are ambiguous.
    if starts.len() > 1 && file[start].contains("fn ") {
        return None;
    }
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_like_start = |line: &str| indent(line) == indent(&file[start]);
    let is_end = |line: &String| is_like_start(line) && line.ends_with(['}', ';']);
    Some(start + 1 + file[start..].iter().position(is_end)?)
}

/// Whether an item begins in this line.
fn declares(line: &str, item: &str) -> bool {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let mut pairs = words.windows(2);
    let is_comment = line.trim_start().starts_with("//");
    !is_comment && pairs.any(|pair| KEYWORDS.contains(&pair[0]) && pair[1] == item)
}

/// The program typed from a chapter's pages must be the milestone's.
fn compare(program: &Program, source: &Program, pages: &[Page]) -> Result<(), String> {
    let nothing = Vec::new();
    for name in source.keys().chain(program.keys()) {
        let typed = program.get(name).unwrap_or(&nothing);
        let wanted = source.get(name).unwrap_or(&nothing);
        let pairs = typed.iter().zip(wanted);
        let same = pairs.take_while(|(typed, wanted)| typed == wanted).count();
        if same == typed.len().max(wanted.len()) {
            continue;
        }
        let line_of = |lines: &[String]| lines.get(same).cloned().unwrap_or_default();
        let (typed, wanted) = (line_of(typed), line_of(wanted));
        let index = same + 1;
        let what = format!("typed: {typed}\nin line {index} of the milestone's {name}: {wanted}");
        let (page, line) = origin(&typed, pages);
        return Err(page.problem(line, &what));
    }
    Ok(())
}

/// Where a line was typed, or the top of the last page if nowhere, or in several places.
fn origin<'a>(typed: &str, pages: &'a [Page]) -> (&'a Page, usize) {
    let is_it = |line: &Text| line.text == typed || line.text.strip_prefix('+') == Some(typed);
    let lines = pages.iter().flat_map(|page| {
        let lines = page.blocks.iter().flat_map(|block| &block.lines);
        lines.map(move |line| (page, line))
    });
    match lines.filter(|(_, line)| is_it(line)).collect::<Vec<_>>()[..] {
        [(page, line)] => (page, line.line),
        _ => (&pages[pages.len() - 1], 1),
    }
}
