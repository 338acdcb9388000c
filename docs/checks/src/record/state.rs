//! What the kernel and the program hold, as it follows from the actions and calls.

use std::collections::BTreeMap;

use shared_testkit::lines::REGISTERED;

use crate::record::FORGETFUL;
use crate::record::calls::{Call, Flags};
use crate::record::trace::{Entry, Kernel, Program, Socket, Step, cut};

/// The descriptor of stdout.
const STDOUT: usize = 1;

/// Both ends of a client's connection, and what the program keeps for it.
#[derive(Default)]
pub(super) struct Connection {
    pub port: u16,
    /// Everything that the client has sent, and how much of it the server has read.
    sent: Vec<u8>,
    read: usize,
    /// Whether the client has closed its sending half, and whether the server has read that.
    has_ended: bool,
    end_is_read: bool,
    written: usize,
    received: usize,
    /// What the client's receive buffer holds when no more fits: it is seen, not computed.
    pub room_at_client: Option<usize>,
    descriptor: Option<usize>,
    pub interest: Option<Flags>,
    /// What epoll returns with its events, and its token once the program has printed it.
    data: u64,
    token: String,
    /// Whether something has happened since the last event.
    is_woken: bool,
    /// Whether a write was short or failed, and there has been no room since.
    is_full: bool,
    read_buf: Vec<u8>,
    write_buf: usize,
    /// Whether the last write has failed.
    is_refused: bool,
    /// Whether `epoll_ctl` has shown that the lines of this broadcast are queued for it.
    is_queued: bool,
}

impl Connection {
    pub fn unread(&self) -> usize {
        self.sent.len() - self.read
    }

    /// What the server has written and the client has not read.
    pub fn on_the_way(&self) -> usize {
        self.written - self.received
    }

    pub fn has_unread_end(&self) -> bool {
        self.has_ended && !self.end_is_read
    }

    pub fn is_open(&self) -> bool {
        self.descriptor.is_some()
    }

    pub fn has_descriptor(&self, descriptor: usize) -> bool {
        self.descriptor == Some(descriptor)
    }

    fn readiness(&self) -> Flags {
        let there = Flags::default()
            .with(Flags::READABLE, self.unread() > 0 || self.has_ended)
            .with(Flags::READ_CLOSED, self.has_ended)
            .with(Flags::WRITABLE, !self.is_full);
        self.interest.unwrap_or_default().and(there)
    }

    /// Whether an event is on the ready list.
    fn is_ready(&self) -> bool {
        let is_level = !self.interest.unwrap_or_default().has(Flags::EDGE);
        (self.is_woken || is_level) && self.readiness() != Flags::default()
    }

    fn socket(&self) -> Socket {
        let at_client = self.on_the_way();
        let at_client = at_client.min(self.room_at_client.unwrap_or(at_client));
        Socket {
            unread: self.unread(),
            unsent: self.on_the_way() - at_client,
            at_client,
            interest: self.interest.map_or(String::new(), Flags::interest),
            trigger: self.interest.map_or("", Flags::trigger).to_owned(),
            ready: self.is_ready(),
        }
    }

    fn entry(&self, name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            read_buf: cut(&self.read_buf),
            read_buf_bytes: self.read_buf.len(),
            write_buf: self.write_buf,
        }
    }
}

/// The whole of it.
#[derive(Default)]
pub(super) struct State {
    pub pending: Vec<String>,
    pub clients: BTreeMap<String, Connection>,
    listener: Flags,
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
    /// Of a server that has just started, from the calls that it has made.
    pub fn new(calls: &[Call], program: &str) -> State {
        let registered = calls.iter().find(|call| call.name == "epoll_ctl");
        let events = registered.and_then(|call| call.events().first().copied());
        State {
            listener: events.expect("the listener is registered").0,
            is_hardened: program == "milestone-5-harden",
            is_forgetful: program == FORGETFUL,
            ..State::default()
        }
    }

