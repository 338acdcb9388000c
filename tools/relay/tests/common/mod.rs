//! NATS and relays, run as the testkit runs servers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests and the benchmark use them, each not all of them"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use course::test_runner::is_installed;
use shared_testkit::predicates::str::{contains, starts_with};
use shared_testkit::{Builder, Server, skip};
use socket2::{Domain, Socket, Type};

pub const RELAY: &str = env!("CARGO_BIN_EXE_relay");

/// A relay that has connected to both sides.
pub fn relay(server: SocketAddr, urls: &str) -> Server {
    let relay = Server::builder(RELAY).argument(server.to_string());
    let relay = relay.argument(urls).without_address().spawn();
    relay.expect_stderr(starts_with("Relaying "));
    relay
}

/// A port that the kernel has chosen and keeps for us: a server can listen there, end, and come back. No
/// other program gets it meanwhile, because a socket of ours is bound to it, and does not listen.
pub struct Port {
    pub address: SocketAddr,
    _socket: Socket,
}

impl Port {
    pub fn new() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        Port {
            address: socket.local_addr().unwrap().as_socket().unwrap(),
            _socket: socket,
        }
    }
}

/// A NATS server.
pub struct Nats {
    port: Port,
    monitor: Port,
    arguments: Vec<String>,
    pub process: Server,
}

impl Nats {
    /// `None` if there is none on this machine: the calling test is reported as skipped.
    pub fn start(arguments: &[&str]) -> Option<Nats> {
        if !is_installed("nats-server") {
            skip("there is no nats-server");
            return None;
        }
        let [port, monitor] = [Port::new(), Port::new()];
        let ports = [&port, &monitor].map(|port| port.address.port());
        let ours = format!("-a 127.0.0.1 -p {} -m {}", ports[0], ports[1]);
        let arguments = ours.split(' ').chain(arguments.iter().copied());
        let arguments: Vec<_> = arguments.map(str::to_owned).collect();
        Some(Nats {
            port,
            monitor,
            process: serve(&arguments),
            arguments,
        })
    }

    /// Starts it again on the same ports, after it has been killed.
    pub fn restart(&mut self) {
        self.process = serve(&self.arguments);
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address)
    }

    /// Waits until there are so many subscriptions: of relays (`connz`), or of other servers of the cluster
    /// that have asked for what is published here (`routez`).
    #[track_caller]
    pub fn expect_subscriptions(&self, name: &str, count: usize) {
        let what = format!("{count} subscriptions in {name}");
        self.process.wait_until(&what, || {
            let mut page = String::new();
            let mut monitor = TcpStream::connect(self.monitor.address).unwrap();
            write!(monitor, "GET /{name}?subs=1 HTTP/1.0\r\n\r\n").unwrap();
            monitor.read_to_string(&mut page).unwrap();
            page.matches("\"chat\"").count() == count
        });
    }

    /// Waits until it tells its clients of another server of the cluster.
    #[track_caller]
    pub fn expect_peer(&self, other: &Nats) {
        let address = other.port.address.to_string();
        self.process.wait_until("it knows the other one", || {
            let mut info = String::new();
            BufReader::new(self.connect()).read_line(&mut info).unwrap();
            info.contains(&address)
        });
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.port.address).unwrap()
    }

    /// Publishes lines as any program can, each with the subject of an answer, or none.
    pub fn publish<'a>(&self, lines: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut commands = "CONNECT {\"verbose\":false}\r\n".to_owned();
        for (answer, line) in lines {
            commands += &format!("PUB chat {answer} {}\r\n{line}\r\n", line.len());
        }
        let mut publisher = self.connect();
        // The answer to this comes when all of them have arrived.
        write!(publisher, "{commands}PING\r\n").unwrap();
        let mut lines = BufReader::new(publisher).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "PONG"));
    }
}

fn serve(arguments: &[String]) -> Server {
    let nats = Server::builder("nats-server").without_address();
    let nats = arguments.iter().fold(nats, Builder::argument).spawn();
    nats.expect_stderr(contains("Server is ready"));
    nats
}
