//! A client of the server under test.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::net::sockopt;
use socket2::{Domain, Socket, Type};

use crate::failure::{self, Expected};
use crate::harness::received::Received;
use crate::log::{Conversation, Deadline, Kind, Log, escape, lock};
use crate::wait::patience;

/// Bytes of a segment to a client with a small receive buffer. The kernel's buffer at the server's end
/// grows with it: with the 64 KiB of the loopback interface it takes some MiB, and finds more room later.
const ETHERNET_SEGMENT: u32 = 1460;

/// A connected client with a name, made by [`Server::client`](crate::Server::client) and its like.
///
/// It reads only when it is asked to: a client that is never asked is a stalled reader. When it is
/// dropped, its connection is closed.
pub struct Client {
    name: String,
    stream: Arc<TcpStream>,
    address: SocketAddr,
    /// What was received and not asked for yet.
    unread: Vec<u8>,
    /// In the log, too.
    conversation: Arc<Mutex<Conversation>>,
    pub(crate) token: Option<String>,
    log: Arc<Log>,
}

impl Client {
    // Connecting.

    #[track_caller]
    pub(crate) fn connect(
        name: &str,
        server: SocketAddr,
        receive_buffer: Option<usize>,
        log: Arc<Log>,
    ) -> Client {
        let stream = open(server, receive_buffer).unwrap_or_else(|e| {
            let (title, wanted) = (format!("{name} cannot connect"), "a connection");
            failure::fail(&log, Expected::Connection, &title, wanted, &e.to_string())
        });
        let address = stream.local_addr().expect("a socket has an address");
        log.add(name, Kind::Done, format!("connects from {address}"));
        let stream = Arc::new(stream);
        let conversation = log.add_client(name, address, &stream);
        Client {
            name: name.to_owned(),
            stream,
            unread: Vec::new(),
            address,
            conversation,
            token: None,
            log,
        }
    }

    /// The name that failures use for this client.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This client's own address, as the server sees it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that the server has reported for this client, such as `Token(1)`.
    ///
    /// # Panics
    ///
    /// If the client was made by [`Server::connect`](crate::Server::connect), which does not wait
    /// for it.
    #[must_use]
    pub fn token(&self) -> &str {
        let token = self.token.as_deref();
        token.expect("the server has registered this client")
    }

