//! Transcripts as they happen: run against the real server.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command, Stdio};

use crate::page::Page;
use crate::script::{Script, What};
use crate::{Book, Problem, assert_sound};
use shared_testkit::lines::{ACCEPTED, REGISTERED};
use shared_testkit::{Client, Server, skip, wait_until};

/// Replays every transcript of the book that runs this package, with this program as its binary.
///
/// Whatever the transcript says that somebody does, is done, line by line. Before the next thing is
/// done, all lines of the server that stand in between must have come, in any order, and no other;
/// and every client must have received what stands there. At the end nobody may have received more.
/// `xxxxx` is any port. The address that is written is not the one that is used: the kernel chooses
/// a free port, and the lines are compared as if it were the other.
///
/// # Panics
///
/// If a transcript did not come true: with file, line and the difference.
pub fn replay(package: &str, program: &str) {
    let book = Book::read();
    let problems: Vec<_> = book
        .pages
        .iter()
        .flat_map(|page| replay_page(page, package, program))
        .collect();
    assert_sound(&problems);
}

impl Book {
    /// The same for the pages of this book, to check the check with. Returns what did not come
    /// true.
    #[must_use]
    pub fn replay(&self, package: &str, program: &str) -> Vec<Problem> {
        let pages = self.pages.iter();
        pages
            .flat_map(|page| replay_page(page, package, program))
            .collect()
    }
}

fn replay_page(page: &Page, package: &str, program: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let blocks = page.blocks.iter();
    for block in blocks.filter(|block| block.language == "transcript") {
        let script = match Script::read(block) {
            Ok(script) if script.package() == package => script,
            Ok(_) => continue,
            Err((line, what)) => {
                problems.push(Problem::new(page, line, what));
                continue;
            }
        };
        if let Some(tool) = script.needs.as_ref().filter(|tool| !is_installed(tool)) {
            skip(&format!("there is no {tool}"));
            continue;
        }
        let line = Cell::new(block.line);
        // An assertion of the testkit panics; here it is told which line of the book it was about.
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            Stage::new(program, &line).play(&script);
        }));
        if let Err(payload) = result {
            let what = format!("replayed, this did not come true: {}", message(&*payload));
            problems.push(Problem::new(page, line.get(), what));
        }
    }
    problems
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(message) => message,
        None => payload.downcast_ref::<&str>().copied().unwrap_or("a panic"),
    }
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Who takes part, and what is still to come.
struct Stage<'a> {
    program: &'a str,
    /// The line of the page that is played.
    line: &'a Cell<usize>,
    tools: Vec<Tool>,
    clients: BTreeMap<String, Client>,
    servers: Vec<Actor>,
}

struct Actor {
    name: String,
    server: Server,
    has_ended: bool,
    is_stopped: bool,
    /// The address as the book has it.
    written: String,
    /// The lines that should have come by now and were not looked for yet.
    expected: Vec<Line>,
    /// How many lines of stdout and of stderr were looked at.
    looked_at: [usize; 2],
}

/// A line of a server's, with the mark of its stream before it: `| Accepted …`.
struct Line {
    line: usize,
    text: String,
}

/// A tool that is ended with the transcript.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        // What fails here, fails because it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl<'a> Stage<'a> {
    fn new(program: &'a str, line: &'a Cell<usize>) -> Stage<'a> {
        Stage {
            program,
            line,
            tools: Vec::new(),
            clients: BTreeMap::new(),
            servers: Vec::new(),
        }
    }

    fn play(mut self, script: &Script) {
        let mut receipts = Vec::new();
        for step in &script.steps {
            match &step.what {
                What::Stdout { server, text } => self.expect(server, step.line, '|', text),
                What::Stderr { server, text } => self.expect(server, step.line, '!', text),
                What::Receive { .. } | What::Closed { .. } => receipts.push(step),
                action => {
                    self.settle();
                    for step in receipts.drain(..) {
                        self.act(step.line, &step.what);
                    }
                    self.act(step.line, action);
                }
            }
        }
        self.settle();
        for step in receipts {
            self.act(step.line, &step.what);
        }
        self.end();
    }

    fn act(&mut self, line: usize, what: &What) {
        self.line.set(line);
        match what {
            What::Server { name, address, .. } => self.start(name, address),
            What::Tool { words } => self.run(words),
            What::Connect { client, server } => {
                let connected = self.server(server).server.connect(client);
                self.clients.insert(client.clone(), connected);
            }
            What::Send { client, bytes } => self.client(client).send(bytes),
            What::HalfClose { client } => self.client(client).half_close(),
            What::Leave { client } => {
                let mut client = self.take_client(client);
                // To close alone does not do it, as long as another test starts a process: for a
                // moment that one has a copy of the descriptor.
                client.half_close();
                client.leave();
            }
            What::Reset { client } => self.take_client(client).reset(),
            What::Receive { client, text } => self.client(client).expect_line(text),
            What::Closed { client } => {
                self.client(client).expect_closed();
                self.clients.remove(client);
            }
            What::Stop { server } => {
                let actor = self.server(server);
                actor.is_stopped = true;
                actor.server.stop();
            }
            What::Continue { server } => {
                let actor = self.server(server);
                actor.is_stopped = false;
                actor.server.resume();
            }
            What::Interrupt { server } => self.server(server).server.interrupt(),
            What::Terminate { server } => self.server(server).server.terminate(),
            What::End { server, status } => self.server(server).expect_exit(*status),
            What::Stdout { .. } | What::Stderr { .. } => {}
        }
    }

    fn start(&mut self, name: &str, address: &str) {
        let (host, _) = address.rsplit_once(':').expect("an address has a port");
        let builder = Server::builder(self.program).listen_on(format!("{host}:0"));
        self.servers.push(Actor {
            name: name.to_owned(),
            server: builder.start(),
            has_ended: false,
            is_stopped: false,
            written: address.to_owned(),
            expected: Vec::new(),
            looked_at: [0, 0],
        });
    }

    /// Runs a tool, with the real addresses in the place of the written ones.
    fn run(&mut self, words: &[String]) {
        let arguments = words[1..].iter().map(|word| {
            self.servers.iter().fold(word.clone(), |word, actor| {
                word.replace(&actor.written, &actor.server.address().to_string())
            })
        });
        let child = Command::new(&words[0])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {}: {e}", words[0]));
        self.tools.push(Tool(child));
    }

    fn expect(&mut self, server: &str, line: usize, mark: char, text: &str) {
        let text = format!("{mark} {text}");
        self.server(server).expected.push(Line { line, text });
    }

    /// Waits until every server has said what it should have said by now.
    fn settle(&mut self) {
        for actor in &mut self.servers {
            actor.settle(self.line);
        }
    }

    /// Nobody may have said or received more than what stands there.
    fn end(&mut self) {
        let mut running: Vec<_> = self.servers.iter_mut().filter(|a| !a.has_ended).collect();
        // Whoever has accepted one more client has dealt with all that was before.
        let fences: Vec<_> = running.iter_mut().map(|actor| actor.fence()).collect();
        // First all are stopped, or one would notice the other's end and say so.
        for actor in &running {
            actor.server.stop();
        }
        for actor in &mut running {
            actor.server.kill();
        }
        for (actor, fence) in running.iter_mut().zip(&fences) {
            actor.expect_fence(fence, self.line.get());
        }
        self.settle();
        for client in self.clients.values_mut() {
            client.expect_closed();
        }
    }

    fn server(&mut self, name: &str) -> &mut Actor {
        let found = self.servers.iter_mut().find(|actor| actor.name == name);
        found.expect("the script has been checked: there is such a server")
    }

    fn client(&mut self, name: &str) -> &mut Client {
        self.clients
            .get_mut(name)
            .unwrap_or_else(|| panic!("{name} has left already"))
    }

    /// Takes a client out that is about to go. It must have received all that there is.
    fn take_client(&mut self, name: &str) -> Client {
        let Some(client) = self.clients.remove(name) else {
            panic!("{name} has left already");
        };
        let unread = client.unread_bytes();
        assert_eq!(
            unread, 0,
            "bytes that {name} has received, and that stand nowhere"
        );
        client
    }
}

