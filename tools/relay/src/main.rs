//! Joins one server to a NATS subject, as an ordinary client of both: the lines of the server's clients
//! are published, and the lines that other relays publish go to the server's clients.
//!
//! Like the servers, this is one loop in one thread, with `select!` in the place of `poll`.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::Duration;
use std::{env, iter, mem, panic};

use anyhow::{Context, Result, anyhow, bail};
use async_nats::{Client, ConnectOptions, Message, RequestErrorKind, Subscriber};
use bytes::{Buf, BufMut, BytesMut};
use futures_util::{FutureExt, StreamExt, future};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio::{select, task};

/// Bytes of a line with its newline. Milestone 5 lets no longer one through, and closes a client that
/// sends one.
const MAX_LINE: usize = (64 << 10) + 1;

/// Lines that wait for NATS.
const MAX_MESSAGES: usize = 4096;

/// How long a line waits for a place among them. To the server, the relay is a slow reader meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of lines that wait for the server. NATS's client may receive 8 MiB before our turn comes.
const MAX_QUEUE: usize = 16 << 20;

/// How often losses are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The pause before each attempt to connect to the server again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How long the end may take.
const GRACE_TIME: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words = env::args_os().skip(1);
    let words: Vec<_> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (address, urls, subject) = match words[..] {
        ["-h" | "--help", ..] => return Ok(io::stdout().write_all(include_bytes!("help.txt"))?),
        [address, urls] => (address, urls, "chat"),
        [address, urls, subject] => (address, urls, subject),
        _ => bail!("expected SERVER NATS [SUBJECT]: see --help"),
    };
    let mut relay = Relay::connect(urls, subject).await?;
    let server = open(address).await;
    let mut server = server.with_context(|| format!("cannot connect to a server at {address}"))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut end = future::select(Box::pin(interrupt.recv()), Box::pin(terminate.recv()));
    report(&format!("Relaying {address} to {subject} at {urls}"));
    'relaying: while relay.run(server, &mut end).await {
        report(&format!("Lost the server at {address}"));
        server = loop {
            if timeout(RETRY_INTERVAL, &mut end).await.is_ok() {
                break 'relaying;
            }
            // Nobody is there to read what comes.
            relay.receive(None);
            relay.discard();
            if let Ok(server) = open(address).await {
                break server;
            }
        };
        report("The server is back");
    }
    relay.confirm().await;
    relay.discard();
    relay.report();
    Ok(())
}

async fn connect(urls: &str) -> Result<Client> {
    let options = ConnectOptions::new()
        // A line does not come back to its sender.
        .no_echo()
        .client_capacity(MAX_MESSAGES)
        // More than can come before our turn, so that NATS's client drops none: we do, and count.
        .subscription_capacity(1 << 18)
        .ping_interval(Duration::from_secs(10))
        .request_timeout(Some(Duration::from_secs(2)))
        .event_callback(async |event| match event {
            // One for each attempt to connect again.
            async_nats::Event::ClientError(_) => {}
            event => report(&format!("NATS: {event}")),
        });
    let addresses: Vec<_> = urls.split(',').map(str::to_owned).collect();
    // NATS's client is built without TLS, and panics if a server demands it.
    panic::set_hook(Box::new(|_| {}));
    let nats = tokio::spawn(options.connect(addresses)).await;
    drop(panic::take_hook());
    let nats =
        nats.map_err(|_| anyhow!("a NATS server at {urls} demands TLS, which is not supported"))?;
    nats.map_err(|e| anyhow!("cannot connect to NATS at {urls}: {e}"))
}

