//! The program under test: the milestone's own binary, or the command that the learner names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::env::{SERVER_ADDR, SERVER_CMD, users_folder};
use crate::failure;
use crate::skip::skip;

/// What is started as a server: a program and the arguments before the address.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub(crate) path: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// The folder to run it in, if not the test's own.
    directory: Option<PathBuf>,
    /// Where it listens, if it takes no address.
    pub(crate) fixed_address: Option<SocketAddr>,
}

impl Program {
    /// The command in the environment variable `SERVER_CMD`, or else the milestone's own binary.
    /// What [`program!()`](crate::program) stands for.
    ///
    /// # Panics
    ///
    /// If `SERVER_CMD` is empty or cannot be split as a shell would split it, if it names a program
    /// by a path and there is none, or if `SERVER_ADDR` is set as well and is not an address.
    #[must_use]
    pub fn under_test(own_binary: &str) -> Program {
        let program = match env::var_os(SERVER_CMD) {
            None => Program::from(own_binary),
            Some(command) => Program::of_command(&command),
        };
        // Only now: a faulty command is no lesson of a chapter.
        failure::teach();
        program
    }

    fn of_command(command: &OsStr) -> Program {
        let directory = users_folder();
        let mut words = split(command).into_iter().map(OsString::from);
        let first = words.next().unwrap_or_else(|| {
            panic!("{SERVER_CMD} is empty: it must be the command line of a server")
        });
        Program {
            path: find(&first, &directory),
            arguments: words.collect(),
            directory: Some(directory),
            fixed_address: fixed_address(),
        }
    }

    /// Whether it listens on the address that it is given. If not, because `SERVER_ADDR` is set,
    /// reports the calling test as skipped.
    #[must_use]
    pub fn takes_an_address(&self) -> bool {
        if let Some(address) = self.fixed_address {
            skip(&format!(
                "{SERVER_ADDR} says that this server takes no argument and listens on {address}"
            ));
        }
        self.fixed_address.is_none()
    }

    /// Runs it with its own arguments, and no address yet.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// The same program, started by another one: the words of a command line to which its own are
    /// appended.
    pub(crate) fn started_by<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Program {
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        words.push(self.path);
        words.extend(self.arguments);
        Program {
            path: words.remove(0),
            arguments: words,
            ..self
        }
    }
}

impl<P: AsRef<OsStr>> From<P> for Program {
    fn from(path: P) -> Program {
        Program {
            path: path.as_ref().to_owned(),
            ..Program::default()
        }
    }
}

fn split(command: &OsStr) -> Vec<String> {
    let words = command.to_str().and_then(shlex::split);
    words.unwrap_or_else(|| {
        panic!("{SERVER_CMD} is not a command line (an unclosed quotation mark?): {command:?}")
    })
}

fn fixed_address() -> Option<SocketAddr> {
    let address = env::var_os(SERVER_ADDR)?;
    let parsed = address.to_str().and_then(|address| address.parse().ok());
    Some(parsed.unwrap_or_else(|| {
        panic!("{SERVER_ADDR} must be an address such as 127.0.0.1:8080, not {address:?}")
    }))
}

/// As in a shell: a word with a slash is a path, any other is looked up in `PATH`.
fn find(word: &OsStr, directory: &Path) -> OsString {
    if !word.to_string_lossy().contains('/') {
        return word.to_owned();
    }
    let path = directory.join(word);
    assert!(
        path.is_file(),
        "{SERVER_CMD} names a program that does not exist: {} (have you built it?)",
        path.display()
    );
    path.into_os_string()
}
