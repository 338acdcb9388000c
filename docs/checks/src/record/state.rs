//! What the kernel and the program hold, as it follows from the actions and calls.

use std::collections::BTreeMap;
use std::mem;

use shared_testkit::lines::REGISTERED;

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
    /// What the server has written and the client has not read.
    pub on_the_way: usize,
    /// What the client's receive buffer holds when no more fits: it is seen, not computed.
    pub room_at_client: Option<usize>,
    pub descriptor: Option<usize>,
    pub interest: Flags,
    /// What epoll returns with its events, and its token as long as it is in the program's map.
    data: u64,
    token: String,
    /// Whether something has happened since the last event.
    is_woken: bool,
    /// Whether a write was short or failed, and there has been no room since.
    is_full: bool,
    /// Whether the last write has failed.
    is_refused: bool,
    write_buf: usize,
    /// Whether `epoll_ctl` has shown that the lines of this broadcast are queued for it.
    is_queued: bool,
}

impl Connection {
    pub fn sends(&mut self, bytes: &[u8]) {
        self.sent.extend(bytes);
        self.is_woken = true;
    }

    pub fn ends(&mut self) {
        self.has_ended = true;
        self.is_woken = true;
    }

    /// A socket that was full reports room when it has been emptied. In between it depends on the
    /// kernel's thresholds: no scene receives less than all.
    pub fn receives(&mut self) {
        self.on_the_way = 0;
        self.is_woken |= mem::take(&mut self.is_full);
    }

    pub fn is_open(&self) -> bool {
        self.descriptor.is_some()
    }

    pub fn unread(&self) -> usize {
        self.sent.len() - self.read
    }

    pub fn has_unread_end(&self) -> bool {
        self.has_ended && !self.end_is_read
    }