    // What clients do.

    pub fn connects(&mut self, name: &str, port: u16) {
        let connection = Connection {
            port,
            ..Connection::default()
        };
        self.clients.insert(name.to_owned(), connection);
        self.pending.push(name.to_owned());
        self.listener_is_woken = true;
    }

    pub fn sends(&mut self, name: &str, bytes: &[u8]) {
        let client = self.client(name);
        client.sent.extend(bytes);
        client.is_woken = true;
    }

    pub fn ends(&mut self, name: &str) {
        let client = self.client(name);
        client.has_ended = true;
        client.is_woken = true;
    }

    pub fn receives(&mut self, name: &str, bytes: usize) {
        let client = self.client(name);
        client.received += bytes;
        // A socket that was full reports room when it has been emptied. In between it depends on the
        // kernel's thresholds: no scene reads less than all.
        assert!(
            !client.is_full || client.on_the_way() == 0,
            "{name} must read everything"
        );
        client.is_woken |= client.is_full;
        client.is_full = false;
        client.room_at_client = None;
    }

    fn client(&mut self, name: &str) -> &mut Connection {
        self.clients
            .get_mut(name)
            .expect("there is a client of this name")
    }

    fn listener_is_ready(&self) -> bool {
        self.listener_is_woken && !self.pending.is_empty()
    }

    /// Whether epoll has nothing left to report.
    pub fn is_at_rest(&self) -> bool {
        !self.listener_is_ready() && !self.clients.values().any(Connection::is_ready)
    }

    // What the server does.

    /// The step that a call is, after it has changed the state. `None` for one that is not shown.
    pub fn call(&mut self, call: &Call) -> Option<Step> {
        if self.is_hardened && self.is_retry(call) {
            return None;
        }
        let mut step = match call.name.as_str() {
            "epoll_wait" => self.epoll_wait(call)?,
            "accept4" => self.accept(call),
            "recvfrom" => self.read(call),
            "write" => self.line(call),
            "sendto" => self.write(call),
            "epoll_ctl" => self.epoll_ctl(call),
            "close" => self.close(call)?,
            _ => return None,
        };
        step.actor = "server".to_owned();
        Some(step)
    }

    /// Whether it is one of the calls that milestone 5 makes again and again, by the clock, and that
    /// have moved nothing. They would make two recordings differ.
    fn is_retry(&mut self, call: &Call) -> bool {
        let has_failed = call.result.is_err();
        match call.name.as_str() {
            "accept4" => has_failed,
            // It has read faster than the bytes came.
            "recvfrom" => {
                let (_, client) = self.by_descriptor(call.descriptor());
                has_failed && client.unread() > 0
            }
            "sendto" => {
                let (_, client) = self.by_descriptor(call.descriptor());
                client.is_woken = false;
                let was_refused = std::mem::replace(&mut client.is_refused, has_failed);
                has_failed && was_refused
            }
            _ => false,
        }
    }

    fn epoll_wait(&mut self, call: &Call) -> Option<Step> {
        // Nothing happened: the loop's regular turn. A signal interrupts the call, if it does not
        // come between two calls: that would make two recordings differ.
        if matches!(call.result, Ok(0) | Err(_)) {
            return None;
        }
        let events = call.events().into_iter();
        let events = events.map(|(flags, data)| (self.name_of(data), flags.names()));
        let mut events: Vec<_> = events.collect();
        if self.is_hardened {
            // While bytes are left unread, more may come from the same client at any time.
            events.retain(|(name, _)| !self.is_known_unread(name));
            if events.is_empty() {
                return None;
            }
        }
        let mut reported = events.clone();
        reported.sort();
        assert_eq!(
            reported,
            self.take_ready(),
            "reported, and computed as ready"
        );
        if self.is_hardened {
            // A second after the last time, it looks for room without an event: either may come first.
            events.retain(|(_, what)| what != "WRITABLE");
            if events.is_empty() {
                return None;
            }
        }
        let plural = if events.len() == 1 { "" } else { "s" };
        let count = format!("{} event{plural}", events.len());
        let step = step_of(call, None, Some(count));
        Some(Step { events, ..step })
    }

