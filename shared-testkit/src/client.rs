//! A client of the server under test.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::{ioctl_fionread, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::deadline::patience;
use crate::flood::Flooder;
use crate::timeline::{INDENT, Kind, Timeline, escape};

/// How much of what is the same a failure shows before the place where it differs, in columns.
const SHOWN_BEFORE: usize = 14;

/// A connected client with a name, made by [`Server::client`](crate::Server::client) and its like.
///
/// It reads only when it is asked to: a client that is never asked is a reader that has stalled.
/// When it is dropped, its connection is closed.
pub struct Client {
    name: String,
    reader: BufReader<Timed>,
    address: SocketAddr,
    token: Option<String>,
    timeline: Arc<Timeline>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(
        name: &str,
        server: SocketAddr,
        receive_buffer: Option<usize>,
        timeline: Arc<Timeline>,
    ) -> Client {
        let stream = open(server, receive_buffer).unwrap_or_else(|e| {
            timeline.fail(
                &format!("{name} cannot connect"),
                "a connection",
                &e.to_string(),
            )
        });
        let address = stream
            .local_addr()
            .expect("a connected socket has an address");
        timeline.add(name, Kind::Done, format!("connects from {address}"));
        Client {
            name: name.to_owned(),
            reader: BufReader::new(Timed::new(stream)),
            address,
            token: None,
            timeline,
        }
    }

