//! A server under test and the clients that talk to it.

mod builder;
mod client;
pub(crate) mod port_lock;
mod program;
mod received;
mod server;
mod server_facts;
mod server_lines;

pub use crate::harness::builder::{Builder, run_to_exit};
pub use crate::harness::client::Client;
pub use crate::harness::program::Program;
pub use crate::harness::server::Server;