async fn open(address: &str) -> io::Result<TcpStream> {
    let server = TcpStream::connect(address).await?;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Prints a line on stderr. If that fails, there is nobody to report it to.
fn report(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

struct Relay<'a> {
    nats: Client,
    subject: &'a str,
    messages: Subscriber,
    /// Lines for the server, the first of them perhaps half sent.
    queue: BytesMut,
    /// No other relay has it.
    name: String,
    /// The number of the next line of each relay that has been heard, and of this one. A relay that is
    /// started again has a new name: a few dozen bytes each time.
    numbers: HashMap<String, u64>,
    /// Whether the last line for NATS was dropped: the next one does not wait.
    is_stuck: bool,
    /// When the end must be over, once a signal has come.
    ends_at: Option<Instant>,
    /// Lines that were lost since the last report, and where.
    lost: BTreeMap<&'static str, u64>,
}

impl<'a> Relay<'a> {
    async fn connect(urls: &str, subject: &'a str) -> Result<Relay<'a>> {
        let nats = connect(urls).await?;
        let messages = nats.subscribe(subject.to_owned()).await;
        let relay = Relay {
            messages: messages.with_context(|| format!("{subject:?} is not a subject"))?,
            queue: BytesMut::new(),
            name: nats.new_inbox(),
            nats,
            subject,
            numbers: HashMap::new(),
            is_stuck: false,
            ends_at: None,
            lost: BTreeMap::new(),
        };
        relay.confirm().await;
        Ok(relay)
    }

    /// Waits until NATS has processed all that it was sent, and we have received all that it had sent by
    /// then: it answers a request that nobody else answers. If somebody listens to every subject, this
    /// takes until the request's timeout.
    async fn confirm(&self) {
        let answer = self.nats.request(self.nats.new_inbox(), "".into()).await;
        if answer.is_err_and(|e| e.kind() == RequestErrorKind::TimedOut) {
            report("NATS does not confirm what it was sent");
        }
    }

    /// Carries lines in both directions, until the end and everything is delivered, or until the server is
    /// lost: then it returns `true`.
    async fn run<E: Future + Unpin>(&mut self, mut server: TcpStream, end: &mut E) -> bool {
        let (reader, mut writer) = server.split();
        let mut reader = BufReader::with_capacity(MAX_LINE, reader);
        let (mut line, mut is_skipping) = (Vec::new(), false);
        let mut ticks = interval(REPORT_INTERVAL);
        while self.ends_at.is_none_or(|end| Instant::now() < end) {
            let mut limited = (&mut reader).take((MAX_LINE - line.len()) as u64);
            select! {
                n = limited.read_until(b'\n', &mut line) => match n.unwrap_or(0) {
                    0 => break,
                    _ if !line.ends_with(b"\n") && line.len() < MAX_LINE => {}
                    _ => self.publish(mem::take(&mut line), &mut is_skipping).await,
                },
                // After an error, the reader still gets what has come, and then its end.
                n = writer.write(&self.queue), if !self.queue.is_empty() =>
                    self.queue.advance(n.unwrap_or(0)),
                Some(message) = self.messages.next(), if self.ends_at.is_none() =>
                    self.receive(Some(message)),
                _ = &mut *end, if self.ends_at.is_none() => {
                    self.confirm().await;
                    self.receive(None);
                    self.ends_at = Some(Instant::now() + GRACE_TIME);
                }
                _ = ticks.tick() => self.report(),
            }
            if self.ends_at.is_some() && self.queue.is_empty() {
                // The server sends what it still has, and closes its half, too.
                let _ = writer.shutdown().await;
            }
        }
        self.ends_at.is_none()
    }

    /// Publishes a line, or drops it piece by piece if it is too long.
    async fn publish(&mut self, line: Vec<u8>, is_skipping: &mut bool) {
        let is_end = line.ends_with(b"\n");
        let is_rest = mem::replace(is_skipping, !is_end);
        if is_rest || !is_end || line.len() > self.nats.max_payload() {
            return self.lose("because they are too long", is_end.into());
        }
        let number = self.numbers.entry(self.name.clone()).or_default();
        let reply = format!("{}.{number}", self.name);
        *number += 1;
        let subject = self.subject.to_owned();
        let publish = self.nats.publish_with_reply(subject, reply, line.into());
        self.is_stuck = select! {
            biased;
            result = publish => result.is_err(),
            () = sleep(PATIENCE), if !self.is_stuck => true,
            // NATS's task has had a turn, and there is still no room.
            () = task::yield_now(), if self.is_stuck => true,
        };
        self.lose("on the way to NATS", self.is_stuck.into());
    }

    /// Queues the line in a message, and those in all messages that have come after it.
    fn receive(&mut self, first: Option<Message>) {
        // Without Tokio's budget, which would stop this while NATS's task goes on.
        let next = || task::unconstrained(self.messages.next()).now_or_never()?;
        let rest: Vec<_> = iter::from_fn(next).collect();
        for Message { payload, reply, .. } in first.into_iter().chain(rest) {
            let missing = reply.map_or(Some(0), |number| self.missing(&number));
            let Some(missing) = missing else { continue };
            self.lose("on the way from other servers", missing);
            let line = payload.strip_suffix(b"\n").unwrap_or(&payload);
            if line.len() >= MAX_LINE || self.queue.len() + line.len() >= MAX_QUEUE {
                self.lose("on the way to the server", 1);
            } else {
                self.queue.extend_from_slice(line);
                self.queue.put_u8(b'\n');
            }
        }
    }

    /// How many lines of the same relay are missing before this number. `None` if a later one has come, on
    /// another way through a cluster, or if it is no number.
    fn missing(&mut self, number: &str) -> Option<u64> {
        let (relay, number) = number.rsplit_once('.')?;
        let number = number.parse().ok()?;
        let next = self.numbers.entry(relay.to_owned()).or_insert(number);
        let missing = number.checked_sub(*next)?;
        *next = number.saturating_add(1);
        Some(missing)
    }

    /// Drops the lines for the server.
    fn discard(&mut self) {
        let lines = self.queue.iter().filter(|&&byte| byte == b'\n').count();
        self.lose("on the way to the server", lines as u64);
        self.queue.clear();
    }

    fn lose(&mut self, place: &'static str, lines: u64) {
        *self.lost.entry(place).or_default() += lines;
    }

    fn report(&mut self) {
        self.lost.retain(|_, lines| *lines > 0);
        for (place, lines) in mem::take(&mut self.lost) {
            report(&format!("Lines lost {place}: {lines}"));
        }
    }
}
