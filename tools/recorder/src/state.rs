//! What the kernel and the program hold, as it follows from the actions and calls.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use course::call::{Call, Flags};
use serde_json::Value;
use shared_testkit::lines::REGISTERED;

use crate::FORGETFUL;
use crate::trace::{Entry, Kernel, Program, Socket, Step, cut};

/// The descriptor of stdout.
const STDOUT: usize = 1;

/// Both ends of a client's connection, and what the program keeps for it.
#[derive(Default)]
pub(crate) struct Connection {
    pub port: u16,
    /// Everything that the client has sent.
    sent: Vec<u8>,
    /// Whether the client has closed its sending half, and whether the server has read that.
    has_ended: bool,
    end_is_read: bool,
    /// What is shown of the server's end. All bytes that are on the way count as unsent.
    pub socket: Socket,
    /// What the client's receive buffer holds when no more fits: it is seen, not computed.
    pub room_at_client: Option<usize>,
    pub descriptor: Option<usize>,
    pub interest: Flags,
    /// What epoll returns with its events.
    data: u64,
    /// Whether something has happened since the last event.
    is_woken: bool,
    /// Whether a write was short or failed, and there has been no room since.
    is_full: bool,
    /// Whether the last write has failed.
    is_refused: bool,
    /// Its token and entry, as long as it has a token, in the program's map.
    token: String,
    entry: Entry,
    /// Whether `epoll_ctl` has shown that the lines of this broadcast are queued for it.
    is_queued: bool,
}

impl Connection {
    pub fn sends(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
        self.socket.unread += bytes.len();
        self.is_woken = true;
    }

    pub fn ends(&mut self) {
        self.has_ended = true;
        self.is_woken = true;
    }

    /// A socket that was full reports room when it has been emptied. In between it depends on the
    /// kernel's thresholds: no scene receives less than all.
    pub fn receives(&mut self) {
        self.socket.unsent = 0;
        self.is_woken |= mem::take(&mut self.is_full);
    }

    pub fn is_open(&self) -> bool {
        self.descriptor.is_some()
    }

    pub fn has_unread_end(&self) -> bool {
        self.has_ended && !self.end_is_read
    }

    fn readiness(&self) -> Flags {
        let mut flags = self.interest.clone();
        flags.retain(|flag| match *flag {
            "READABLE" => self.socket.unread > 0 || self.has_ended,
            "READ_CLOSED" => self.has_ended,
            "WRITABLE" => !self.is_full,
            _ => false,
        });
        flags
    }

    /// Whether an event is on the ready list.
    fn is_ready(&self) -> bool {
        let is_level = !self.interest.contains(&"edge");
        (self.is_woken || is_level) && !self.readiness().is_empty()
    }

    /// Returns how many bytes of lines are complete by this read.
    fn read(&mut self, call: &Call) -> usize {
        self.end_is_read |= call.result == Ok(0);
        self.socket.unread -= call.count();
        let read = &self.sent[..self.sent.len() - self.socket.unread];
        let rest = read.rsplit(|byte| *byte == b'\n').next();
        let rest = rest.unwrap_or_default();
        let complete = self.entry.read_buf_bytes + call.count() - rest.len();
        self.entry.read_buf = cut(rest);
        self.entry.read_buf_bytes = rest.len();
        complete
    }

    fn write(&mut self, call: &Call) {
        let count = call.count();
        // sendto(socket, bytes, how many, flags, no address, its length)
        let asked = call.arguments.rsplit(", ").nth(3);
        self.is_full = asked != Some(&count.to_string());
        self.socket.unsent += count;
        self.entry.write_buf -= count;
    }

    /// Returns what is registered.
    fn epoll_ctl(&mut self, call: &Call, taken: usize) -> String {
        let how = call.argument(1).trim_start_matches("EPOLL_CTL_");
        let Some((interest, data)) = call.events().pop() else {
            self.deregister();
            return how.to_owned();
        };
        // WRITABLE goes on when a line is queued, and off when nothing is.
        if interest.contains(&"WRITABLE") {
            self.entry.write_buf += taken;
            self.is_queued = taken > 0;
        } else {
            self.entry.write_buf = 0;
        }
        // An interest in READABLE includes READ_CLOSED, which is shown in events only.
        let is_shown = |flag: &&&str| !["READ_CLOSED", "edge"].contains(*flag);
        let shown: Vec<_> = interest.iter().filter(is_shown).copied().collect();
        let is_edge = interest.contains(&"edge");
        self.socket.interest = shown.join(" | ");
        self.socket.trigger = if is_edge { "edge" } else { "level" }.to_owned();
        self.interest = interest;
        self.data = data;
        self.is_woken = true;
        format!("{how} {} {}", self.socket.interest, self.socket.trigger)
    }

