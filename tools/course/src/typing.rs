//! Types the program of each chapter from the blocks of its pages.

use std::collections::BTreeMap;

use crate::page::{Block, Page, Text};
use crate::quote::{Program, check_quote, lines, lost, pieces, places};
use crate::regex;
use crate::workspace::{files, milestones};

/// The file that a block is about if it does not say otherwise.
const MAIN: &str = "src/main.rs";

/// The line of a page, and what is wrong there.
type Problem = (usize, String);

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
        let start = page.place().map(|place| (place, program.clone()));
        typed.starts.extend(start);
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
    let typed = match block.language.as_str() {
        "diff" => patch(program, block),
        "sh" => copy(program, source, block),
        "rust" if block.has_flag("sketch") || block.has_flag("example") => Ok(()),
        "rust" if block.has_flag("shown") => return check_quote(page, block, program),
        "rust" => add(program, block),
        _ => Ok(()),
    };
    typed.map_err(|(line, what)| page.problem(line, &what))
}

fn milestone(number: usize) -> Program {
    let folder = &milestones()[number - 1];
    let files = ["rs", "txt"].map(|extension| files(&format!("{folder}/src"), extension));
    let relative = |path: &str| path[folder.len() + 1..].to_owned();
    let files = files.iter().flatten();
    files.map(|path| (relative(path), lines(path))).collect()
}

/// Makes a file the milestone's.
fn copy(program: &mut Program, source: &Program, block: &Block) -> Result<(), Problem> {
    for file in block.values("copy") {
        let lines = source.get(file);
        let lines = lines.ok_or_else(|| (block.line, format!("the milestone has no {file}")))?;
        program.insert(file.to_owned(), lines.clone());
    }
    Ok(())
}

/// Types a whole block: after an item, at the end of a file, or as a new file.
fn add(program: &mut Program, block: &Block) -> Result<(), Problem> {
    if let Some(new) = block.values("new").next() {
        program.entry(new.to_owned()).or_default();
    }
    let file = file_of(program, block)?;
    let mut place = file.len();
    if let Some(item) = block.values("after").next() {
        let what = format!("as typed so far, there is no {item}, or more than one");
        place = end_of(item, file).ok_or((block.line, what))?;
    }
    let gap = (place > 0).then(String::new);
    let lines = block.lines.iter().map(|line| line.text.clone());
    file.splice(place..place, gap.into_iter().chain(lines));
    Ok(())
}

/// Applies the hunks of a `diff` block.
fn patch(program: &mut Program, block: &Block) -> Result<(), Problem> {
    let file = file_of(program, block)?;
    for hunk in pieces(block) {
        let old = without(hunk, '+');
        if old.is_empty() {
            return Err((hunk[0].line, "nothing says where these lines go".to_owned()));
        }
        let places = places(&old, file);
        let [place] = places[..] else {
            let (Text { line, text }, times) = (lost(&old, file), places.len());
            let what = format!("this hunk is there {times} times so far, not once:\n{text}");
            return Err((*line, what));
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

fn file_of<'a>(program: &'a mut Program, block: &Block) -> Result<&'a mut Vec<String>, Problem> {
    let mut keys = ["new", "append", "file"].into_iter();
    let name = keys.find_map(|key| block.values(key).next());
    let name = name.unwrap_or(MAIN);
    let what = format!("as typed so far, there is no file {name}");
    program.get_mut(name).ok_or((block.line, what))
}

/// The index of the line after an item. As `rustfmt` formats it, the item ends with the first line
/// that is indented like its first one and ends with `}` or `;`.
fn end_of(item: &str, file: &[String]) -> Option<usize> {
    // Not in a comment.
    let start = format!(r"^\s*([^/\s].*)?\b(fn|const|struct|enum|impl)\W+{item}\b");
    let start = regex(&start);
    let mut starts: Vec<_> = (0..file.len()).collect();
    starts.retain(|index| start.is_match(&file[*index]));
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

/// The program typed from a chapter's pages must be the milestone's.
fn compare<'a>(program: &'a Program, source: &'a Program, pages: &[Page]) -> Result<(), String> {
    for name in source.keys().chain(program.keys()) {
        let lines_in = |files: &'a Program| files.get(name).map_or(&[][..], Vec::as_slice);
        let (typed, wanted) = (lines_in(program), lines_in(source));
        let pairs = typed.iter().zip(wanted);
        let same = pairs.take_while(|(typed, wanted)| typed == wanted).count();
        let (typed, wanted) = (typed.get(same), wanted.get(same));
        if typed == wanted {
            continue;
        }
        let [typed, wanted] = [typed, wanted].map(|line| line.map_or("", String::as_str));
        let index = same + 1;
        let what = format!("typed: {typed}\nin line {index} of the milestone's {name}: {wanted}");
        let (page, line) = origin(typed, pages);
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
