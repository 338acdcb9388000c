//! A page of the book, reduced to what the checks look at.

use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

/// A page of the book.
#[derive(Default)]
pub struct Page {
    /// Relative to the workspace's root.
    pub path: PathBuf,
    /// The fenced blocks.
    pub blocks: Vec<Block>,
    /// The headings, without the number signs.
    pub headings: Vec<Text>,
    /// Where links and pictures point.
    pub links: Vec<Text>,
    /// Code in a sentence or a table.
    pub spans: Vec<Text>,
}

/// A piece of text and the number of its line on the page.
#[derive(Clone)]
pub struct Text {
    /// Its number, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// The line of the opening fence.
    pub line: usize,
    /// The first word of the info string.
    pub language: String,
    /// What follows the language in the info string, separated by commas.
    flags: Vec<String>,
    /// The lines between the fences.
    pub lines: Vec<Text>,
}

impl Page {
    /// Parses a page. `path` is relative to the workspace's root.
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Page {
        let mut page = Page {
            path: path.into(),
            ..Page::default()
        };
        for (event, range) in Parser::new(text).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    page.blocks.push(Block::new(line, &info, &text[range]));
                }
                Event::Start(Tag::Heading { .. }) => {
                    let heading = text[range].trim_matches(['#', ' ', '\n']);
                    page.headings.push(Text::new(line, heading));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Text::new(line, &dest_url));
                }
                // Markdown cannot give a picture a size, so it may be an `<img src="…">`.
                Event::Html(html) | Event::InlineHtml(html) => {
                    let targets = html.split("src=\"").skip(1);
                    let targets = targets.filter_map(|rest| rest.split('"').next());
                    let links = targets.map(|target| Text::new(line, target));
                    page.links.extend(links);
                }
                Event::Code(code) => page.spans.push(Text::new(line, &code)),
                _ => {}
            }
        }
        page
    }

    /// Describes a problem: `FILE:LINE: what is wrong`, with further lines indented.
    pub fn problem(&self, line: usize, what: &str) -> String {
        let what = what.trim_end().replace('\n', "\n    ");
        format!("{}:{line}: {what}", self.path.display())
    }

    /// The milestone whose chapter this page is: 3 for `3-broadcast.md`.
    pub fn milestone(&self) -> Option<usize> {
        Some(self.place()?.0)
    }

    /// The chapter, and the stop if the chapter has several pages, else 0: 5 and 3 for
    /// `5-3-write-first.md`.
    pub fn place(&self) -> Option<(usize, usize)> {
        let mut numbers = self.name().split('-').map(str::parse);
        let chapter = numbers.next()?.ok()?;
        Some((chapter, numbers.next()?.unwrap_or(0)))
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// The folder that it is in, relative to the workspace's root.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

impl Text {
    /// A line of a page.
    pub fn new(line: usize, text: &str) -> Text {
        let text = text.to_owned();
        Text { line, text }
    }
}

impl Block {
    /// A block whose source begins with the opening fence.
    fn new(line: usize, info: &str, source: &str) -> Block {
        let mut words = info.split(',').map(|word| word.trim().to_owned());
        let lines = (line..).zip(source.lines()).skip(1);
        let lines = lines.take_while(|(_, text)| !text.starts_with("```"));
        Block {
            line,
            language: words.next().unwrap_or_default(),
            flags: words.collect(),
            lines: lines.map(|(line, text)| Text::new(line, text)).collect(),
        }
    }

    /// Whether the info string has this word.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// The values of `KEY=VALUE`, of which there may be several.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let pairs = self.flags.iter().filter_map(|flag| flag.split_once('='));
        let wanted = pairs.filter(move |(k, _)| *k == key);
        wanted.map(|(_, value)| value)
    }
}
