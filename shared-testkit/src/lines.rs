//! How the lines begin that every server prints, whatever language it is written in.

/// The first line, before the address: clients can connect now.
pub const LISTENING: &str = "Listening on ";

/// Before a client's address: it has been accepted.
pub const ACCEPTED: &str = "Accepted connection from ";

/// Before a client's token: it has been registered.
pub const REGISTERED: &str = "Registered client with ";
