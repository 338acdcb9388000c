//! What only the kernel knows about a running server, read from proc(5).

pub(crate) mod epoll;
pub(crate) mod process;
pub(crate) mod socket;

pub use crate::proc::epoll::Interest;
