//! What the article promises of its second step: clients stay, each under a token of its own.

use shared_testkit::{Server, behaviours, program};

behaviours! {
    start: reports_the_port_that_the_kernel_chose, listens_on_ipv6, listens_on_port_8080_by_default;
    accept: accepts_a_thousand_clients_in_a_row, sleeps_when_nothing_happens;
    register: tokens_count_up_from_1, keeps_clients_open;
}

#[test]
fn three_clients_that_type_are_told_apart() {
    let server = Server::start(program!());
    let mut clients = ["alice", "bob", "carol"].map(|name| server.client(name));
    for client in &mut clients {
        client.send_line("Hello");
        server.expect_line(&format!("Client event for {}", client.token()));
    }
    server.expect_no_more_lines();
}

#[test]
fn the_bytes_stay_unread() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    alice.send_line("Hello");
    server.expect_line("Client event for Token(1)");

    assert_eq!(server.unread_bytes(&alice), "Hello\n".len());
}

#[test]
fn a_second_event_comes_with_new_bytes_only() {
    let server = Server::start(program!());
    let mut alice = server.client("alice");
    for _ in 0..3 {
        alice.send_line("Hello");
        // Bytes wait from the first time on, and still the loop sleeps until more come.
        server.expect_line("Client event for Token(1)");
    }
    server.expect_idle();
    server.expect_no_more_lines();
}