impl Actor {
    /// Waits until all that is expected has been said. Fails as soon as anything else is said.
    fn settle(&mut self, line: &Cell<usize>) {
        let mut surplus = Vec::new();
        wait_until(|| {
            surplus.extend(self.take_expected());
            !surplus.is_empty() || self.expected.is_empty()
        });
        if surplus.is_empty() && self.expected.is_empty() {
            return;
        }
        // What is on its way belongs into the difference as well.
        if !self.has_ended && !self.is_stopped && !surplus.is_empty() {
            let server = &self.server;
            let _ = panic::catch_unwind(AssertUnwindSafe(|| server.wait_until_asleep()));
            surplus.extend(self.take_expected());
        }
        if let Some(expected) = self.expected.first() {
            line.set(expected.line);
        }
        let mut difference = String::new();
        for expected in &self.expected {
            let _ = writeln!(difference, "- {}{}", self.name, expected.text);
        }
        for said in &surplus {
            let _ = writeln!(difference, "+ {}{said}", self.name);
        }
        panic!("`-` is the book, `+` is what was said:\n{difference}");
    }

    /// Takes what was said off what is expected. Returns what was said and is not expected.
    fn take_expected(&mut self) -> Vec<String> {
        let said = [
            ('|', self.server.stdout_lines()),
            ('!', self.server.stderr_lines()),
        ];
        let mut surplus = Vec::new();
        for (index, (mark, lines)) in said.into_iter().enumerate() {
            for line in &lines[self.looked_at[index]..] {
                let real = self.server.address().to_string();
                let line = format!("{mark} {}", line.replace(&real, &self.written));
                let place = self.expected.iter().position(|e| is_like(&e.text, &line));
                match place {
                    Some(place) => {
                        self.expected.remove(place);
                    }
                    None => surplus.push(line),
                }
            }
            self.looked_at[index] = lines.len();
        }
        surplus
    }

    /// Connects one more client and waits until it is accepted.
    fn fence(&mut self) -> Client {
        let fence = self.server.connect("the end");
        self.server.expect_line(&accepted(&fence));
        self.server.wait_until_asleep();
        fence
    }

    /// What the server has said of the fence is none of the transcript's.
    fn expect_fence(&mut self, fence: &Client, line: usize) {
        let accepted = accepted(fence);
        let lines = self.server.stdout_lines().into_iter();
        let of_fence = lines.skip_while(|line| *line != accepted);
        let texts = of_fence.filter(|line| *line == accepted || line.starts_with(REGISTERED));
        self.expected.extend(texts.map(|text| Line {
            line,
            text: format!("| {text}"),
        }));
    }

    fn expect_exit(&mut self, status: i32) {
        self.has_ended = true;
        let ended_with = self.server.expect_exit();
        assert_eq!(ended_with, Some(status), "its exit status");
    }
}

fn accepted(client: &Client) -> String {
    format!("{ACCEPTED}{}", client.address())
}

/// Whether a line is the one that is written, with any number in the place of `xxxxx`.
fn is_like(written: &str, line: &str) -> bool {
    let mut parts = written.split("xxxxx");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in parts {
        let without = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(after) = without.strip_prefix(part).filter(|_| without != rest) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}