    /// What epoll is about to report, sorted, which is no longer ready then.
    fn take_ready(&mut self) -> Vec<(String, String)> {
        let mut ready = Vec::new();
        for (name, client) in &mut self.clients {
            if client.is_ready() {
                ready.push((name.clone(), client.readiness().names()));
            }
            client.is_woken = false;
        }
        if self.listener_is_ready() {
            ready.push(("listener".to_owned(), "READABLE".to_owned()));
        }
        self.listener_is_woken = !self.listener.has(Flags::EDGE);
        ready.sort();
        ready
    }

    /// Whether a client has unread bytes that were reported before.
    fn is_known_unread(&self, name: &str) -> bool {
        let client = self.clients.get(name);
        client.is_some_and(|client| client.unread() > 0 && !client.is_woken)
    }

    fn name_of(&self, data: u64) -> String {
        let mut clients = self.clients.iter();
        let client = clients.find(|(_, client)| client.is_open() && client.data == data);
        client.map_or("listener".to_owned(), |(name, _)| name.clone())
    }

    fn accept(&mut self, call: &Call) -> Step {
        let name = call.result.is_ok().then(|| self.pending.remove(0));
        if let Some(name) = &name {
            let client = self.client(name);
            assert_eq!(Some(client.port), call.port(), "accepted in another order");
            client.descriptor = call.result.clone().ok();
        }
        step_of(call, Some("listener".to_owned()), name)
    }

    fn read(&mut self, call: &Call) -> Step {
        let (name, client) = self.by_descriptor(call.descriptor());
        let count = call.count();
        let chunk = client.sent[client.read..client.read + count].to_vec();
        client.read += count;
        client.read_buf.extend(&chunk);
        client.end_is_read |= call.result == Ok(0);
        if let Some(newline) = chunk.iter().rposition(|&byte| byte == b'\n') {
            let rest = chunk[newline + 1..].to_vec();
            let kept = std::mem::replace(&mut client.read_buf, rest);
            self.taken += kept.len() - (chunk.len() - newline - 1);
        }
        if self.is_hardened {
            self.queue_for_others(&name);
        }
        Step {
            text: call.result.is_ok().then(|| cut(&chunk)),
            ..step_of(call, Some(name), None)
        }
    }

    fn queue_for_others(&mut self, sender: &str) {
        let taken = std::mem::take(&mut self.taken);
        let clients = self.clients.iter_mut();
        for (_, client) in clients.filter(|(name, client)| *name != sender && client.is_open()) {
            client.write_buf += taken;
        }
    }

    fn write(&mut self, call: &Call) -> Step {
        let (name, client) = self.by_descriptor(call.descriptor());
        let count = call.count();
        // sendto(socket, bytes, how many, flags, no address, its length)
        let asked = call.arguments.rsplit(", ").nth(3);
        client.is_full = asked != Some(&count.to_string());
        client.written += count;
        client.write_buf -= count;
        let mut text = call.text();
        if count > text.len() {
            text.push('…');
        }
        Step {
            text: call.result.is_ok().then(|| cut(text.as_bytes())),
            ..step_of(call, Some(name), None)
        }
    }

    fn epoll_ctl(&mut self, call: &Call) -> Step {
        let (taken, is_hardened) = (self.taken, self.is_hardened);
        let (name, client) = self.by_descriptor(call.descriptor());
        let how = call.argument(1).trim_start_matches("EPOLL_CTL_").to_owned();
        let Some((interest, data)) = call.events().first().copied() else {
            client.interest = None;
            client.token.clear();
            return step_of(call, Some(name), Some(how));
        };
        // WRITABLE goes on when a line is queued, and off when nothing is.
        client.is_queued = interest.has(Flags::WRITABLE);
        match client.is_queued {
            true => client.write_buf += taken,
            false => client.write_buf = 0,
        }
        client.interest = Some(interest);
        client.data = data;
        if is_hardened {
            client.token = format!("Token({data})");
        }
        client.is_woken = true;
        let how = format!("{how} {} {}", interest.interest(), interest.trigger());
        step_of(call, Some(name), Some(how))
    }

