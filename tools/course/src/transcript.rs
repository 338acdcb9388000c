//! Transcripts, played with the testkit's servers and clients.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};

use shared_testkit::env::{STRICT, is_strict};
use shared_testkit::lines::LISTENING;
use shared_testkit::predicates::function::function;
use shared_testkit::{Builder, Client, Server, skip};

use crate::page::{Block, Page};
use crate::regex;
use crate::test_runner::{free_address, program};

/// Where a milestone listens by default.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// Where NATS does.
const NATS_ADDRESS: &str = "127.0.0.1:4222";

/// The marks and verbs of what follows from an action.
const RESULTS: [&str; 5] = ["|", "!", "<", "closed", "ends"];

/// Replays a `transcript` block against the real servers. An error names the line that does not come true.
///
/// The steps are taken one after the other. Before each of them, the server has printed the lines
/// of the transcript up to there (in any order since the last step) and no other. Clients have
/// received what the transcript says, and at the end nothing else. `xxxxx` is any port. Servers
/// listen on a free port; it is compared as if it were the written one.
///
/// What is no milestone is a tool, which gets the real addresses in its arguments. A line of its stderr
/// that is in the transcript is waited for, and others may come before it. `…` is any text.
///
/// # Panics
///
/// If a milestone's program cannot be built.
pub fn replay(page: &Page, block: &Block) -> Result<(), String> {
    if block.has_flag("strict") && !is_strict() {
        skip(&format!("it needs more tools: set {STRICT}"));
        return Ok(());
    }
    let mut at = &block.lines[0];
    // An assertion of the testkit panics, and does not know the line of the page.
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut cast = Cast::default();
        for line in &block.lines {
            // Before something new happens, the servers have printed what is due, and no more.
            if !is_result(&line.text) {
                cast.expect_no_more_lines();
            }
            at = line;
            cast.act(&line.text);
        }
        cast.expect_no_more_lines();
        for (name, client) in &cast.clients {
            assert_eq!(client.unread_bytes(), 0, "bytes left for {name}");
        }
    }));
    result.map_err(|panic| {
        let what = format!("{:?}: {}", at.text, message_of(&*panic));
        page.problem(at.line, &what)
    })
}

/// What a panic says.
pub fn message_of(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    message.unwrap_or("a panic")
}

/// Splits a line into a name, a verb or mark, and a text: `bob leaves`, `bob>> text`, `$ command`.
pub fn split(line: &str) -> (&str, &str, &str) {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let (verb, text) = rest.split_once(' ').unwrap_or((rest, ""));
    (name, verb, text)
}

/// Whether a line says what follows from the action before it.
pub fn is_result(line: &str) -> bool {
    RESULTS.contains(&split(line).1)
}

/// Everybody who takes part.
#[derive(Default)]
pub struct Cast<'a> {
    actors: Vec<Actor<'a>>,
    /// The clients that have not left, by name.
    pub clients: BTreeMap<&'a str, Client>,
    /// Where actors listen: as the book has it, and as it is.
    addresses: Vec<(&'a str, String)>,
}

/// A server that takes part, or a tool.
pub struct Actor<'a> {
    name: &'a str,
    /// The real one.
    pub server: Server,
    /// Whether it may print more than the transcript has.
    is_tool: bool,
    /// Whether the transcript has its first line, for which [`Server::start`] has waited.
    is_announced: bool,
}

impl<'a> Cast<'a> {
    /// Does what a line says, or waits for what it expects.
    ///
    /// # Panics
    ///
    /// If the line cannot be read, or what it expects does not come.
    pub fn act(&mut self, line: &'a str) {
        let (name, verb, text) = split(line);
        match verb {
            "$" => self.run(text),
            "connects" => {
                let server = text.strip_prefix("to ").unwrap_or("server");
                let client = self.actor(server).server.connect(name);
                self.clients.insert(name, client);
            }
            "<" => self.client(name).expect_line(text),
            ">" => self.client(name).send(format!("{text}\n")),
            ">>" => self.client(name).send(text),
            "closed" => self.client(name).expect_closed(),
            "leaves" => {
                let client = self.client(name);
                // Before it closes its connection, it must have received everything.
                assert_eq!(client.unread_bytes(), 0, "bytes left for {name}");
                // Closing is not enough while another test starts a process, which has a copy of
                // the descriptor for a moment.
                client.half_close();
                self.clients.remove(name);
            }
            _ => self.hear(name, verb, text),
        }
    }

