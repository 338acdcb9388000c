//! What more than one milestone promises, each behaviour written down once.
//!
//! A milestone's tests name those that they take from here in [`promises!`](crate::promises); what only
//! one milestone promises is in its own `tests/` folder. Every function takes the server's program and
//! panics if the server behaves otherwise.
//!
//! "Row 4" and the like are rows of the table in `docs/src/departures.md`: where this course's
//! servers do better than the article's listing, each from the milestone named there on.

pub mod accept;
pub mod broadcast;
pub mod register;
pub mod start;
pub mod write;
