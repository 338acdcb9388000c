//! The command line. So few words need no crate.

use std::ops::RangeInclusive;

use crate::check::Check;

const CHAPTERS: RangeInclusive<usize> = 1..=5;

pub(crate) const USAGE: &str = "\
Usage: cargo learn check CHAPTER [--watch] [--all] [-- COMMAND…]

Runs the tests of a chapter (1 to 5) against the server that COMMAND starts, and
says what to fix first. Without COMMAND, the server is the chapter's milestone.
The address to listen on is appended to COMMAND, unless SERVER_ADDR is set.

  --watch  run again whenever the server's file changes
  --all    show every failure, not only the first one to fix

Exit status: 0 if every promise holds, 1 if one does not, 2 if it cannot be said.";

pub(crate) enum Action {
    Help,
    Check(Check),
}

pub(crate) fn parse(arguments: &[String]) -> Result<Action, String> {
    let mut parts = arguments.splitn(2, |word| word == "--");
    let words = parts.next().unwrap_or_default();
    let command = parts.next();
    if command.is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        return Err("no COMMAND follows --".to_owned());
    }
    let Some((action, words)) = words.split_first() else {
        return Err("what is to be done?".to_owned());
    };
    match action.as_str() {
        "check" => parse_check(words, command.unwrap_or_default()).map(Action::Check),
        "help" | "--help" | "-h" => Ok(Action::Help),
        _ => Err(format!("there is no {action:?}")),
    }
}

fn parse_check(words: &[String], command: &[String]) -> Result<Check, String> {
    let mut chapter = None;
    let mut check = Check {
        chapter: 0,
        command: command.to_vec(),
        watch: false,
        all: false,
    };
    for word in words {
        match word.as_str() {
            "--watch" => check.watch = true,
            "--all" => check.all = true,
            _ if chapter.is_none() && !word.starts_with('-') => {
                chapter = Some(parse_chapter(word)?)
            }
            _ => return Err(format!("{word:?} is unexpected; COMMAND comes after --")),
        }
    }
    check.chapter = chapter.ok_or("which CHAPTER?")?;
    Ok(check)
}

fn parse_chapter(word: &str) -> Result<usize, String> {
    let chapter = word
        .parse()
        .ok()
        .filter(|chapter| CHAPTERS.contains(chapter));
    chapter.ok_or_else(|| format!("CHAPTER is a number from 1 to 5, not {word:?}"))
}
