//! Transcripts as they are written: what stands in a line.

use std::path::Path;

use shared_testkit::lines::LISTENING;

use crate::page::{Block, Page};
use crate::{Problem, milestones};

/// Where a milestone listens if it is not told.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// A transcript, line by line.
pub(crate) struct Script {
    pub steps: Vec<Step>,
    /// The tool that a machine may lack.
    pub needs: Option<String>,
}

/// A line, and the number that it has on its page.
pub(crate) struct Step {
    pub line: usize,
    pub what: What,
}

pub(crate) enum What {
    /// `$ cargo run -p PACKAGE [-- ADDRESS]  [# NAME]`
    Server {
        name: String,
        package: String,
        address: String,
    },
    /// `$ TOOL …`, left running
    Tool { words: Vec<String> },
    /// `NAME connects [to SERVER]`
    Connect { client: String, server: String },
    /// `NAME> text` and `NAME>> text`
    Send { client: String, bytes: String },
    /// `NAME half-closes`
    HalfClose { client: String },
    /// `NAME leaves`
    Leave { client: String },
    /// `NAME resets`
    Reset { client: String },
    /// `NAME< text`
    Receive { client: String, text: String },
    /// `NAME closed`
    Closed { client: String },
    /// `SERVER| text`
    Stdout { server: String, text: String },
    /// `SERVER! text`
    Stderr { server: String, text: String },
    /// `SERVER stops`
    Stop { server: String },
    /// `SERVER continues`
    Continue { server: String },
    /// `SERVER gets SIGINT`
    Interrupt { server: String },
    /// `SERVER gets SIGTERM`
    Terminate { server: String },
    /// `SERVER ends with STATUS`
    End { server: String, status: i32 },
}

pub(crate) fn check(root: &Path, page: &Page) -> Vec<Problem> {
    let milestones = milestones(root);
    let mut problems = Vec::new();
    for block in &page.blocks {
        if block.language != "transcript" {
            continue;
        }
        let script = match Script::read(block) {
            Ok(script) => script,
            Err((line, what)) => {
                problems.push(Problem::new(page, line, what));
                continue;
            }
        };
        for step in &script.steps {
            let What::Server { package, .. } = &step.what else {
                continue;
            };
            let what = if !milestones.contains(package) {
                format!("there is no milestone {package:?}")
            } else if package != script.package() {
                "all servers of a transcript are the same milestone".to_owned()
            } else {
                continue;
            };
            problems.push(Problem::new(page, step.line, what));
        }
    }
    problems
}

impl Script {
    /// Reads a block. An error has the line and what is wrong with it.
    pub fn read(block: &Block) -> Result<Script, (usize, String)> {
        let mut steps: Vec<Step> = Vec::new();
        let mut servers: Vec<String> = Vec::new();
        let mut clients: Vec<String> = Vec::new();
        for (index, text) in block.lines.iter().enumerate() {
            let line = block.line + index;
            let what = read_line(text, servers.first()).map_err(|what| (line, what))?;
            match &what {
                What::Server { name, address, .. } => {
                    let ready = format!("{name}! {LISTENING}{address}");
                    if block.lines.get(index + 1) != Some(&ready) {
                        let what = format!("the line after this one must be {ready:?}");
                        return Err((line, what));
                    }
                    servers.push(name.clone());
                }
                What::Connect { client, .. } => clients.push(client.clone()),
                _ => {}
            }
            if let Some(name) = what
                .server()
                .filter(|name| !servers.iter().any(|s| s == name))
            {
                return Err((line, format!("no server is called {name:?} up to here")));
            }
            if let Some(name) = what
                .client()
                .filter(|name| !clients.iter().any(|c| c == name))
            {
                return Err((line, format!("{name:?} has not connected up to here")));
            }
            steps.push(Step { line, what });
        }
        if !matches!(
            steps.first(),
            Some(Step {
                what: What::Server { .. },
                ..
            })
        ) {
            let what = "a transcript begins with `$ cargo run -p PACKAGE`".to_owned();
            return Err((block.line, what));
        }
        let needs = block
            .flags
            .iter()
            .find_map(|flag| flag.strip_prefix("needs="));
        Ok(Script {
            steps,
            needs: needs.map(str::to_owned),
        })
    }

