//! What the article promises of its first step: whoever connects is accepted, announced and let go.

use shared_testkit::{Server, behaviours, program};

behaviours! {
    start: reports_the_port_that_the_kernel_chose, listens_on_ipv6, listens_on_port_8080_by_default;
    accept: accepts_a_thousand_clients_in_a_row, sleeps_when_nothing_happens;
}

#[test]
fn a_client_sees_end_of_file() {
    let server = Server::start(program!());
    let mut alice = server.connect("alice");
    server.expect_line(&format!("Accepted connection from {}", alice.address()));
    alice.expect_closed();
    server.expect_no_more_lines();
}

#[test]
fn three_clients_at_once_are_each_announced_once() {
    let server = Server::start(program!());
    let mut clients = ["alice", "bob", "carol"].map(|name| server.connect(name));
    for client in &mut clients {
        server.expect_line(&format!("Accepted connection from {}", client.address()));
        client.expect_closed();
    }
    server.expect_no_more_lines();
}
