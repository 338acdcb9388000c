//! Records what a real server does in a scene: the calls that it makes, and what the kernel and the
//! program hold after each of them.
//!
//! The scenes are in `docs/src/loop/scenes.json`. A line of a script is either a client's action
//! (`do`), after which the recorder waits until the server is at rest, or a caption or question for
//! the next step that begins like `see`. The states between two actions follow from the recorded
//! calls and their results (`state.rs`); at each point of rest they are compared with what proc(5)
//! shows (`kernel_check.rs`), and at each `epoll_wait` with the events that it returned.
//!
//! Not recorded: calls before the first action, iterations of the loop in which nothing happened or
//! that a signal interrupted, and calls that move nothing, such as `setsockopt`.
//! Of milestone 5 also not: what it prints, from a thread of its own; calls that it repeats by the clock
//! until they succeed; and events for room, or for more of a flood that it knows of.
//!
//! To make two recordings equal, scenes stop the server while clients act, so that one batch is the
//! same batch each time; ports are `xxxxx`; and a long run of equal calls is one step. How many bytes
//! fit into a socket is the kernel's choice.

mod kernel_check;
mod lanes;
mod levels;
mod picture;
mod stage;
mod state;
mod trace;

use course::workspace::read;
use serde::Deserialize;

pub use crate::picture::picture;
pub use crate::stage::{calls, record};
pub use crate::trace::{Ask, Kernel, Program, Socket, Step, Trace};

/// The program that registers its clients and keeps none of them.
const FORGETFUL: &str = "mistaken forgets-to-insert";

/// Who does what, and what the reader is told about it.
#[derive(Deserialize)]
pub struct Scene {
    /// Its head, with no steps yet.
    #[serde(flatten)]
    pub trace: Trace,
    script: Vec<Line>,
}

#[derive(Default, Deserialize)]
struct Line {
    /// An action, as in a transcript: `alice connects`.
    #[serde(rename = "do")]
    action: Option<String>,
    /// The beginning of a step's [`Step::label`].
    see: Option<String>,
    say: Option<String>,
    mark: Option<String>,
    ask: Option<Ask>,
}

impl Scene {
    /// All scenes.
    ///
    /// # Panics
    ///
    /// If the file of the scenes is not as expected.
    pub fn all() -> Vec<Scene> {
        let scenes = read("docs/src/loop/scenes.json");
        serde_json::from_str(&scenes).expect("the scenes can be read")
    }
}
