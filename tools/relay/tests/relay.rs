//! What the relay promises, tried with real servers and a real NATS.

#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use course::test_runner::program;
use shared_testkit::predicates::prelude::PredicateBooleanExt;
use shared_testkit::predicates::str::{contains, starts_with};
use shared_testkit::{Client, Server, run_to_exit};

use crate::common::{Nats, Port, RELAY, relay};

static SERVER: LazyLock<PathBuf> = LazyLock::new(|| program("milestone-5-harden"));

/// Where the relay reports that lines were lost.
const FROM_OTHERS: &str = "on the way from other servers";
const TO_SERVER: &str = "on the way to the server";
const TO_NATS: &str = "on the way to NATS";
const TOO_LONG: &str = "because they are too long";

/// Clients of a server.
const CLIENTS: usize = 2;

/// A server, its relay, and its clients.
struct Site {
    clients: [Client; CLIENTS],
    relay: Server,
    server: Server,
}

impl Site {
    fn new(url: &str) -> Site {
        Site::with(Server::start(&*SERVER), url)
    }

    fn with(server: Server, url: &str) -> Site {
        Site {
            relay: join(&server, url),
            clients: ["first", "second"].map(|name| server.client(name)),
            server,
        }
    }
}

/// Starts a relay, and returns when the server has registered it.
fn join(server: &Server, url: &str) -> Server {
    let relay = relay(server.address(), url);
    server.expect_match(starts_with("Registered "));
    relay
}

fn three_sites(nats: &Nats) -> [Site; 3] {
    [0; 3].map(|_| Site::new(&nats.url()))
}

/// All clients, from the first site to the last.
fn clients(sites: &mut [Site]) -> impl Iterator<Item = &mut Client> {
    sites.iter_mut().flat_map(|site| &mut site.clients)
}

/// Every client says these numbers, all of them in turn.
fn say(sites: &mut [Site], topic: &str, numbers: Range<usize>) {
    for number in numbers {
        for (sender, client) in clients(sites).enumerate() {
            client.send_line(&format!("{topic} {sender} {number}"));
        }
    }
}

/// Everybody says so many lines, and everybody else receives each once, those of a sender in order.
fn exchange(sites: &mut [Site], topic: &str, lines: usize) {
    say(sites, topic, 0..lines);
    let missed: usize = count_missed(sites, topic, lines).iter().sum();
    assert_eq!(missed, 0, "lines are missing");
}

/// After everybody has said so many lines: the relays have counted those that were not received.
fn exchange_with_losses(sites: &mut [Site], topic: &str, lines: usize) {
    let missed = count_missed(sites, topic, lines);
    for (site, missed) in sites.iter().zip(missed.chunks(CLIENTS)) {
        for &missed in missed {
            expect_lost(&site.relay, FROM_OTHERS, missed);
        }
    }
}

/// Everybody has said so many lines. Each was received at most once and in order, and all of those in the
/// same site were. Returns how many each client has not received.
fn count_missed(sites: &mut [Site], topic: &str, lines: usize) -> Vec<usize> {
    say(sites, "end", 0..1);
    let others = sites.len() * CLIENTS - 1;
    let mut missed = Vec::new();
    for (receiver, client) in clients(sites).enumerate() {
        let mut received = vec![0; others + 1];
        let mut next = vec![0; others + 1];
        let mut ends = 0;
        while ends < others {
            let line = String::from_utf8(client.receive_line()).unwrap();
            let mut words = line.split(' ');
            let what = words.next().unwrap();
            let [sender, number] = [0; 2].map(|_| words.next().unwrap().parse::<usize>().unwrap());
            assert_ne!(sender, receiver, "a line came back");
            if what == "end" {
                ends += 1;
                continue;
            }
            assert_eq!(what, topic);
            assert!(number >= next[sender], "{number} of {sender} is late");
            next[sender] = number + 1;
            received[sender] += 1;
        }
        let neighbour = receiver ^ 1;
        assert_eq!(received[neighbour], lines, "in the same site");
        missed.push(others * lines - received.iter().sum::<usize>());
    }
    missed
}

