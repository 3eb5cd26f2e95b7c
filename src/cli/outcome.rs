//! How a command ends: on which stream in which words, and with which exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::base::plain;
use crate::client::ClientError;
use crate::config::ConfigErrors;

/// It is done.
pub(super) const DONE: u8 = 0;
/// Something failed, or was forced to end.
pub(super) const FAILED: u8 = 1;
/// The command line or the config file is wrong.
pub(super) const USAGE: u8 = 2;

/// How a command ended.
pub(super) enum Outcome {
    Done,
    /// For people: what came from elsewhere cannot give the terminal an order.
    Answer(String),
    /// An answer, and it is no.
    Denial(String),
    /// What a program reads, as it is, with the exit code.
    Verbatim(String, u8),
    /// Also `--help` and `--version`, which are no errors but end the same way.
    Usage(clap::Error),
    Config(ConfigErrors),
    /// Files that the config names are wrong.
    Files(String),
    /// This host lacks what a start takes.
    Lacking(String),
    /// The gateway finds the command line wrong.
    Wrong(String),
    Failed(String),
    /// The log says what is wrong, because programs read it.
    Logged(u8),
}

impl From<ClientError> for Outcome {
    fn from(error: ClientError) -> Outcome {
        let words = error.to_string();
        if error.is_usage() { Outcome::Wrong(words) } else { Outcome::Failed(words) }
    }
}

impl Outcome {
    /// A text for a program or for people, and whether it is a yes.
    pub(super) fn of(text: String, json: bool, yes: bool) -> Outcome {
        match (json, yes) {
            (true, _) => Outcome::Verbatim(text, if yes { DONE } else { FAILED }),
            (false, true) => Outcome::Answer(text),
            (false, false) => Outcome::Denial(text),
        }
    }

    /// Says it on stdout or stderr.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Answer(text) => answered(writeln!(io::stdout(), "{}", plain(&text)), DONE),
            Outcome::Denial(text) => answered(writeln!(io::stdout(), "{}", plain(&text)), FAILED),
            Outcome::Verbatim(text, code) => answered(writeln!(io::stdout(), "{text}"), code),
            Outcome::Usage(error) if error.use_stderr() => {
                complain(&error.render().to_string(), USAGE)
            }
            Outcome::Usage(error) => answered(error.print(), DONE),
            Outcome::Config(errors) => complain(&format!("{errors}\n"), USAGE),
            Outcome::Files(lines) => complain(&format!("{lines}\n"), USAGE),
            Outcome::Lacking(lines) => complain(&format!("{lines}\n"), FAILED),
            Outcome::Wrong(words) => complain(&format!("portcullis: {words}\n"), USAGE),
            Outcome::Logged(code) => ExitCode::from(code),
            Outcome::Failed(reason) => complain(&format!("portcullis: {reason}\n"), FAILED),
        }
    }
}

/// An answer that cannot be written (a full disk) is a failure. A reader that has closed its pipe
/// has had enough, as `| head` has: then the code is the answer's own.
fn answered(written: io::Result<()>, code: u8) -> ExitCode {
    match written {
        Ok(()) => ExitCode::from(code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(error) => complain(&format!("portcullis: cannot write to stdout: {error}\n"), FAILED),
    }
}

/// A complaint that cannot be written is lost, and the exit code still says it.
fn complain(text: &str, code: u8) -> ExitCode {
    warn(text);
    ExitCode::from(code)
}

/// Says what does not change how the command ends.
pub(super) fn warn(text: &str) {
    let _ = io::stderr().write_all(plain(text).as_bytes());
}