    /// The package whose binary all servers of this transcript run.
    pub fn package(&self) -> &str {
        match &self.steps[0].what {
            What::Server { package, .. } => package,
            _ => "",
        }
    }
}

impl What {
    /// The server that must be there for this.
    fn server(&self) -> Option<&str> {
        match self {
            What::Connect { server, .. }
            | What::Stdout { server, .. }
            | What::Stderr { server, .. }
            | What::Stop { server }
            | What::Continue { server }
            | What::Interrupt { server }
            | What::Terminate { server }
            | What::End { server, .. } => Some(server),
            _ => None,
        }
    }

    /// The client that must be there for this.
    fn client(&self) -> Option<&str> {
        match self {
            What::Send { client, .. }
            | What::HalfClose { client }
            | What::Leave { client }
            | What::Reset { client }
            | What::Receive { client, .. }
            | What::Closed { client } => Some(client),
            _ => None,
        }
    }
}

/// Reads one line. A client without a server's name connects to the first one.
fn read_line(text: &str, first_server: Option<&String>) -> Result<What, String> {
    if let Some(command) = text.strip_prefix("$ ") {
        return read_command(command);
    }
    let not_known = || format!("no line of a transcript looks like this: {text:?}");
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let (name, rest) = text.split_at(end.ok_or_else(not_known)?);
    if name.is_empty() {
        return Err(not_known());
    }
    let name = name.to_owned();

    for mark in [">>", ">", "<", "|", "!"] {
        let Some(text) = rest.strip_prefix(mark) else {
            continue;
        };
        let text = text.strip_prefix(' ').unwrap_or(text).to_owned();
        return Ok(match mark {
            ">>" => What::Send {
                client: name,
                bytes: text,
            },
            ">" => What::Send {
                client: name,
                bytes: text + "\n",
            },
            "<" => What::Receive { client: name, text },
            "|" => What::Stdout { server: name, text },
            _ => What::Stderr { server: name, text },
        });
    }

    let words: Vec<_> = rest.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["connects"] => What::Connect {
            client: name,
            server: first_server.cloned().unwrap_or_default(),
        },
        ["connects", "to", server] => What::Connect {
            client: name,
            server: (*server).to_owned(),
        },
        ["half-closes"] => What::HalfClose { client: name },
        ["leaves"] => What::Leave { client: name },
        ["resets"] => What::Reset { client: name },
        ["closed"] => What::Closed { client: name },
        ["stops"] => What::Stop { server: name },
        ["continues"] => What::Continue { server: name },
        ["gets", "SIGINT"] => What::Interrupt { server: name },
        ["gets", "SIGTERM"] => What::Terminate { server: name },
        ["ends", "with", status] => What::End {
            server: name,
            status: status.parse().map_err(|_| not_known())?,
        },
        _ => return Err(not_known()),
    })
}

fn read_command(command: &str) -> Result<What, String> {
    let (command, name) = match command.split_once('#') {
        Some((command, name)) => (command, name.trim()),
        None => (command, "server"),
    };
    let words: Vec<_> = command.split_whitespace().collect();
    let (package, address) = match words.as_slice() {
        ["cargo", "run", "-p", package] => (package, DEFAULT_ADDRESS),
        ["cargo", "run", "-p", package, "--", address] => (package, *address),
        ["cargo", ..] | [] => {
            return Err("expected `$ cargo run -p PACKAGE [-- ADDRESS]`".to_owned());
        }
        words => {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            return Ok(What::Tool { words });
        }
    };
    Ok(What::Server {
        name: name.to_owned(),
        package: (*package).to_owned(),
        address: address.to_owned(),
    })
}