    fn close(&mut self, call: &Call) -> Option<Step> {
        let descriptor = call.descriptor();
        // Before the first client, the program's own files are closed.
        let mut clients = self.clients.iter_mut();
        let (name, client) = clients.find(|(_, client)| client.has_descriptor(descriptor))?;
        client.descriptor = None;
        client.interest = None;
        // In C, this deregisters it, too.
        client.token.clear();
        Some(step_of(call, Some(name.clone()), None))
    }

    /// A line on stdout or stderr.
    fn line(&mut self, call: &Call) -> Step {
        let text = call.text();
        let mut line = text.trim_end_matches('\n').to_owned();
        for client in self.clients.values_mut() {
            line = line.replace(&format!(":{}", client.port), ":xxxxx");
        }
        if call.descriptor() != STDOUT {
            return Step {
                stderr: Some(line),
                ..Step::default()
            };
        }
        if let Some(token) = line.strip_prefix(REGISTERED)
            && !self.is_forgetful
        {
            let is_new = |client: &&mut Connection| client.is_open() && client.token.is_empty();
            let client = self.clients.values_mut().find(is_new);
            client.expect("it is registered").token = token.to_owned();
        }
        if let Some(rest) = line.strip_prefix("Broadcast ") {
            self.broadcast(rest);
        }
        Step {
            stdout: Some(line),
            ..Step::default()
        }
    }

    /// Ends a broadcast. Whoever had bytes queued before it has made no call for it.
    fn broadcast(&mut self, line: &str) {
        let taken = std::mem::take(&mut self.taken);
        let (count, sender) = line
            .split_once(" bytes from ")
            .expect("the line is complete");
        assert_eq!(
            count.parse(),
            Ok(taken),
            "the bytes of complete lines that were read"
        );
        for client in self.clients.values_mut() {
            let is_sender = client.token == sender;
            if client.write_buf > 0 && !client.is_queued && !is_sender {
                client.write_buf += taken;
            }
            client.is_queued = false;
        }
    }

    fn by_descriptor(&mut self, descriptor: usize) -> (String, &mut Connection) {
        let mut clients = self.clients.iter_mut();
        let client = clients.find(|(_, client)| client.has_descriptor(descriptor));
        let (name, client) = client.expect("the descriptor is a client's");
        (name.clone(), client)
    }

    // What is shown.

    pub fn kernel(&self) -> Kernel {
        let open = self.clients.iter().filter(|(_, client)| client.is_open());
        Kernel {
            pending: self.pending.clone(),
            listener_ready: self.listener_is_ready(),
            sockets: open
                .map(|(name, client)| (name.clone(), client.socket()))
                .collect(),
        }
    }

    pub fn program(&self) -> Program {
        let kept = self
            .clients
            .iter()
            .filter(|(_, client)| !client.token.is_empty());
        Program {
            map: kept
                .map(|(name, client)| (client.token.clone(), client.entry(name)))
                .collect(),
        }
    }
}

/// A step with the call's own result, if the reader is shown no other.
fn step_of(call: &Call, on: Option<String>, result: Option<String>) -> Step {
    let name = match call.name.as_str() {
        "recvfrom" => "read",
        "sendto" => "write",
        name => name,
    };
    let result = match (result, &call.result) {
        (Some(result), _) => result.into(),
        (None, Ok(count)) => (*count).into(),
        (None, Err(error)) => error.as_str().into(),
    };
    Step {
        call: Some(name.to_owned()),
        on,
        result: Some(result),
        ..Step::default()
    }
}
