//! Clients that vanish without a word, and an address that takes all descriptors.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use mio::Token;
use mio::net::TcpListener;
use rustix::net::sockopt;

use crate::{Pending, Server, limits};

/// Has the kernel find out whether silent clients are still there. On Linux, what a listener accepts
/// has the listener's options.
pub fn ask_for_signs_of_life(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, limits::SILENCE)?;
    let answer_time = limits::ANSWER_TIME.as_millis() as u32;
    Ok(sockopt::set_tcp_user_timeout(listener, answer_time)?)
}

impl Server {
    /// Accepts a connection although no descriptor is free. Either another address gives up its
    /// newest client for it, or it is closed.
    pub fn make_room(&mut self) {
        self.accepting.pending = Pending::AfterTick;
        let full_since = *self.accepting.full_since.get_or_insert_with(Instant::now);
        if full_since.elapsed() < limits::FULL_TIME {
            return;
        }
        self.spare = None;
        if let Ok((stream, address)) = self.listener.accept() {
            self.accepting.pending = Pending::Yes;
            if let Some(token) = self.newest_of_the_most(address.ip()) {
                let reason = "no descriptor is free, and its address has the most clients";
                self.fail(token, "Closing", reason);
                self.welcome(stream, address);
            }
        }
        self.spare = File::open("/dev/null").ok();
    }

    /// The newest client of the address that has the most, if that has at least two more than the
    /// newcomer's address: otherwise they would drive each other out.
    fn newest_of_the_most(&self, newcomer: IpAddr) -> Option<Token> {
        let mut addresses: HashMap<IpAddr, Vec<Token>> = HashMap::new();
        for (&token, connection) in &self.connections {
            let clients = addresses.entry(connection.address.ip()).or_default();
            clients.push(token);
        }
        let own = addresses.get(&newcomer).map_or(0, Vec::len);
        let most = addresses.into_values().max_by_key(Vec::len)?;
        // The tokens are in the order in which the clients came.
        most.last().copied().filter(|_| most.len() > own + 1)
    }
}