/// How many lines a relay has reported as lost at this place.
fn lost(relay: &Server, place: &str) -> usize {
    let report = format!("Lines lost {place}: ");
    let lines = relay.stderr_lines();
    let counts = lines.iter().filter_map(|line| line.strip_prefix(&report));
    counts.map(|count| count.parse::<usize>().unwrap()).sum()
}

/// Waits until a relay has reported so many lines as lost at this place.
#[track_caller]
fn expect_lost(relay: &Server, place: &str, lines: usize) {
    let what = format!("{lines} lines lost {place}");
    relay.wait_until(&what, || lost(relay, place) == lines);
}

/// At most once: lines are lost while NATS is away, but none comes twice or late, and each is counted.
#[test]
fn survives_the_end_of_nats_and_counts_what_it_misses() {
    let Some(mut nats) = Nats::start(&[]) else {
        return;
    };
    let mut sites = three_sites(&nats);
    // From now on, each relay knows what it must hear next from each other one.
    exchange(&mut sites, "before", 10);
    say(&mut sites, "meanwhile", 0..20);
    nats.process.kill();
    for site in &sites {
        site.relay.expect_stderr(contains("NATS: disconnected"));
    }
    say(&mut sites, "meanwhile", 20..40);
    nats.restart();
    nats.expect_subscriptions("connz", 3);
    say(&mut sites, "meanwhile", 40..60);
    exchange_with_losses(&mut sites, "meanwhile", 60);
    exchange(&mut sites, "after", 10);
}

#[test]
fn survives_the_end_of_one_nats_server_of_a_cluster() {
    let cluster = ["--cluster_name", "chat", "--cluster", "nats://127.0.0.1:-1"];
    let Some(mut first) = Nats::start(&cluster) else {
        return;
    };
    let route = contains("Listening for route connections on ");
    let line = first.process.expect_stderr(route);
    let route = format!("nats://{}", line.rsplit(' ').next().unwrap());
    let second = Nats::start(&[&cluster[..], &["--routes", &route]].concat()).unwrap();
    first.expect_peer(&second);
    second.expect_peer(&first);

    let mut sites = [&first, &second, &first].map(|nats| Site::new(&nats.url()));
    first.expect_subscriptions("routez", 1);
    second.expect_subscriptions("routez", 1);
    exchange(&mut sites, "before", 10);
    say(&mut sites, "meanwhile", 0..20);
    first.process.kill();
    say(&mut sites, "meanwhile", 20..40);
    second.expect_subscriptions("connz", 3);
    say(&mut sites, "meanwhile", 40..60);
    exchange_with_losses(&mut sites, "meanwhile", 60);
    exchange(&mut sites, "after", 10);
}

#[test]
fn a_killed_relay_separates_its_server_until_another_one_is_started() {
    let Some(nats) = Nats::start(&[]) else { return };
    let mut sites = three_sites(&nats);
    exchange(&mut sites, "before", 10);
    sites[0].relay.kill();
    sites[0]
        .server
        .expect_match(starts_with("Client Token(1) "));
    exchange(&mut sites[..1], "alone", 10);
    exchange(&mut sites[1..], "others", 10);
    sites[0].relay = join(&sites[0].server, &nats.url());
    exchange(&mut sites, "after", 10);
}

#[test]
fn survives_the_end_of_its_server_and_counts_what_came_meanwhile() {
    let Some(nats) = Nats::start(&[]) else { return };
    let port = Port::new();
    let start = || {
        Server::builder(&*SERVER)
            .listen_on(port.address.to_string())
            .start()
    };
    let mut sites = [Site::with(start(), &nats.url()), Site::new(&nats.url())];
    exchange(&mut sites, "before", 10);
    sites[0].server.terminate();
    sites[0].server.expect_exit();
    sites[0].relay.expect_stderr(contains("Lost the server"));
    exchange(&mut sites[1..], "meanwhile", 10);

    sites[0].server = start();
    sites[0].relay.expect_stderr(contains("The server is back"));
    sites[0].server.expect_match(starts_with("Registered "));
    sites[0].clients = ["third", "fourth"].map(|name| sites[0].server.client(name));
    exchange(&mut sites, "after", 10);
    // Ten lines of each, and what marks their end.
    expect_lost(&sites[0].relay, TO_SERVER, 11 * CLIENTS);
}

