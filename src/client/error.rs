//! Why a gateway gives no answer, in words for the person that asked.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::unistd::geteuid;

use super::candidate::{Candidate, Looked};
use crate::host::accounts::user_name;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No gateway has its socket where one was looked for.
    Nobody(Looked),
    /// Several may be meant.
    Many(Vec<Candidate>),
    /// None of these runs this file.
    NoneRuns(PathBuf, Vec<Candidate>),
    /// The file that is to say which one is not to be found.
    File(PathBuf, io::Error),
    /// The socket cannot be used.
    Socket(PathBuf, io::Error),
    /// A user that is not to be trusted listens there.
    Stranger(PathBuf, u32),
    /// The conversation broke off.
    Broken(PathBuf, String),
    /// The gateway said no, in these words.
    Refused(String),
    /// The request is wrong: its words, or a name that this gateway does not have.
    Wrong(String),
    /// It answers in a shape that this program does not know.
    Shape(PathBuf, String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Nobody(looked) => write!(out, "{looked}"),
            ClientError::Many(all) => {
                write!(
                    out,
                    "several gateways run; choose one by --config FILE, --admin PATH or \
                     PORTCULLIS_ADMIN=PATH:"
                )?;
                all.iter().try_for_each(|one| write!(out, "\n  {one}"))
            }
            ClientError::NoneRuns(file, all) => {
                write!(out, "no gateway that answers runs {}; these are there:", file.display())?;
                all.iter().try_for_each(|one| write!(out, "\n  {one}"))
            }
            ClientError::File(file, error) => {
                write!(out, "--config {}: {error}; name a file that a gateway runs", file.display())
            }
            ClientError::Socket(path, error) => {
                let path = path.display();
                match error.kind() {
                    io::ErrorKind::PermissionDenied => write!(
                        out,
                        "{path}: {error}; be the gateway's user or in its admin.group, as \
                         admin.mode allows"
                    ),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        write!(out, "{path}: {error}; no gateway runs there")
                    }
                    _ => write!(out, "{path}: {error}"),
                }
            }
            ClientError::Stranger(path, uid) => {
                let user = user_name(*uid).unwrap_or_else(|| format!("#{uid}"));
                write!(
                    out,
                    "{}: the process that listens there runs as uid {uid}, not as root or uid {}; \
                     if it is your gateway, ask it as its user: sudo -u {user} portcullis ...",
                    path.display(),
                    geteuid()
                )
            }
            ClientError::Broken(path, because) => {
                write!(out, "{}: the gateway did not answer: {because}", path.display())
            }
            ClientError::Shape(path, because) => write!(
                out,
                "{}: the gateway's answer is not understood ({because}); use the program of the \
                 gateway's own version",
                path.display()
            ),
            ClientError::Refused(words) | ClientError::Wrong(words) => {
                write!(out, "{}", words.trim_end())
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl ClientError {
    /// Whether the command line must change before there can be an answer.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ClientError::Wrong(_)
                | ClientError::Many(_)
                | ClientError::NoneRuns(..)
                | ClientError::File(..)
        )
    }
}
