//! A locked file: one process at a time holds it, and a refusal names that process.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use rustix::fs::{FlockOperation, flock};

use super::kernel_files::KernelFiles;

/// A file that another user can open can be locked by that user.
const MODE: u32 = 0o600;
/// Tries, where its holder removes the file meanwhile.
const TRIES: u32 = 64;

/// Held for the value's life. The kernel drops it with the process, so a dead holder's is free; the
/// file stays unless [`LockFile::remove`] is called.
///
/// The lock belongs to the open file, which a successor may have, too: it is never unlocked, which
/// would free it for all, but goes with the last descriptor (flock(2)).
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

/// Why a lock was not to be had.
#[derive(Debug)]
pub enum LockFileError {
    /// A process holds it.
    Held {
        /// Which one, where the kernel or the file says so.
        pid: Option<i32>,
    },
    /// The file cannot be made, locked or written.
    Unusable(io::Error),
}

impl LockFile {
    /// Takes the lock at once, or says which process has it.
    ///
    /// # Errors
    /// When a process holds it, or the file is not a plain file of this user's or root's own.
    pub fn take(path: &Path) -> Result<LockFile, LockFileError> {
        for _ in 0..TRIES {
            let mut file = open(path).map_err(LockFileError::Unusable)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let known = file.metadata().ok().and_then(|found| holder(&found));
                    return Err(LockFileError::Held { pid: known.or_else(|| read(&mut file)) });
                }
                Err(errno) => return Err(LockFileError::Unusable(errno.into())),
            }
            // The lock of a file that was removed meanwhile keeps nobody out.
            if is_at(&file, path) {
                is_plain(&file).map_err(LockFileError::Unusable)?;
                let held = LockFile { file, path: path.to_owned() };
                held.write().map_err(LockFileError::Unusable)?;
                return Ok(held);
            }
        }
        let words = "other processes make and remove it without an end";
        Err(LockFileError::Unusable(io::Error::other(words)))
    }

    /// The lock that a predecessor holds, and this process with it.
    pub fn handed(file: OwnedFd, path: &Path) -> LockFile {
        LockFile { file: file.into(), path: path.to_owned() }
    }

    /// Where the file is, and one more descriptor of it, for a successor.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn share(&self) -> io::Result<(PathBuf, OwnedFd)> {
        Ok((self.path.clone(), self.file.try_clone()?.into()))
    }

    /// Writes the pid for processes that find it held.
    ///
    /// # Errors
    /// When the disk is full, or the file is not to be written.
    pub fn write(&self) -> io::Result<()> {
        let mut file: &File = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }

    /// Removes the file, while it is held: the next one to lock that name makes it again.
    pub fn remove(&self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens or makes the file, and nothing that a symbolic link leads to.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE);
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).bits());
    options.open(path).map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => io::Error::other("it is a symbolic link; remove it"),
        _ => error,
    })
}

/// A hard link would have another file's content replaced by a pid.
fn is_plain(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let us = geteuid().as_raw();
    if !found.is_file() || found.nlink() > 1 {
        return Err(io::Error::other("it is not a plain file with one name; remove it"));
    }
    if found.uid() != us && found.uid() != 0 {
        let words =
            format!("it belongs to uid {}, not to uid {us} or root; remove it", found.uid());
        return Err(io::Error::other(words));
    }
    if found.uid() == us && found.mode() & 0o7777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(())
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let (held, named) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    matches!((held, named), (Ok(held), Ok(named)) if held == named)
}