/// A server that is this test, and its relay.
fn fake_site(nats: &Nats) -> (TcpListener, TcpStream, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = relay(listener.local_addr().unwrap(), &nats.url());
    let connection = listener.accept().unwrap().0;
    (listener, connection, relay)
}

/// A stream has no messages: a line is what ends with a newline, and all else is lost.
#[test]
fn publishes_whole_lines_only() {
    let Some(nats) = Nats::start(&[]) else { return };
    let mut site = Site::new(&nats.url());
    let [client, _] = &mut site.clients;
    let (listener, mut connection, relay) = fake_site(&nats);
    connection.set_nodelay(true).unwrap();
    for piece in ["pi", "zza or", " curry?\ncur", "ry\n\nhalf a line"] {
        connection.write_all(piece.as_bytes()).unwrap();
    }
    for line in ["pizza or curry?", "curry", ""] {
        client.expect_line(line);
    }
    drop(connection);
    let mut connection = listener.accept().unwrap().0;
    connection.write_all(b"the rest of another\n").unwrap();
    client.expect_line("the rest of another");
    // Only this one is too long. What was lost before would be counted with it.
    writeln!(connection, "{}", "x".repeat(70_000)).unwrap();
    expect_lost(&relay, TOO_LONG, 1);
}

/// For every server, or for a NATS that takes less. That counts the newline, too.
#[test]
fn drops_and_counts_lines_that_are_too_long() {
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nats.conf");
    fs::write(&config, "max_payload: 1000\n").unwrap();
    let strict: &[_] = &["--config", config.to_str().unwrap()];
    for (arguments, longest) in [(&[][..], 64 << 10), (strict, 999)] {
        let Some(nats) = Nats::start(arguments) else {
            return;
        };
        let mut site = Site::new(&nats.url());
        let [client, _] = &mut site.clients;
        let (_listener, mut connection, relay) = fake_site(&nats);
        for length in [longest, longest + 1, 3 * longest, 1] {
            writeln!(connection, "{}", "x".repeat(length)).unwrap();
        }
        client.expect_line(&"x".repeat(longest));
        client.expect_line("x");
        expect_lost(&relay, TOO_LONG, 2);
    }
}

/// Counts the lines that a server receives, from now on.
fn count_lines(connection: &TcpStream) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (reader, counter) = (connection.try_clone().unwrap(), Arc::clone(&count));
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            counter.fetch_add(usize::from(line.is_ok()), Ordering::Relaxed);
        }
    });
    count
}

#[test]
fn drops_and_counts_lines_for_a_server_that_does_not_read() {
    // More than the relay's queue, and what the kernel has room for.
    const LINES: usize = 800;
    let Some(nats) = Nats::start(&[]) else { return };
    let (_listener, stalled, relay) = fake_site(&nats);
    let (_other_listener, mut talker, _other_relay) = fake_site(&nats);
    let line = format!("{}\n", "x".repeat(60_000));
    talker.write_all(line.repeat(LINES).as_bytes()).unwrap();
    relay.wait_until("lines are lost", || lost(&relay, TO_SERVER) > 0);
    let received = count_lines(&stalled);
    let sum = || received.load(Ordering::Relaxed) + lost(&relay, TO_SERVER);
    relay.wait_until("all lines are accounted for", || sum() == LINES);
}

#[test]
fn drops_and_counts_lines_while_nats_does_not_read() {
    const LINES: usize = 30_000;
    let Some(nats) = Nats::start(&[]) else { return };
    let (_listener, listener, other_relay) = fake_site(&nats);
    let (_other_listener, mut talker, relay) = fake_site(&nats);
    let received = count_lines(&listener);
    talker.write_all(b"the first one\n").unwrap();
    relay.wait_until("the first one arrives", || {
        received.load(Ordering::Relaxed) == 1
    });

    nats.process.stop();
    let line = format!("{}\n", "x".repeat(999));
    talker.write_all(line.repeat(LINES).as_bytes()).unwrap();
    relay.wait_until("lines are lost", || lost(&relay, TO_NATS) > 0);
    nats.process.resume();
    let sum = || received.load(Ordering::Relaxed) + lost(&relay, TO_NATS);
    relay.wait_until("all lines are accounted for", || sum() == 1 + LINES);
    // The next line tells the other relay how many it has missed.
    talker.write_all(b"the last one\n").unwrap();
    expect_lost(&other_relay, FROM_OTHERS, lost(&relay, TO_NATS));
}