    /// The name by which failures call this client.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This client's own address, as the server sees it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that the server has said for this client, such as `Token(1)`.
    ///
    /// # Panics
    ///
    /// If the client was made by [`Server::connect`](crate::Server::connect), which does not wait
    /// for it.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token
            .as_deref()
            .expect("the server has registered this client")
    }

    pub(crate) fn set_token(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// If the connection is closed, or the server does not take them until the deadline.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.log(Kind::Sent, &escape(bytes));
        let end = Instant::now() + patience();
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stream().write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => self.fail_to_send(bytes, rest.len(), &e.to_string()),
            }
            // A server that takes a little now and then must not make this wait for ever.
            if !rest.is_empty() && Instant::now() > end {
                self.fail_to_send(bytes, rest.len(), "the time was up");
            }
        }
    }

    #[track_caller]
    fn fail_to_send(&self, bytes: &[u8], left: usize, why: &str) -> ! {
        let sent = bytes.len() - left;
        self.fail(
            "could not send",
            &format!("{}, all of it", escape(bytes)),
            &format!("{sent} bytes were, then: {why}"),
        );
    }

    /// Sends a line, and the newline after it.
    ///
    /// # Panics
    ///
    /// As [`Client::send`].
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n"));
    }

    /// Sends pieces one by one, each at once. The kernel may still join neighbours on the way; to
    /// be sure that the server has read one piece alone, wait for what it says of it.
    ///
    /// # Panics
    ///
    /// As [`Client::send`].
    #[track_caller]
    pub fn send_fragments<B: AsRef<[u8]>>(&mut self, fragments: impl IntoIterator<Item = B>) {
        for fragment in fragments {
            self.send(fragment);
        }
    }

    /// Receives exactly this line and its newline, and not a byte more.
    ///
    /// # Panics
    ///
    /// If the next line is another one, or does not come until the deadline.
    #[track_caller]
    pub fn expect_line(&mut self, line: &str) {
        let received = self.read_line();
        self.check(format!("{line}\n").as_bytes(), &received);
    }

    /// Receives exactly these bytes, and not a byte more.
    ///
    /// # Panics
    ///
    /// If others come, or not all of them until the deadline.
    #[track_caller]
    pub fn expect_bytes(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut bytes = Vec::new();
        let result = self
            .begin_to_read()
            .take(expected.len() as u64)
            .read_to_end(&mut bytes);
        let complete = bytes.len() == expected.len();
        self.check(expected, &Received::new(bytes, complete, result));
    }

    /// Receives the next line, whatever it is, and returns it without its newline.
    ///
    /// # Panics
    ///
    /// If none comes until the deadline.
    #[must_use]
    #[track_caller]
    pub fn receive_line(&mut self) -> Vec<u8> {
        let mut received = self.read_line();
        self.log(Kind::Received, &escape(&received.bytes));
        if received.end.is_some() {
            self.fail("did not receive a line", "a line", &received.to_string());
        }
        received.bytes.pop();
        received.bytes
    }

    /// Receives everything until the server closes the connection, and returns it.
    ///
    /// # Panics
    ///
    /// If the connection is still open at the deadline, or is reset.
    #[must_use]
    #[track_caller]
    pub fn receive_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let result = self.begin_to_read().read_to_end(&mut bytes);
        self.log(Kind::Received, &escape(&bytes));
        if result.is_err() {
            let received = Received::new(bytes, false, result);
            self.fail(
                "was not closed",
                "any bytes and end of file",
                &received.to_string(),
            );
        }
        bytes
    }

    /// The server must close the connection, and send nothing before it does.
    ///
    /// A reset counts as closed: the kernel sends one instead of an end of file where the server
    /// has left bytes unread (RFC 2525, section 2.17).
    ///
    /// # Panics
    ///
    /// If bytes come, or the connection stays open until the deadline.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let (bytes, result) = match self.begin_to_read().fill_buf() {
            Ok(bytes) => (bytes.to_vec(), Ok(bytes.len())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => (Vec::new(), Ok(0)),
            Err(e) => (Vec::new(), Err(e)),
        };
        if result.is_err() || !bytes.is_empty() {
            let received = Received::new(bytes, result.is_ok(), result);
            self.fail("was not closed", "end of file", &received.to_string());
        }
        self.log(Kind::Done, "is closed by the server");
    }

    /// Sends numbered lines without a pause from now on, as `yes | nc` does.
    ///
    /// # Panics
    ///
    /// If the kernel refuses a second handle to the socket.
    #[must_use]
    pub fn flood(self) -> Flooder {
        self.log(Kind::Done, "sends without a pause from now on");
        Flooder::start(self.reader.into_inner().stream)
    }

    /// Says that no more bytes will be sent, and goes on receiving (a half-close).
    ///
    /// # Panics
    ///
    /// If the connection is closed.
    #[track_caller]
    pub fn half_close(&mut self) {
        self.log(Kind::Done, "sends end of file");
        if let Err(e) = self.stream().shutdown(Shutdown::Write) {
            self.fail("could not half-close", "an open connection", &e.to_string());
        }
    }

    /// Leaves as a program does that ends: the connection is closed.
    pub fn leave(self) {
        self.log(Kind::Done, "leaves");
    }

    /// Leaves with a reset instead of an end of file, and throws away what is under way in both
    /// directions (`SO_LINGER` of zero, socket(7)).
    ///
    /// # Panics
    ///
    /// If the kernel refuses the option.
    pub fn reset(self) {
        self.log(Kind::Done, "resets the connection");
        sockopt::set_socket_linger(self.stream(), Some(Duration::ZERO))
            .expect("SO_LINGER is known");
    }

    /// How many bytes have come that nobody has asked for.
    pub(crate) fn unread(&self) -> u64 {
        let in_socket = ioctl_fionread(self.stream()).expect("a socket knows what it holds");
        in_socket + self.reader.buffer().len() as u64
    }

    /// Starts the time in which an assertion has to receive all that it asks for.
    fn begin_to_read(&mut self) -> &mut BufReader<Timed> {
        self.reader.get_mut().end = Instant::now() + patience();
        &mut self.reader
    }

    fn stream(&self) -> &TcpStream {
        &self.reader.get_ref().stream
    }

    fn read_line(&mut self) -> Received {
        let mut bytes = Vec::new();
        let result = self.begin_to_read().read_until(b'\n', &mut bytes);
        let complete = bytes.ends_with(b"\n");
        Received::new(bytes, complete, result)
    }

    #[track_caller]
    fn check(&self, expected: &[u8], received: &Received) {
        self.log(Kind::Received, &escape(&received.bytes));
        if received.bytes == expected {
            return;
        }
        let pairs = expected.iter().zip(&received.bytes);
        let parted = pairs.take_while(|(e, r)| e == r).count();
        let from = begin_of_context(&expected[..parted]);
        let mark = match (received.bytes.len(), from) {
            (0, _) => String::new(),
            (_, 0) => mark(&expected[..parted], &format!("they part at byte {parted}")),
            _ => mark(
                &expected[from..parted],
                &format!("they part at byte {parted}; shown from {from} on"),
            ),
        };
        let shown = received.from(from).to_string();
        // The mark belongs under the bytes; how they ended may stand in a line of its own.
        let (bytes, end) = shown.split_at(shown.find('\n').unwrap_or(shown.len()));
        self.fail(
            "did not receive what was expected",
            &escape(&expected[from..]),
            &format!("{bytes}{mark}{end}"),
        );
    }

    #[track_caller]
    fn fail(&self, what: &str, expected: &str, received: &str) -> ! {
        self.timeline
            .fail(&format!("{} {what}", self.name), expected, received);
    }

    fn log(&self, kind: Kind, text: &str) {
        self.timeline.add(&self.name, kind, text);
    }
}