    fn readiness(&self) -> Flags {
        let mut flags = self.interest.clone();
        flags.retain(|flag| match *flag {
            "READABLE" => self.unread() > 0 || self.has_ended,
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

    /// What is registered, as mio calls it, and how it is triggered. An interest in READABLE includes
    /// READ_CLOSED, which is shown in events only.
    fn registered(&self) -> (String, &'static str) {
        let mut shown = self.interest.clone();
        shown.retain(|flag| !["READ_CLOSED", "edge"].contains(flag));
        let trigger = match shown.len() {
            0 => "",
            _ if self.interest.contains(&"edge") => "edge",
            _ => "level",
        };
        (shown.join(" | "), trigger)
    }

    /// What was read of a line that is not complete.
    fn read_buf(&self) -> &[u8] {
        let mut pieces = self.sent[..self.read].rsplit(|byte| *byte == b'\n');
        pieces.next().unwrap_or_default()
    }

    /// Returns how many bytes of lines are complete by this read.
    fn read(&mut self, call: &Call) -> usize {
        let before = self.read - self.read_buf().len();
        self.read += call.count();
        self.end_is_read |= call.result == Ok(0);
        self.read - self.read_buf().len() - before
    }

    fn write(&mut self, call: &Call) {
        let count = call.count();
        // sendto(socket, bytes, how many, flags, no address, its length)
        let asked = call.arguments.rsplit(", ").nth(3);
        self.is_full = asked != Some(&count.to_string());
        self.on_the_way += count;
        self.write_buf -= count;
    }

    /// Returns what is registered.
    fn epoll_ctl(&mut self, call: &Call, taken: usize) -> String {
        let how = call.argument(1).trim_start_matches("EPOLL_CTL_");
        let Some((interest, data)) = call.events().pop() else {
            self.interest.clear();
            self.token.clear();
            return how.to_owned();
        };
        // WRITABLE goes on when a line is queued, and off when nothing is.
        if interest.contains(&"WRITABLE") {
            self.write_buf += taken;
            self.is_queued = taken > 0;
        } else {
            self.write_buf = 0;
        }
        self.interest = interest;
        self.data = data;
        self.is_woken = true;
        let (interest, trigger) = self.registered();
        format!("{how} {interest} {trigger}")
    }

    /// In C, this deregisters it, too.
    fn close(&mut self) {
        self.descriptor = None;
        self.interest.clear();
        self.token.clear();
    }

    /// Whether it is one of the calls that milestone 5 makes again and again, by the clock, and that
    /// have moved nothing. They would make two recordings differ.
    fn is_retry(&mut self, call: &Call) -> bool {
        let has_failed = call.result.is_err();
        match call.name.as_str() {
            // It has read faster than the bytes came.
            "recvfrom" => has_failed && self.unread() > 0,
            "sendto" => {
                self.is_woken = false;
                mem::replace(&mut self.is_refused, has_failed) && has_failed
            }
            _ => false,
        }
    }
}

/// The whole of it.
#[derive(Default)]
pub(super) struct State {
    pub pending: Vec<String>,
    pub clients: BTreeMap<String, Connection>,
    listener_is_level: bool,
    listener_is_woken: bool,
    /// The bytes of complete lines that were read and not yet broadcast.
    taken: usize,
    /// Whether it is milestone 5, which leaves bytes unread, queues a line at once for everybody, and
    /// prints from another thread: its lines are not recorded.
    pub is_hardened: bool,
}

impl State {
    /// Of a server that has just started, from the calls that it has made.
    pub fn new(calls: &[Call], is_hardened: bool) -> State {
        let registered = calls.iter().find(|call| call.name == "epoll_ctl");
        let events = registered.and_then(|call| call.events().pop());
        let (listener, _) = events.expect("the listener is registered");
        State {
            listener_is_level: !listener.contains(&"edge"),
            is_hardened,
            ..State::default()
        }
    }

    pub fn connects(&mut self, name: &str, port: u16) {
        let connection = Connection {
            port,
            ..Connection::default()
        };
        self.clients.insert(name.to_owned(), connection);
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

    /// Whether epoll has nothing left to report.
    pub fn is_at_rest(&self) -> bool {
        !self.listener_is_ready() && !self.clients.values().any(Connection::is_ready)
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
            "close" => client.close(),
            _ => return None,
        }
        if self.is_hardened {
            client.token = match client.interest.len() {
                0 => String::new(),
                _ => format!("Token({})", client.data),
            };
            let token = client.token.clone();
            self.broadcast(&token);
        }
        Some(step)
    }

    fn epoll_wait(&mut self, call: &Call) -> Option<Step> {
        // A signal interrupts the call, if it does not come between two calls: that would make two
        // recordings differ.
        if call.result.is_err() {
            return None;
        }
        let mut events = Vec::new();
        for (flags, data) in call.events() {
            let mut clients = self.clients.iter();
            let client = clients.find(|(_, client)| client.is_open() && client.data == data);
            // While milestone 5 leaves bytes unread, more may come from the same client at any time.
            let is_known = |client: &Connection| client.unread() > 0 && !client.is_woken;
            if !(self.is_hardened && client.is_some_and(|(_, client)| is_known(client))) {
                let name = client.map_or("listener", |(name, _)| name);
                events.push((name.to_owned(), flags.join(" | ")));
            }
        }
        if events.is_empty() {
            return None;
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
        Some(Step {
            call: Some(call.name.clone()),
            result: Some(format!("{} event{plural}", events.len()).into()),
            events,
            ..Step::default()
        })
    }

    /// What epoll is about to report, sorted, which is no longer ready then.
    fn take_ready(&mut self) -> Vec<(String, String)> {
        let mut ready = Vec::new();
        if self.listener_is_ready() {
            ready.push(("listener".to_owned(), "READABLE".to_owned()));
        }
        self.listener_is_woken = self.listener_is_level;
        for (name, client) in &mut self.clients {
            if client.is_ready() {
                ready.push((name.clone(), client.readiness().join(" | ")));
            }
            client.is_woken = false;
        }
        ready.sort();
        ready
    }

    fn accept4(&mut self, call: &Call) -> Option<Step> {
        let mut step = step_of(call, "listener");
        match call.result {
            Ok(descriptor) => {
                let name = self.pending.remove(0);
                let client = self.client(&name);
                assert_eq!(call.port(), Some(client.port), "accepted in another order");
                client.descriptor = Some(descriptor);
                step.result = Some(name.into());
            }
            // Milestone 5 tries in each iteration.
            Err(_) if self.is_hardened => return None,
            Err(_) => {}
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
        if let Some(token) = line.strip_prefix(REGISTERED) {
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
                client.write_buf += taken;
            }
        }
    }

    /// What is shown of the kernel. All bytes that are on the way count as unsent.
    pub fn kernel(&self) -> Kernel {
        let open = self.clients.iter().filter(|(_, client)| client.is_open());
        let sockets = open.map(|(name, client)| {
            let (interest, trigger) = client.registered();
            let socket = Socket {
                unread: client.unread(),
                unsent: client.on_the_way,
                at_client: 0,
                interest,
                trigger: trigger.to_owned(),
                ready: client.is_ready(),
            };
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
        let clients = self.clients.iter();
        let kept = clients.filter(|(_, client)| !client.token.is_empty());
        let map = kept.map(|(name, client)| {
            let entry = Entry {
                name: name.clone(),
                read_buf: cut(client.read_buf()),
                read_buf_bytes: client.read_buf().len(),
                write_buf: client.write_buf,
            };
            (client.token.clone(), entry)
        });
        Program { map: map.collect() }
    }
}

/// A step with the call's own result.
fn step_of(call: &Call, on: &str) -> Step {
    let (name, moves_bytes) = match call.name.as_str() {
        "recvfrom" => ("read", true),
        "sendto" => ("write", true),
        name => (name, false),
    };
    let text = || cut(call.text().as_bytes());
    Step {
        call: Some(name.to_owned()),
        on: Some(on.to_owned()),
        result: Some(match &call.result {
            Ok(count) => (*count).into(),
            Err(error) => error.as_str().into(),
        }),
        text: (moves_bytes && call.result.is_ok()).then(text),
        ..Step::default()
    }
}