    /// Adds a server that runs already, and its address in the book.
    pub fn enter(&mut self, name: &'a str, server: Server, written: &'a str) {
        let real = server.address().to_string();
        self.addresses.push((written, real));
        self.actors.push(Actor {
            name,
            server,
            is_tool: false,
            is_announced: false,
        });
    }

    /// Runs a server, `cargo run -p PACKAGE [-- ADDRESS] [# NAME]`, or a tool: the same with more
    /// arguments, or `TOOL … [# NAME]`.
    fn run(&mut self, command: &'a str) {
        let (command, name) = command.split_once('#').unwrap_or((command, "server"));
        let name = name.trim();
        let words: Vec<_> = command.split_whitespace().collect();
        match &words[..] {
            ["cargo", "run", "-p", package] => self.run_server(name, package, DEFAULT_ADDRESS),
            ["cargo", "run", "-p", package, "--", address] => {
                self.run_server(name, package, address);
            }
            ["cargo", "run", "-p", package, "--", arguments @ ..] => {
                self.run_tool(name, Server::builder(program(package)), arguments);
            }
            ["nats-server", arguments @ ..] => {
                let address = free_address();
                self.addresses.push((NATS_ADDRESS, address.to_string()));
                let port = format!("--port={}", address.port());
                self.run_tool(
                    name,
                    Server::builder("nats-server").argument(port),
                    arguments,
                );
            }
            [tool, arguments @ ..] => self.run_tool(name, Server::builder(tool), arguments),
            [] => panic!("there is no command"),
        }
    }

    fn run_server(&mut self, name: &'a str, package: &str, written: &'a str) {
        let (host, _) = written.rsplit_once(':').expect("an address has a port");
        let builder = Server::builder(program(package)).listen_on(format!("{host}:0"));
        self.enter(name, builder.start(), written);
    }

    fn run_tool(&mut self, name: &'a str, tool: Builder, arguments: &[&str]) {
        let arguments = arguments.iter().map(|word| self.with_real_addresses(word));
        let tool = arguments.fold(tool, Builder::argument);
        self.actors.push(Actor {
            name,
            server: tool.without_address().spawn(),
            is_tool: true,
            is_announced: true,
        });
    }

    /// What a server or a tool prints, what is done to it, and how it ends.
    fn hear(&mut self, name: &str, verb: &str, text: &str) {
        let wanted = self.with_real_addresses(text);
        let is_wanted = function(|line: &str| is_like(&wanted, line));
        let actor = self.actor(name);
        match verb {
            "!" if !actor.is_announced => {
                let first = format!("{LISTENING}{}", actor.server.address());
                assert_eq!(wanted, first, "another address");
                actor.is_announced = true;
            }
            "|" => drop(actor.server.expect_match(is_wanted)),
            "!" => drop(actor.server.expect_stderr(is_wanted)),
            "gets" if text == "SIGINT" => actor.server.interrupt(),
            "ends" => {
                let status = actor.server.expect_exit();
                let status = status.map(|status| format!("with {status}"));
                assert_eq!(status.as_deref(), Some(text), "the exit status");
            }
            _ => panic!("a transcript has no line like this"),
        }
    }

    fn with_real_addresses(&self, text: &str) -> String {
        let addresses = self.addresses.iter();
        addresses.fold(text.to_owned(), |text, (written, real)| {
            text.replace(written, real)
        })
    }

    /// The server of this name.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn actor(&mut self, name: &str) -> &mut Actor<'a> {
        let actor = self.actors.iter_mut().find(|actor| actor.name == name);
        actor.expect("there is a server of this name")
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let client = self.clients.get_mut(name);
        client.expect("there is a client of this name")
    }

    fn expect_no_more_lines(&self) {
        for actor in self.actors.iter().filter(|actor| !actor.is_tool) {
            let name = actor.name;
            assert!(actor.is_announced, "no line `{name}! {LISTENING}…`");
            actor.server.expect_no_more_lines();
        }
    }
}

/// Whether a line is the wanted one, with any number in the place of `xxxxx`, and any text in that of `…`.
pub fn is_like(wanted: &str, line: &str) -> bool {
    let wanted = regex_lite::escape(wanted);
    let wanted = wanted.replace("xxxxx", r"\d+").replace('…', ".*");
    regex(&format!("^{wanted}$")).is_match(line)
}