/// A socket whose reads all together have one deadline, however little each of them brings.
struct Timed {
    stream: TcpStream,
    end: Instant,
}

impl Timed {
    fn new(stream: TcpStream) -> Timed {
        Timed {
            stream,
            end: Instant::now(),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        loop {
            match self.stream.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// What was read, and why there is no more of it.
struct Received {
    bytes: Vec<u8>,
    /// `None` where all that was asked for has come.
    end: Option<String>,
}

impl Received {
    fn new(bytes: Vec<u8>, complete: bool, result: io::Result<usize>) -> Received {
        let end = match result {
            _ if complete => None,
            Ok(_) => Some("end of file".to_owned()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                Some(format!("nothing more in {} s", patience().as_secs_f32()))
            }
            Err(e) => Some(e.to_string()),
        };
        Received { bytes, end }
    }

    /// The same without its first bytes.
    fn from(&self, start: usize) -> Received {
        Received {
            bytes: self.bytes.get(start..).unwrap_or_default().to_vec(),
            end: self.end.clone(),
        }
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            None => write!(f, "{}", escape(&self.bytes)),
            Some(end) if self.bytes.is_empty() => write!(f, "{end}"),
            Some(end) => write!(f, "{},{}then {end}", escape(&self.bytes), gap(&self.bytes)),
        }
    }
}

/// What stands between bytes and how they ended: a new line, unless both fit into one.
fn gap(bytes: &[u8]) -> String {
    match escape_width(bytes) {
        0..=30 => " ".to_owned(),
        _ => format!("\n{INDENT}"),
    }
}

/// Far into a long message its beginning says nothing: where to begin, a little before the place
/// where expected and received part.
fn begin_of_context(same: &[u8]) -> usize {
    if escape_width(same) < SHOWN_BEFORE * 2 {
        return 0;
    }
    let mut from = same.len();
    while escape_width(&same[from..]) < SHOWN_BEFORE {
        from -= 1;
    }
    from
}

/// A line that points at what follows these bytes in the line above, which begins with a quotation
/// mark.
fn mark(same: &[u8], text: &str) -> String {
    format!("\n{INDENT} {:1$}^ {text}", "", escape_width(same))
}

fn escape_width(bytes: &[u8]) -> usize {
    bytes.escape_ascii().count()
}

/// Connects, with a deadline on this and on all that is done with the stream later.
fn open(server: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    // Not inherited by a server that another test starts in the meantime: it would keep the
    // connection open when this client leaves.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(bytes) = receive_buffer {
        // Before the connection is made, because its window is agreed on then (tcp(7)).
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }

    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    // Holds for `connect` too (SO_SNDTIMEO, socket(7)).
    stream.set_write_timeout(Some(patience()))?;
    // A process that is stopped and continued sees its calls interrupted, as a server does.
    retry_on_intr(|| rustix::net::connect(&stream, &server))?;
    Ok(stream)
}
