//! Programs that were to refuse their arguments.

use super::crash::exception;
use super::*;

rules! { RULES:
    "starts-all-the-same" Certain, |e| when(words(e).is_some() && e.end.is_none()).map(|_| first_line(e)),
        "The program should have ended with an error, but it went on and printed {}. Check the arguments, and end with exit status 1.",
        "docs/src/1-accept.md, 'Start, or say why not'", [|e| { refuses(e, "Listening on 127.0.0.1:9"); e.end = None; }, |e| { refuses(e, ""); e.end = None; }];
    "exception-at-start" Certain, |e| exception(&e.stderr).filter(|_| words(e).is_some()),
        "The program ended with an exception, {}, instead of an error of its own. Print an error that begins with `Error: `, and end with exit status 1.",
        "docs/src/1-accept.md, 'Start, or say why not'", [
            |e| refuses(e, "thread 'main' panicked at src/main.rs:7:\nno luck"),
            |e| refuses(e, "Traceback (most recent call last):\n  File \"chat.py\"\nValueError: no luck"),
        ];
    "exit-status" Certain, |e| e.end.filter(|end| words(e).is_some() && end.code() != Some(1)).map(described),
        "The program ended with {}. After an error, end with exit status 1.",
        "docs/src/1-accept.md, 'Start, or say why not'", [|e| { refuses(e, "Error: 8081"); e.end = Some(ExitStatus::default()); }];
    "error-on-stdout" Certain, |e| when(words(e).is_some() && !e.stdout.is_empty()),
        "The program was to end with an error, and printed something on stdout. Print the error on stderr, and nothing else.",
        "docs/src/1-accept.md, 'Start, or say why not'", [|e| { refuses(e, "Error: 8081"); e.stdout.push("usage".to_owned()); }];
    "error-text" Certain, |e| Some(first_line(e)).filter(|line| words(e).is_some() && !line.starts_with("\"Error: ")),
        "As its error, the program printed {}. Print one that begins with `Error: `.",
        "docs/src/1-accept.md, 'Start, or say why not'", [|e| refuses(e, "bind: 8081 is in use"), |e| refuses(e, "")];
    "error-names-nothing" Certain, missing_word,
        "The error does not contain {}. Name the address and the cause.",
        "docs/src/1-accept.md, 'Start, or say why not'", [|e| refuses(e, "Error: in use")];
}

fn words(e: &Evidence) -> Option<&Vec<String>> {
    match &e.expected {
        Expected::Refusal(words) => Some(words),
        _ => None,
    }
}

/// What the program printed first, on stderr or else on stdout.
fn first_line(e: &Evidence) -> String {
    let line = e.stderr.iter().chain(&e.stdout).next();
    line.map_or("nothing".to_owned(), |line| format!("{line:?}"))
}

/// A word that the error of a program lacks.
fn missing_word(e: &Evidence) -> Option<String> {
    let error = e.stderr.join("\n").to_lowercase();
    let mut words = words(e)?.iter();
    let missing = words.find(|word| !error.contains(&word.to_lowercase()))?;
    Some(format!("{missing:?}"))
}

/// It ended with this error.
#[cfg(test)]
fn refuses(e: &mut Evidence, line: &str) {
    e.expected = Expected::Refusal(vec!["8081".to_owned()]);
    e.stdout.clear();
    end(e, line);
}
