//! The command line. So few words need no crate.

use std::ops::RangeInclusive;

use crate::check::Check;
use crate::start::Start;
use crate::tour::Tour;

const CHAPTERS: RangeInclusive<usize> = 1..=5;

/// The chapter of the finished chat, for a tour without a chapter.
const CHAT: usize = 4;

pub(crate) const USAGE: &str = "\
Usage: cargo learn check CHAPTER[.STOP] [--watch] [--all] [-- COMMAND…]
       cargo learn tour [CHAPTER] [-- COMMAND…]
       cargo learn start CHAPTER[.STOP] DIR

check  runs the tests of a chapter (1 to 5), and says what to fix first; with a STOP, as
       in 5.3, those of what holds at the end of that stop
tour   plays a chapter's transcript in the terminal, step by step (chapter 4)

start  writes the program as it stands where a chapter or a stop of it begins, as a
       crate in the new folder DIR, for whoever is lost

check and tour use the server that COMMAND starts, or else the chapter's milestone.
The address to listen on is appended to COMMAND, unless SERVER_ADDR is set.

  --watch  check again whenever the server's file changes
  --all    show every failure, not only the first one to fix

Exit status: 0 if every promise holds or everything came that the transcript
says, 1 if not, 2 if the server or its tests cannot be run.";

pub(crate) enum Action {
    Help,
    Check(Check),
    Tour(Tour),
    Start(Start),
}

pub(crate) fn parse(arguments: &[String]) -> Result<Action, String> {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut parts = words.splitn(2, |word| *word == "--");
    let words = parts.next().unwrap_or_default();
    let command = parts.next();
    if command.is_some_and(|command| matches!(command, [] | ["", ..])) {
        return Err("no COMMAND follows --".to_owned());
    }
    let command = command.unwrap_or_default();
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    match words {
        [] => Err("what is to be done?".to_owned()),
        ["help" | "--help" | "-h", ..] => Ok(Action::Help),
        ["check", words @ ..] => {
            let (place, options) = parse_words(words, &["--watch", "--all"])?;
            let (chapter, stop) = parse_place(place.ok_or("which CHAPTER?")?)?;
            Ok(Action::Check(Check {
                chapter,
                stop,
                command,
                watch: options.contains(&"--watch"),
                all: options.contains(&"--all"),
            }))
        }
        ["tour", words @ ..] => {
            let (chapter, _) = parse_words(words, &[])?;
            let chapter = chapter.map_or(Ok(CHAT), parse_chapter)?;
            Ok(Action::Tour(Tour { chapter, command }))
        }
        ["start", place, folder] => Ok(Action::Start(Start {
            place: parse_place(place)?,
            folder: folder.into(),
        })),
        ["start", ..] => Err("start needs CHAPTER[.STOP] and DIR".to_owned()),
        [action, ..] => Err(format!("there is no {action:?}")),
    }
}

/// One word, the chapter, and these options, in any order.
fn parse_words<'a>(
    words: &[&'a str],
    options: &[&str],
) -> Result<(Option<&'a str>, Vec<&'a str>), String> {
    let (given, others): (Vec<_>, Vec<_>) = words.iter().partition(|word| options.contains(word));
    match others[..] {
        [] => Ok((None, given)),
        [chapter] if !chapter.starts_with('-') => Ok((Some(chapter), given)),
        [word] | [_, word, ..] => Err(format!("{word:?} is unexpected; COMMAND comes after --")),
    }
}

/// `CHAPTER[.STOP]`. The stop is 0 if none is given.
fn parse_place(word: &str) -> Result<(usize, usize), String> {
    let (chapter, stop) = word.split_once('.').unwrap_or((word, "0"));
    let stop = stop.parse();
    let stop = stop.map_err(|_| format!("STOP is a number, as in 5.3, not {word:?}"))?;
    Ok((parse_chapter(chapter)?, stop))
}

fn parse_chapter(word: &str) -> Result<usize, String> {
    let chapter = word.parse().ok();
    let chapter = chapter.filter(|chapter| CHAPTERS.contains(chapter));
    chapter.ok_or_else(|| format!("CHAPTER is a number from 1 to 5, not {word:?}"))
}