/// The holder's pid by the file. Older versions wrote more behind it.
fn read(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Whether a process holds the lock at `path`. To look takes a share of it for a moment.
pub fn is_held(path: &Path) -> bool {
    let would_wait = Err(rustix::io::Errno::WOULDBLOCK);
    let share = |file: &File| flock(file, FlockOperation::NonBlockingLockShared);
    File::open(path).is_ok_and(|file| share(&file) == would_wait)
}

/// The process that the kernel knows to hold the lock at `path`. Takes no lock for that, so nobody
/// finds it held by the one who looks. Where a predecessor took the lock and is gone, the kernel
/// knows nobody, and the file names the holder.
pub fn holder_at(path: &Path) -> Option<i32> {
    let known = holder(&fs::symlink_metadata(path).ok()?);
    known.or_else(|| is_held(path).then(|| read(&mut File::open(path).ok()?)).flatten())
}

fn holder(found: &fs::Metadata) -> Option<i32> {
    let (major, minor) = (libc::major(found.dev()), libc::minor(found.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", found.ino());
    holder_in(&KernelFiles::of_this_host().text("proc/locks")?, &place)
}

/// Of `1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF` (proc_locks(5)) the pid. Lines of those
/// that wait have `->` behind the number.
fn holder_in(locks: &str, place: &str) -> Option<i32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, pid, at, ..] if at == place => {
                pid.parse().ok().filter(|&pid| pid > 0)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("it is there").mode() & 0o7777
    }

    fn unusable(path: &Path) -> String {
        match LockFile::take(path) {
            Err(LockFileError::Unusable(error)) => error.to_string(),
            other => panic!("it is not to be taken: {other:?}"),
        }
    }

    #[test]
    fn only_its_user_can_open_it_and_an_older_one_is_closed_to_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.lock");
        let lock = LockFile::take(&path).expect("it is free");
        assert_eq!(mode(&path), 0o600);
        drop(lock);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
        let lock = LockFile::take(&path).expect("it is free");
        assert_eq!(mode(&path), 0o600);
        lock.remove();
        assert!(!path.exists());
    }

    #[test]
    fn neither_a_link_nor_another_users_file_is_written_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("precious"), "content").expect("a file");
        symlink(at("precious"), at("soft.lock")).expect("a link");
        assert!(unusable(&at("soft.lock")).contains("symbolic link"));
        fs::hard_link(at("precious"), at("hard.lock")).expect("a link");
        assert!(unusable(&at("hard.lock")).contains("one name"));
        assert_eq!(fs::read_to_string(at("precious")).expect("it is there"), "content");
        if geteuid().is_root() {
            fs::write(at("foreign.lock"), "").expect("a file");
            std::os::unix::fs::chown(at("foreign.lock"), Some(4711), None).expect("root may");
            assert!(unusable(&at("foreign.lock")).contains("uid 4711"));
        }
    }

    #[test]
    fn the_kernel_knows_the_holder_where_the_file_names_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.lock");
        fs::write(&path, "1\n").expect("a file");
        let stranger = File::open(&path).expect("it is there");
        flock(&stranger, FlockOperation::LockExclusive).expect("it is free");
        match LockFile::take(&path) {
            Err(LockFileError::Held { pid: Some(pid), .. }) => {
                assert!([1, std::process::id() as i32].contains(&pid), "{pid}");
            }
            other => panic!("it is held: {other:?}"),
        }
        let locks = "1: POSIX  ADVISORY  WRITE 7 fd:01:12 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 8 fd:01:123 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 9 fd:01:12 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 10 fd:01:12 0 EOF\n";
        assert_eq!(holder_in(locks, "fd:01:12"), Some(10));
    }

    #[test]
    fn a_lock_that_was_handed_over_stays_when_its_first_holder_lets_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.lock");
        let first = LockFile::take(&path).expect("it is free");
        let (_, file) = first.share().expect("a descriptor");
        let second = LockFile::handed(file, &path);
        drop(first);
        assert!(is_held(&path));
        drop(second);
        assert!(!is_held(&path));
    }

    #[test]
    fn a_removed_file_is_made_again_and_locked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.lock");
        let first = LockFile::take(&path).expect("it is free");
        first.remove();
        let second = LockFile::take(&path).expect("the first one's name is gone");
        first.remove();
        assert!(path.exists(), "the second one's file stays");
        assert_eq!(holder_at(&path), Some(std::process::id() as i32));
        drop(second);
        assert_eq!(holder_at(&path), None);
    }
}
