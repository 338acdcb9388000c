//! A failed test as a picture: what the log has, and last of all where the server is.

use std::fs;
use std::path::Path;

use crate::env::PICTURES;
use crate::log::{Event, Kind, Log, SERVER, TEST, shorten};
use crate::picture::{Lane, Lanes};

/// How many events are drawn: the last ones.
const DRAWN: usize = 60;

/// Writes the picture, and says where it is, or why it is not. The test has failed for another reason.
pub(super) fn write(folder: &Path, test: &str, svg: &str) -> String {
    let path = folder.join(format!("{test}.svg"));
    match fs::create_dir_all(folder).and_then(|()| fs::write(&path, svg)) {
        Ok(()) => format!("picture: {}", path.display()),
        Err(e) => format!("{PICTURES}: cannot write {}: {e}", path.display()),
    }
}

/// The facts in `whereabouts` are one about the server's process, then those about its sockets.
pub(super) fn draw(log: &Log, test: &str, whereabouts: &str) -> String {
    let (left_out, mut events) = log.last_events(DRAWN);
    let end = events.last().map_or(0, |event| event.at.as_millis());
    // The last heading says that the test fails.
    events.retain(|event| event.who != TEST);
    let mut clients = Vec::new();
    for event in events.iter().filter(|event| event.who != SERVER) {
        if !clients.contains(&event.who) {
            clients.push(event.who.clone());
        }
    }
    let mut lanes = Lanes::with_times(&clients);
    if left_out > 0 {
        lanes.heading(&format!("({left_out} earlier events left out)"));
    }
    let mut time = None;
    for event in &events {
        let now = event.at.as_millis();
        if time.replace(now) != Some(now) {
            lanes.time(&format!("{now} ms"));
        }
        draw_event(&mut lanes, event);
    }
    lanes.heading(&format!("{test} fails after {end} ms:"));
    for (index, fact) in whereabouts.split("; ").enumerate() {
        let lane = if index == 0 {
            Lane::Server
        } else {
            Lane::Kernel
        };
        lanes.state(lane, &[fact.to_owned()]);
    }
    lanes.finish(test)
}

fn draw_event(lanes: &mut Lanes, event: &Event) {
    let text = shorten(&event.text);
    let client = Lane::Client(&event.who);
    let (from, to) = match event.kind {
        Kind::Stdout | Kind::Stderr => {
            let line = format!("{} {text}", event.kind.mark());
            return lanes.step(Lane::Server, Lane::Server, &line, false);
        }
        Kind::Done if event.who == SERVER => (Lane::Server, Lane::Server),
        // As in `is closed by the server`.
        Kind::Received => (Lane::Kernel, client),
        Kind::Done if text.starts_with("is ") => (Lane::Kernel, client),
        Kind::Sent | Kind::Done => (client, Lane::Kernel),
    };
    lanes.step(from, to, &text, false);
}