    fn deregister(&mut self) {
        self.interest.clear();
        self.socket.interest.clear();
        self.socket.trigger.clear();
        self.token.clear();
    }

    /// Whether it is one of the calls that milestone 5 makes again and again, by the clock, and that
    /// have moved nothing. They would make two recordings differ.
    fn is_retry(&mut self, call: &Call) -> bool {
        let has_failed = call.result.is_err();
        if call.name != "sendto" {
            // It may have read faster than the bytes came, and so there may be one more of these.
            return has_failed;
        }
        self.is_woken = false;
        mem::replace(&mut self.is_refused, has_failed) && has_failed
    }
}

/// The whole of it.
#[derive(Default)]
pub(crate) struct State {
    pub pending: Vec<String>,
    pub clients: BTreeMap<String, Connection>,
    /// Whether the program is level-triggered.
    is_level: bool,
    listener_is_woken: bool,
    /// The bytes of complete lines that were read and not yet broadcast.
    taken: usize,
    /// Whether it is milestone 5, which leaves bytes unread, queues a line at once for everybody, and
    /// prints from another thread: its lines are not recorded.
    pub is_hardened: bool,
    /// Whether its map stays empty, whatever it prints.
    is_forgetful: bool,
}

impl State {
    /// Of a program that has just started.
    pub fn new(program: &str) -> State {
        State {
            is_level: program.ends_with("--level-triggered"),
            is_hardened: program == "milestone-5-harden",
            is_forgetful: program == FORGETFUL,
            ..State::default()
        }
    }

    pub fn connects(&mut self, name: &str, port: u16) {
        let client = self.clients.entry(name.to_owned()).or_default();
        client.port = port;
        client.entry.name = name.to_owned();
        self.pending.push(name.to_owned());
        self.listener_is_woken = true;
    }

    pub fn client(&mut self, name: &str) -> &mut Connection {
        let client = self.clients.get_mut(name);
        client.expect("there is a client of this name")
    }

    fn listener_is_ready(&self) -> bool {
        self.listener_is_woken && !self.pending.is_empty()
    }

    /// The step that a call is, after it has changed the state. `None` for one that is not shown.
    pub fn call(&mut self, call: &Call) -> Option<Step> {
        match call.name.as_str() {
            "epoll_wait" => return self.epoll_wait(call),
            "accept4" => return self.accept4(call),
            "write" => return Some(self.line(call)),
            _ => {}
        }
        let descriptor = Some(call.descriptor()?);
        let mut clients = self.clients.iter_mut();
        let (name, client) = clients.find(|(_, client)| client.descriptor == descriptor)?;
        if self.is_hardened && client.is_retry(call) {
            return None;
        }
        let mut step = step_of(call, name);
        match call.name.as_str() {
            "recvfrom" => self.taken += client.read(call),
            "sendto" => client.write(call),
            "epoll_ctl" => step.result = Some(client.epoll_ctl(call, self.taken).into()),
            "close" => {
                // In C, this deregisters it, too.
                client.deregister();
                client.descriptor = None;
            }
            _ => return None,
        }
        if self.is_hardened && !client.interest.is_empty() {
            client.token = format!("Token({})", client.data);
            let token = client.token.clone();
            self.broadcast(&token);
        }
        Some(step)
    }

