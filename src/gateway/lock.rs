//! One gateway per address: a locked file that names the living one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_rfc3339_seconds;

use crate::host::address_lock::lock_name;
use crate::host::lock_file::{LockFile, LockFileError};
use crate::host::notice::Notice;

/// Held for the process's life. The kernel drops it with the process, so a dead holder's is free;
/// the file stays, because removing it would let two others each lock a file of that name.
#[derive(Debug)]
pub(super) struct Lock {
    file: LockFile,
}

/// Why a lock was not to be had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it.
    Held {
        /// The file.
        path: PathBuf,
        /// Who, by what the file says; nobody when the holder is only about to write it.
        pid: Option<i32>,
        /// When it has ended at the latest, if it drains.
        drains_until: Option<String>,
    },
    /// The file cannot be made, locked or written.
    Unusable {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { path, pid, drains_until } => {
                let does = if drains_until.is_some() { "drains on" } else { "has" };
                write!(out, "another gateway {does} this address: ")?;
                match pid {
                    Some(pid) => write!(out, "pid {pid} holds {}", path.display())?,
                    None => write!(
                        out,
                        "a process holds {}, and /proc/locks does not show which",
                        path.display()
                    )?,
                }
                match drains_until {
                    Some(moment) => write!(
                        out,
                        "; it ends by itself, at {moment} at the latest: start again then, or \
                         send it a second SIGTERM, which resets what is left"
                    ),
                    None => write!(
                        out,
                        "; stop it first (a start while it drains takes over), or bind another \
                         address"
                    ),
                }
            }
            LockError::Unusable { path, error } => write!(
                out,
                "{}: {error}; this lock keeps a second gateway from taking half of the clients: \
                 give RUNTIME_DIRECTORY the name of a directory that this user can write",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LockError {}

impl Lock {
    /// The lock that a predecessor has handed over.
    pub(super) fn handed(path: &Path, file: OwnedFd) -> Lock {
        Lock { file: LockFile::handed(file, path) }
    }

    /// Where it is, and a descriptor of it for a successor.
    pub(super) fn share(&self) -> io::Result<(PathBuf, OwnedFd)> {
        self.file.share()
    }

    /// Names this process as its holder.
    pub(super) fn sign(&self) -> io::Result<()> {
        self.file.write()
    }

    /// Takes the lock of `address`, or says at once who has it.
    pub(super) fn take(directory: &Path, address: SocketAddr) -> Result<Lock, LockError> {
        let path = directory.join(lock_name(address));
        match LockFile::take(&path) {
            Ok(file) => Ok(Lock { file }),
            Err(LockFileError::Held { pid }) => {
                let notice = pid.and_then(|pid| Notice::of(directory, pid));
                let until = |notice: Notice| {
                    let since = Duration::from_secs(notice.until_seconds);
                    format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
                };
                let drains_until = notice.map(until);
                Err(LockError::Held { path, pid, drains_until })
            }
            Err(LockFileError::Unusable(error)) => Err(LockError::Unusable { path, error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_names_its_holder_and_a_dropped_one_is_free() {
        let directory =
            std::env::temp_dir().join(format!("portcullis-lock-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let addresses = ["127.0.0.1:7000", "[::1]:7000", "[fe80::1%2]:7000"];
        for address in addresses.map(|text| text.parse::<SocketAddr>().expect("an address")) {
            let lock = Lock::take(&directory, address).expect("nobody has it");
            match Lock::take(&directory, address) {
                Err(LockError::Held { pid, .. }) => {
                    assert_eq!(pid, Some(std::process::id() as i32));
                }
                other => panic!("it is taken: {other:?}"),
            }
            drop(lock);
            Lock::take(&directory, address).expect("nobody has it any more");
        }
        std::fs::remove_dir_all(&directory).expect("it is there");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let any = SocketAddr::from(([127, 0, 0, 1], 7000));
        let error = Lock::take(Path::new("/nonexistent"), any).expect_err("no directory");
        let words = error.to_string();
        assert!(
            words.contains("/nonexistent/127.0.0.1:7000") && words.contains("RUNTIME_DIRECTORY")
        );
    }
}
