//! What a test reports to `cargo learn`, as data: a start, a skipped part, a failure.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

use crate::env::REPORT;

/// Appends an object of JSON, whose values are strings, to the file that wants to know.
pub(crate) fn hand_over(fields: &[(&str, &str)]) {
    let Some(path) = env::var_os(REPORT) else {
        return;
    };
    let fields = fields.iter().filter(|(_, value)| !value.is_empty());
    let fields = fields.map(|(name, value)| format!("{}:{}", json(name), json(value)));
    let line = format!("{{{}}}\n", fields.collect::<Vec<_>>().join(","));
    let file = OpenOptions::new().append(true).create(true).open(path);
    // Whoever asked for it finds nothing, and says so.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

/// A string of JSON (RFC 8259, section 7).
fn json(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