    fn epoll_wait(&mut self, call: &Call) -> Option<Step> {
        let event = |(flags, data): (Flags, u64)| {
            let mut clients = self.clients.iter();
            let client = clients.find(|(_, client)| client.is_open() && client.data == data);
            let name = client.map_or("listener", |(name, _)| name);
            (name.to_owned(), flags.join(" | "))
        };
        let mut events: Vec<_> = call.events().into_iter().map(event).collect();
        let ready = self.ready();
        if self.is_hardened {
            // While it leaves bytes unread, more may come from the same client at any time.
            events.retain(|event| ready.contains(event));
        }
        // A signal interrupts the call, if it does not come between two calls: shown, that would make
        // two recordings differ.
        if events.is_empty() {
            return None;
        }
        let reported: BTreeSet<_> = events.iter().cloned().collect();
        assert_eq!(reported, ready, "reported, and computed as ready");
        self.listener_is_woken = self.is_level;
        for client in self.clients.values_mut() {
            client.is_woken = false;
        }
        if self.is_hardened {
            // A second after the last time, it looks for room without an event: either may come first.
            events.retain(|(_, what)| what != "WRITABLE");
        }
        let result = match events.len() {
            0 => return None,
            1 => "1 event".to_owned(),
            count => format!("{count} events"),
        };
        Some(Step {
            call: Some(call.name.clone()),
            result: Some(result.into()),
            events,
            ..Step::default()
        })
    }

    /// What epoll is about to report.
    pub fn ready(&self) -> BTreeSet<(String, String)> {
        let clients = self.clients.iter().filter(|(_, client)| client.is_ready());
        let events = clients.map(|(name, client)| (name.clone(), client.readiness().join(" | ")));
        let listener = ("listener".to_owned(), "READABLE".to_owned());
        let listener = self.listener_is_ready().then_some(listener);
        events.chain(listener).collect()
    }

    fn accept4(&mut self, call: &Call) -> Option<Step> {
        let mut step = step_of(call, "listener");
        if let Ok(descriptor) = call.result {
            let name = self.pending.remove(0);
            let client = self.client(&name);
            assert_eq!(call.port(), Some(client.port), "accepted in another order");
            client.descriptor = Some(descriptor);
            step.result = Some(name.into());
        } else if self.is_hardened {
            // It tries again by the clock.
            return None;
        }
        Some(step)
    }

    /// A line on stdout or stderr.
    fn line(&mut self, call: &Call) -> Step {
        let line = call.text().trim_end_matches('\n').to_owned();
        let mut step = Step::default();
        if call.descriptor() != Some(STDOUT) {
            step.stderr = Some(line);
            return step;
        }
        if let Some(token) = line.strip_prefix(REGISTERED)
            && !self.is_forgetful
        {
            let mut clients = self.clients.values_mut();
            let new = clients.find(|client| client.is_open() && client.token.is_empty());
            token.clone_into(&mut new.expect("it is registered").token);
        }
        if let Some(rest) = line.strip_prefix("Broadcast ") {
            let parts = rest.split_once(" bytes from ");
            let (count, sender) = parts.expect("the line is complete");
            assert_eq!(count, self.taken.to_string(), "complete lines, in bytes");
            self.broadcast(sender);
        }
        step.stdout = Some(line);
        step
    }

    /// Queues what was taken for everybody for whom that has not been seen.
    fn broadcast(&mut self, sender: &str) {
        let taken = mem::take(&mut self.taken);
        let clients = self.clients.values_mut();
        for client in clients.filter(|client| client.is_open()) {
            if !mem::take(&mut client.is_queued) && client.token != sender {
                client.entry.write_buf += taken;
            }
        }
    }

    /// What is shown of the kernel.
    pub fn kernel(&self) -> Kernel {
        let open = self.clients.iter().filter(|(_, client)| client.is_open());
        let sockets = open.map(|(name, client)| {
            let mut socket = client.socket.clone();
            socket.ready = client.is_ready();
            (name.clone(), socket)
        });
        Kernel {
            pending: self.pending.clone(),
            listener_ready: self.listener_is_ready(),
            sockets: sockets.collect(),
        }
    }

    /// What is shown of the program.
    pub fn program(&self) -> Program {
        let clients = self.clients.values();
        let kept = clients.filter(|client| !client.token.is_empty());
        let map = kept.map(|client| (client.token.clone(), client.entry.clone()));
        Program { map: map.collect() }
    }
}

/// A step with the call's own result.
fn step_of(call: &Call, on: &str) -> Step {
    let (name, moves_bytes) = match call.name.as_str() {
        "recvfrom" => ("read", call.result.is_ok()),
        "sendto" => ("write", call.result.is_ok()),
        name => (name, false),
    };
    Step {
        call: Some(name.to_owned()),
        on: Some(on.to_owned()),
        result: Some(call.result.clone().map_or_else(Value::from, Value::from)),
        text: moves_bytes.then(|| cut(call.text().as_bytes())),
        ..Step::default()
    }
}