    // Sending.

    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// If the connection is closed, or the server does not take them until the deadline.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.log(Kind::Sent, &escape(bytes));
        let mut deadline = Deadline::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let result = lock(&self.conversation).send(&self.stream, rest);
            let sent = result.or_else(|e| self.wait(e, PollFlags::OUT, &mut deadline));
            let sent = sent.unwrap_or_else(|e| {
                let wanted = format!("{}, all of it", escape(bytes));
                let sent = bytes.len() - rest.len();
                let received = format!("{sent} bytes were sent, then: {e}");
                self.fail(|_| Expected::Other, "could not send", &wanted, &received)
            });
            rest = &rest[sent..];
        }
    }

    /// Sends a line and its newline.
    ///
    /// # Panics
    ///
    /// As [`Client::send`].
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n"));
    }

    /// The bare connection, for a test that sends and receives in its own way.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        let bare = "is a bare connection from now on, and not logged";
        self.log(Kind::Done, bare);
        self.log.forget_client(&self.conversation);
        // Nothing else keeps it: the log has forgotten it.
        Arc::into_inner(self.stream).expect("the client has its own connection")
    }

    /// Sends end of file and goes on receiving (a half-close).
    ///
    /// # Panics
    ///
    /// If the connection is closed.
    #[track_caller]
    pub fn half_close(&mut self) {
        self.log(Kind::Done, "sends end of file");
        lock(&self.conversation).has_half_closed = true;
        if let Err(e) = self.stream.shutdown(Shutdown::Write) {
            let (what, wanted) = ("could not half-close", "an open connection");
            self.fail(|_| Expected::Other, what, wanted, &e.to_string());
        }
    }

    /// Closes the connection, as a program does that exits.
    pub fn leave(self) {
        self.log(Kind::Done, "leaves");
    }

    /// Closes the connection with a reset instead of an end of file, which discards the bytes in
    /// flight in both directions (`SO_LINGER` of zero, socket(7)).
    ///
    /// # Panics
    ///
    /// If the kernel refuses the option.
    pub fn reset(self) {
        self.log(Kind::Done, "resets the connection");
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("SO_LINGER is supported");
    }

    // Receiving.

    /// Reads exactly this line and its newline; later bytes stay unread.
    ///
    /// # Panics
    ///
    /// If the next line is another one, or does not come until the deadline.
    #[track_caller]
    pub fn expect_line(&mut self, line: &str) {
        let received = self.receive_up_to_newline();
        self.check(format!("{line}\n").as_bytes(), received);
    }

    /// Reads exactly these bytes; later ones stay unread.
    ///
    /// # Panics
    ///
    /// If others come, or not all of them until the deadline.
    #[track_caller]
    pub fn expect_bytes(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let received =
            self.receive(|bytes| (bytes.len() >= expected.len()).then_some(expected.len()));
        self.check(expected, received);
    }

    /// Reads the next line, whatever it is, and returns it without its newline.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[must_use]
    #[track_caller]
    pub fn receive_line(&mut self) -> Vec<u8> {
        let mut received = self.receive_up_to_newline();
        if received.end.is_some() {
            let what = "did not receive a line";
            self.fail(Expected::Bytes, what, "a line", &received.to_string());
        }
        received.bytes.pop();
        received.bytes
    }

    /// Reads until the server closes the connection, and returns everything.
    ///
    /// # Panics
    ///
    /// If the connection is still open at the deadline, or is reset.
    #[must_use]
    #[track_caller]
    pub fn receive_all(&mut self) -> Vec<u8> {
        let received = self.receive(|_| None);
        if received.ended_by() != Some(ErrorKind::UnexpectedEof) {
            let (what, wanted) = ("was not closed", "any bytes and end of file");
            self.fail(Expected::Closed, what, wanted, &received.to_string());
        }
        received.bytes
    }

    /// The server must close the connection, and send nothing before that.
    ///
    /// A reset counts as closed: the kernel sends one instead of an end of file if the server has
    /// left bytes unread (RFC 2525, section 2.17).
    ///
    /// # Panics
    ///
    /// If bytes come, or the connection stays open until the deadline.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let received = self.receive(|bytes| Some(bytes.len()).filter(|&n| n > 0));
        let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
        if !received.ended_by().is_some_and(|end| ends.contains(&end)) {
            let received = received.to_string();
            self.fail(Expected::Closed, "was not closed", "end of file", &received);
        }
        self.log(Kind::Done, "is closed by the server");
    }

    /// How many bytes have arrived that no assertion has asked for.
    ///
    /// # Panics
    ///
    /// If the kernel does not say.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        let in_socket = ioctl_fionread(&self.stream).expect("a socket reports what it holds");
        in_socket + self.unread.len() as u64
    }

    fn receive_up_to_newline(&mut self) -> Received {
        let mut searched = 0;
        self.receive(|bytes| {
            let newline = bytes[searched..].iter().position(|&byte| byte == b'\n');
            let end = newline.map(|place| searched + place + 1);
            searched = bytes.len();
            end
        })
    }

    /// Receives until `wanted` finds what is asked for at the beginning of what has come, and returns that
    /// many bytes. Or until there is an end, and returns all of them.
    fn receive(&mut self, mut wanted: impl FnMut(&[u8]) -> Option<usize>) -> Received {
        let mut deadline = Deadline::new();
        let (length, end) = loop {
            if let Some(length) = wanted(&self.unread) {
                break (length, None);
            }
            if let Err(e) = self.receive_more(&mut deadline) {
                break (self.unread.len(), Some(e));
            }
        };
        let later = self.unread.split_off(length);
        let bytes = mem::replace(&mut self.unread, later);
        self.log(Kind::Received, &escape(&bytes));
        Received { bytes, end }
    }

    /// Waits for more bytes, or for end of file, which is an error here.
    fn receive_more(&mut self, deadline: &mut Deadline) -> io::Result<()> {
        let mut chunk = [0; 8 << 10];
        let result = lock(&self.conversation).receive(&self.stream, &mut chunk);
        match result {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.unread.extend(&chunk[..n]),
            Err(e) => _ = self.wait(e, PollFlags::IN, deadline)?,
        }
        Ok(())
    }

    /// After a call that would block: waits until it would not, and returns that no bytes went through.
    fn wait(&self, e: io::Error, event: PollFlags, deadline: &mut Deadline) -> io::Result<usize> {
        if e.kind() != ErrorKind::WouldBlock {
            return Err(e);
        }
        let left = deadline.left(&self.log).ok_or(e)?;
        let left = Timespec::try_from(left).ok();
        retry_on_intr(|| poll(&mut [PollFd::new(&*self.stream, event)], left.as_ref()))?;
        Ok(0)
    }

    #[track_caller]
    fn check(&self, expected: &[u8], received: Received) {
        if received.bytes != expected {
            let (wanted, received) = received.compare(expected);
            let what = "did not receive what was expected";
            self.fail(Expected::Bytes, what, &wanted, &received);
        }
    }

    #[track_caller]
    fn fail(&self, kind: fn(String) -> Expected, what: &str, wanted: &str, received: &str) -> ! {
        let title = format!("{} {what}", self.name);
        let expected = kind(self.name.clone());
        failure::fail(&self.log, expected, &title, wanted, received);
    }

    fn log(&self, kind: Kind, text: &str) {
        self.log.add(&self.name, kind, text);
    }
}

/// Connects, with a deadline on this, and on every later write of a bare connection.
fn open(server: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
    // Closed on exec: a server that another test starts meanwhile must not inherit it and keep the
    // connection open when this client leaves.
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if let Some(bytes) = receive_buffer {
        // Before the connection is made, which is when its window is negotiated (tcp(7)).
        socket.set_recv_buffer_size(bytes)?;
        socket.set_tcp_mss(ETHERNET_SEGMENT)?;
    }

    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    // Applies to `connect` as well (SO_SNDTIMEO, socket(7)).
    stream.set_write_timeout(Some(patience()))?;
    // The calls of a process that is stopped and continued are interrupted, as a server's are.
    retry_on_intr(|| rustix::net::connect(&stream, &server))?;
    Ok(stream)
}