/// Anybody may publish a line, with or without its newline. One that is too long would end the connection
/// to the server. Those of a relay have numbers: what comes late has a smaller one than something that has
/// come.
#[test]
fn passes_on_what_is_published_and_nothing_twice_or_late() {
    let Some(nats) = Nats::start(&[]) else { return };
    let mut site = Site::new(&nats.url());
    let others = ["one", "two\n", &"x".repeat(70_000), "three"];
    nats.publish(others.map(|line| ("", line)));
    let numbers = ["name.5", "name.6", "name.6", "name.9", "name.7", "name.10"];
    nats.publish(numbers.map(|number| (number, number)));
    for line in [
        "one", "two", "three", "name.5", "name.6", "name.9", "name.10",
    ] {
        site.clients[0].expect_line(line);
    }
    expect_lost(&site.relay, TO_SERVER, 1);
    expect_lost(&site.relay, FROM_OTHERS, 2);
}

/// Everything that has reached the relay's sockets when the signal comes.
#[test]
fn a_signal_ends_it_when_everything_is_delivered() {
    let Some(nats) = Nats::start(&[]) else { return };
    for asks_to_end in [Server::terminate, Server::interrupt] {
        let [mut west, mut east, mut north] = three_sites(&nats);
        west.relay.stop();
        let lines: String = (0..100).map(|n| format!("from the west {n}\n")).collect();
        west.clients[0].send(&lines);
        // The server writes to its oldest client first, the relay.
        west.clients[1].expect_bytes(&lines);
        east.clients[0].send_line("from the east");
        east.clients[0].send_line("fence");
        // NATS has sent the first line to everybody before it takes the second.
        north.clients[0].expect_line("from the east");
        north.clients[0].expect_line("fence");

        asks_to_end(&west.relay);
        west.relay.resume();
        assert_eq!(west.relay.expect_exit(), Some(0));
        north.clients[0].expect_bytes(&lines);
        east.clients[0].expect_bytes(&lines);
        west.clients[0].expect_line("from the east");
    }
}

#[test]
fn an_end_without_nats_is_reported() {
    let Some(mut nats) = Nats::start(&[]) else {
        return;
    };
    let mut site = Site::new(&nats.url());
    nats.process.kill();
    site.relay.expect_stderr(contains("NATS: disconnected"));
    site.relay.terminate();
    site.relay
        .expect_stderr(contains("NATS does not confirm what it was sent"));
    assert_eq!(site.relay.expect_exit(), Some(0));
}

/// One line, with exit status 1.
#[test]
fn a_bad_start_is_a_clear_error() {
    let Some(nats) = Nats::start(&[]) else { return };
    let with_tls = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("server nats://{}", with_tls.local_addr().unwrap());
    let info = "INFO {\"tls_required\":true}\r\n";
    thread::spawn(move || with_tls.accept().unwrap().0.write_all(info.as_bytes()));
    for (arguments, error) in [
        ("", "expected SERVER NATS [SUBJECT]"),
        ("a b c d", "expected SERVER NATS [SUBJECT]"),
        ("a nats://127.0.0.1:1", "cannot connect to NATS at nats://"),
        ("a http://127.0.0.1:1", "invalid scheme for NATS server"),
        ("a nats://no-such-host.invalid:1", "failed to lookup"),
        (&tls, "demands TLS, which is not supported"),
        ("127.0.0.1:1 NATS", "Connection refused"),
        ("no-such-host.invalid:1 NATS", "failed to lookup"),
        ("a NATS a..subject", "is not a subject"),
    ] {
        let arguments = arguments.replace("NATS", &nats.url());
        let assert = run_to_exit(RELAY, arguments.split_whitespace()).code(1);
        assert.stderr(contains("Error: ").and(contains(error)));
    }
}

#[test]
fn help_states_the_usage_and_the_limits() {
    let assert = run_to_exit(RELAY, ["--help"]).success();
    assert
        .stdout(contains("Usage: relay SERVER NATS [SUBJECT]"))
        .stdout(contains("4096 lines"));
}
