//! A client that never stops sending.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt;
use shared_testkit::Client;

/// After this many lines the numbers start again at 0: lines of 16 bytes each, 1 MiB in all, which
/// a [`Flooder`] makes once and sends in one write, over and over.
const ROUND: u64 = 1 << 16;

/// The lines of a [`Flooder`] from one place in its flood to another, with a number in each, so
/// that a lost, doubled or moved byte shows.
pub fn flood_lines(places: Range<u64>) -> String {
    let mut lines = String::new();
    for place in places {
        // Writing to a `String` does not fail.
        let _ = writeln!(lines, "{:15}", place % ROUND);
    }
    lines
}

/// A client that sends numbered lines as fast as the server takes them. It reads nothing until
/// [`Flooder::receive`]. When it is dropped, its connection is closed.
pub struct Flooder {
    stream: TcpStream,
    receiver: Option<JoinHandle<io::Result<u64>>>,
}

/// Makes a client send numbered lines without a pause from now on, as `yes | nc` does.
pub fn start(client: Client) -> Flooder {
    let stream = client.into_stream();
    let second = stream.try_clone().expect("a second handle");
    thread::spawn(move || send_without_pause(second));
    Flooder {
        stream,
        receiver: None,
    }
}

impl Flooder {
    /// Receives from now on, and discards what comes.
    pub fn receive(&mut self) {
        let mut stream = self.stream.try_clone().expect("a further handle");
        self.receiver = Some(thread::spawn(move || {
            io::copy(&mut stream, &mut io::sink())
        }));
    }

    /// Closes the connection with a reset instead of an end of file.
    pub fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("it is supported");
    }

    /// Waits for the server's end of file, and returns how many bytes came before it since
    /// [`Flooder::receive`].
    pub fn received(mut self) -> u64 {
        let receiver = self.receiver.take().expect("it receives");
        let received = receiver.join().expect("the receiver does not panic");
        received.expect("the flooder sees end of file")
    }
}

/// Ends with an error, when either side closes the connection.
fn send_without_pause(mut stream: TcpStream) -> io::Result<()> {
    // Being held back for long is no reason to give up.
    stream.set_write_timeout(None)?;
    let round = flood_lines(0..ROUND);
    loop {
        stream.write_all(round.as_bytes())?;
    }
}

impl Drop for Flooder {
    fn drop(&mut self) {
        // Ends the threads, even if they wait. The connection may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
