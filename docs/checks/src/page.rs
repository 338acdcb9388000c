//! A page of the book, as far as the checks look at it.

use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page of the book.
pub struct Page {
    /// From the workspace's root on.
    pub(crate) path: PathBuf,
    pub(crate) blocks: Vec<Block>,
    pub(crate) headings: Vec<Heading>,
    pub(crate) links: Vec<Link>,
    pub(crate) codes: Vec<Code>,
}

/// A fenced block.
pub(crate) struct Block {
    /// The line of the page that its first line is.
    pub line: usize,
    pub language: String,
    /// What follows the language, after commas.
    pub flags: Vec<String>,
    pub lines: Vec<String>,
}

pub(crate) struct Heading {
    pub line: usize,
    pub text: String,
}

/// A link or the place of a picture.
pub(crate) struct Link {
    pub line: usize,
    pub target: String,
}

/// Code within a sentence or a table.
pub(crate) struct Code {
    pub line: usize,
    pub text: String,
    /// Whether the text around it says that this is a test.
    pub is_test: bool,
}

impl Page {
    /// Reads a page's text. The path is where it lies in the workspace.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Page {
        let mut reader = Reader {
            page: Page {
                path: path.into(),
                blocks: Vec::new(),
                headings: Vec::new(),
                links: Vec::new(),
                codes: Vec::new(),
            },
            block: None,
            heading: None,
            before: String::new(),
            last_was_test: false,
            in_table_head: false,
            column: 0,
            columns: Vec::new(),
        };
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        let line_ends: Vec<_> = text.match_indices('\n').map(|(at, _)| at).collect();
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            let line = line_ends.partition_point(|end| *end < range.start) + 1;
            reader.take(event, line);
        }
        reader.page
    }

    /// The number of the milestone that this page is the chapter of, if it is one.
    pub(crate) fn milestone(&self) -> Option<usize> {
        let name = self.name();
        name.split_once('-')?.0.parse().ok()
    }

    pub(crate) fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

impl Block {
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }
}

struct Reader {
    page: Page,
    block: Option<(Block, String)>,
    heading: Option<Heading>,
    /// The text since the paragraph, cell or item began, or since the last code in it.
    before: String,
    last_was_test: bool,
    in_table_head: bool,
    column: usize,
    /// For each column of the table whether its head says that tests stand in it.
    columns: Vec<bool>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: usize) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => self.start_block(&kind, line),
            Event::End(TagEnd::CodeBlock) => self.end_block(),
            Event::Start(Tag::Heading { .. }) => {
                let text = String::new();
                self.heading = Some(Heading { line, text });
            }
            Event::End(TagEnd::Heading(_)) => self.page.headings.extend(self.heading.take()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                self.add_link(line, &dest_url);
            }
            Event::Start(Tag::Paragraph | Tag::Item) => self.forget_before(),
            Event::Start(Tag::Table(_)) | Event::End(TagEnd::Table) => self.columns.clear(),
            Event::Start(Tag::TableHead) => {
                self.in_table_head = true;
                self.column = 0;
            }
            Event::End(TagEnd::TableHead) => self.in_table_head = false,
            Event::Start(Tag::TableRow) => self.column = 0,
            Event::Start(Tag::TableCell) => self.forget_before(),
            Event::End(TagEnd::TableCell) => self.end_cell(),
            Event::Text(text) => self.text(&text),
            Event::Code(text) => self.code(&text, line),
            Event::Html(html) | Event::InlineHtml(html) => self.html(&html, line),
            Event::SoftBreak | Event::HardBreak => self.text(" "),
            _ => {}
        }
    }

    fn start_block(&mut self, kind: &CodeBlockKind<'_>, line: usize) {
        let (info, line) = match kind {
            CodeBlockKind::Fenced(info) => (info.as_ref(), line + 1),
            CodeBlockKind::Indented => ("", line),
        };
        let mut words = info.split([',', ' ']).map(|word| word.trim().to_owned());
        let block = Block {
            line,
            language: words.next().unwrap_or_default(),
            flags: words.filter(|word| !word.is_empty()).collect(),
            lines: Vec::new(),
        };
        self.block = Some((block, String::new()));
    }

    fn end_block(&mut self) {
        if let Some((mut block, text)) = self.block.take() {
            block.lines = text.lines().map(str::to_owned).collect();
            self.page.blocks.push(block);
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((_, block)) = &mut self.block {
            block.push_str(text);
            return;
        }
        if let Some(heading) = &mut self.heading {
            heading.text.push_str(text);
        }
        self.before.push_str(text);
    }

    fn code(&mut self, text: &str, line: usize) {
        if let Some(heading) = &mut self.heading {
            heading.text.push_str(text);
        }
        let before = self.before.trim();
        let word = before
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let goes_on = matches!(before, "," | "and" | ", and" | "or");
        let is_test = matches!(word, "test" | "Test" | "tests" | "Tests")
            || (goes_on && self.last_was_test)
            || (!self.in_table_head && self.columns.get(self.column) == Some(&true));
        self.last_was_test = is_test;
        self.before.clear();
        self.page.codes.push(Code {
            line,
            text: text.to_owned(),
            is_test,
        });
    }

    fn forget_before(&mut self) {
        self.before.clear();
        self.last_was_test = false;
    }

    fn end_cell(&mut self) {
        if self.in_table_head {
            let head = self.before.trim().to_lowercase();
            let is_test = head == "test" || head == "tests" || head.ends_with("the test");
            self.columns.push(is_test);
        }
        self.column += 1;
    }

    /// Markdown has no size for a picture, so some are `<img src="…">`.
    fn html(&mut self, html: &str, line: usize) {
        for attribute in ["src=\"", "href=\""] {
            for (at, _) in html.match_indices(attribute) {
                let rest = &html[at + attribute.len()..];
                let target = rest.split('"').next().unwrap_or_default();
                self.add_link(line, target);
            }
        }
    }

    fn add_link(&mut self, line: usize, target: &str) {
        self.page.links.push(Link {
            line,
            target: target.to_owned(),
        });
    }
}
