//! A gateway that drains and the one that comes after it: a file gives notice that the first one
//! drains, and a lock beside it says that the other one waits for its addresses.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::holders::is_living;
use super::lock_file::{LockFile, LockFileError, holder_at, is_held};

/// How the file's name begins; the pid of the gateway that drains ends it.
const NAME: &str = "drains-";
/// Behind the name of a file that is not in its place yet, and of the claim beside it.
const SUFFIXES: (&str, &str) = ("~", ".lock");

/// What a gateway that drains has to say to the one that comes after it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Notice {
    /// Where it listened when its drain began.
    pub addresses: Vec<SocketAddr>,
    /// Its connections, about a second ago.
    pub connections: u64,
    /// It has let go of everything that another gateway needs: nothing but what is left of its
    /// connections keeps it.
    pub has_let_go: bool,
    /// The network namespace that the addresses are of, where the kernel says it.
    pub network: Option<String>,
    /// When it has ended at the latest, in seconds since 1970.
    pub until_seconds: u64,
}

impl Notice {
    /// The notice of the process `pid`, if it lives and has given one.
    pub fn of(directory: &Path, pid: i32) -> Option<Notice> {
        let text = fs::read_to_string(path_of(directory, pid)).ok()?;
        serde_json::from_str(&text).ok().filter(|_| is_living(pid))
    }

    /// All notices, by process. Those of the dead are removed.
    pub fn all_in(directory: &Path) -> Vec<(i32, Notice)> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let pid = |name: &str| name.strip_prefix(NAME)?.parse().ok();
        let pids = entries.filter_map(|entry| pid(entry.file_name().to_str()?));
        let mut all: Vec<(i32, Notice)> = Vec::new();
        for pid in pids {
            match Notice::of(directory, pid) {
                Some(notice) => all.push((pid, notice)),
                None if !is_living(pid) => remove(directory, pid),
                None => {}
            }
        }
        all.sort_by_key(|(pid, _)| *pid);
        all
    }

    /// Has the process `pid` know that this one waits for what it has. The claim lasts until it is
    /// removed, or this process ends.
    ///
    /// # Errors
    /// When another process waits already, or the lock cannot be had.
    pub fn claim(directory: &Path, pid: i32) -> Result<LockFile, LockFileError> {
        LockFile::take(&claim_of(directory, pid))
    }
}

fn path_of(directory: &Path, pid: i32) -> PathBuf {
    directory.join(format!("{NAME}{pid}"))
}

fn claim_of(directory: &Path, pid: i32) -> PathBuf {
    directory.join(format!("{NAME}{pid}{}", SUFFIXES.1))
}

/// The notice of this process, for as long as this value lives.
#[derive(Debug)]
pub struct NoticeFile {
    directory: PathBuf,
    pid: i32,
}

impl NoticeFile {
    /// Gives notice.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(directory: &Path, notice: &Notice) -> io::Result<NoticeFile> {
        let pid = std::process::id() as i32;
        let file = NoticeFile { directory: directory.to_owned(), pid };
        file.update(notice)?;
        Ok(file)
    }

    /// Replaces it at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&self, notice: &Notice) -> io::Result<()> {
        let path = path_of(&self.directory, self.pid);
        let unplaced = self.directory.join(format!("{NAME}{}{}", self.pid, SUFFIXES.0));
        fs::write(&unplaced, serde_json::to_string(notice)?)?;
        fs::rename(unplaced, path)
    }

    /// Whether a gateway waits for what this one has.
    pub fn is_claimed(&self) -> bool {
        is_held(&claim_of(&self.directory, self.pid))
    }

    /// The gateway that waits, where the kernel says it.
    pub fn claimant(&self) -> Option<i32> {
        holder_at(&claim_of(&self.directory, self.pid))
    }
}

impl Drop for NoticeFile {
    fn drop(&mut self) {
        remove(&self.directory, self.pid);
    }
}

/// Removes a notice, and the claim that a process left which was killed while it waited.
fn remove(directory: &Path, pid: i32) {
    let _ = fs::remove_file(path_of(directory, pid));
    if !is_held(&claim_of(directory, pid)) {
        let _ = fs::remove_file(claim_of(directory, pid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_seen_while_its_process_lives_and_a_claim_while_it_is_held() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path();
        let pid = std::process::id() as i32;
        let mut notice = Notice {
            addresses: vec!["127.0.0.1:7000".parse().expect("an address")],
            connections: 12,
            has_let_go: false,
            network: None,
            until_seconds: 1_800_000_000,
        };
        let file = NoticeFile::put(directory, &notice).expect("a file");
        assert_eq!(Notice::all_in(directory), [(pid, notice.clone())]);
        assert!(!file.is_claimed());
        let claim = Notice::claim(directory, pid).expect("nobody waits");
        assert!(file.is_claimed() && file.claimant() == Some(pid));
        assert!(matches!(Notice::claim(directory, pid), Err(LockFileError::Held { .. })));
        claim.remove();
        drop(claim);
        assert!(!file.is_claimed());
        notice.has_let_go = true;
        file.update(&notice).expect("a file");
        assert_eq!(Notice::of(directory, pid), Some(notice.clone()));
        // Of a process that is not there, and of nobody.
        fs::rename(path_of(directory, pid), path_of(directory, i32::MAX)).expect("ours");
        fs::write(directory.join("drains-x"), "").expect("a file");
        assert_eq!(Notice::all_in(directory), []);
        assert!(!path_of(directory, i32::MAX).exists() && directory.join("drains-x").exists());
        file.update(&notice).expect("a file");
        drop(file);
        assert_eq!(Notice::all_in(directory), []);
    }
}
