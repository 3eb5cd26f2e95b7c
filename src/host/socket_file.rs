//! A unix socket's file: complete before its name is seen, and held by a lock beside it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, fchownat, getegid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::lock_file::{LockFile, LockFileError};

/// Connections that may wait to be accepted beyond those that are served.
const BACKLOG: i32 = 64;
/// The mode of a socket that is not in its place yet.
const PRIVATE: u32 = 0o600;
/// How often a lock that another start holds is tried; it holds that for moments.
const TRIES: u32 = 50;
/// Between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);
/// How an "auto" socket's name begins and ends; the pid stands between.
const AUTO_NAME: (&str, &str) = ("admin-", ".sock");
/// Behind the name of a socket that is not in its place yet, and of the lock of its place.
const SUFFIXES: (&str, &str) = ("~", ".lock");

/// Why there is no socket.
#[derive(Debug)]
pub enum SocketError {
    /// The group cannot be given.
    Group(io::Error),
    /// The path cannot be had.
    Path(io::Error),
    /// The path, or its lock, is in use, as these words say.
    Taken(String),
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> SocketError {
        SocketError::Path(error)
    }
}

/// A socket's file that is ours to remove.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process's file may lie at the path later.
    identity: (u64, u64),
    /// Ours until the file is gone; `None`: it is a successor's, and the file with it.
    lock: Option<LockFile>,
}

impl SocketFile {
    /// Gives it another mode, and a group; `None`: the process's own.
    ///
    /// # Errors
    /// When the group cannot be given, or another process's file lies there.
    pub fn set(&self, mode: u32, group: Option<u32>) -> Result<(), SocketError> {
        if identity(&self.path) != Some(self.identity) {
            let words = "another file lies there; write another path, and this one again";
            return Err(SocketError::Path(io::Error::other(words)));
        }
        dress(&self.path, mode, Some(group.unwrap_or(getegid().as_raw()))).map(|_| ())
    }

    /// One more descriptor of its lock, for a successor that puts its own socket in this place.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn share_lock(&self) -> io::Result<Option<OwnedFd>> {
        self.lock.as_ref().map(|lock| lock.share().map(|(_, file)| file)).transpose()
    }

    /// A successor has put its socket in this place.
    pub fn leave(&mut self) {
        self.lock = None;
    }

    /// Whether this socket is in its place.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path) == Some(self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Some(lock) = &self.lock else { return };
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
        lock.remove();
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Listens at `path`. Before the name is seen, the socket has its mode and group and takes
/// connections. A dead process's socket is replaced, a living one's never.
///
/// # Errors
/// When the path cannot be had or is in use, or the file cannot be given its group.
pub fn listen_at(
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let lock = lock(path)?;
    make_way(path).map_err(SocketError::Taken)?;
    listen_locked(lock, path, mode, group)
}

/// Listens at `path`, of which a predecessor has handed its lock over, in place of its socket:
/// there is no moment at which nobody listens there.
///
/// # Errors
/// As [`listen_at`].
pub fn listen_over(
    path: &Path,
    lock: OwnedFd,
    mode: u32,
    group: Option<u32>,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let lock = LockFile::handed(lock, &beside(path, SUFFIXES.1));
    lock.write()?;
    listen_locked(lock, path, mode, group)
}

fn listen_locked(
    lock: LockFile,
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let unplaced = beside(path, SUFFIXES.0);
    // Only a holder of this lock makes this name, so a dead one has left it.
    match fs::remove_file(&unplaced) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux gives the file the mode of the socket, less the umask (unix_bind_bsd in
    // net/unix/af_unix.c): there is no moment at which others can connect.
    fchmod(&socket, Mode::from_bits_truncate(PRIVATE)).map_err(io::Error::from)?;
    socket.bind(&SockAddr::unix(&unplaced)?)?;
    let placed = dress(&unplaced, mode, group).and_then(|identity| {
        socket.listen(BACKLOG)?;
        fs::rename(&unplaced, path)?;
        Ok(identity)
    });
    match placed {
        Ok(identity) => {
            let file = SocketFile { path: path.to_owned(), identity, lock: Some(lock) };
            Ok((UnixListener::from(socket), file))
        }
        Err(error) => {
            let _ = fs::remove_file(&unplaced);
            lock.remove();
            Err(error)
        }
    }
}

/// Takes the lock of `path`: its holder alone removes or replaces what lies there.
fn lock(path: &Path) -> Result<LockFile, SocketError> {
    let file = beside(path, SUFFIXES.1);
    for attempt in 0..TRIES {
        let pid = match LockFile::take(&file) {
            Ok(lock) => return Ok(lock),
            Err(LockFileError::Unusable(error)) => {
                let words = format!("its lock {}: {error}", file.display());
                return Err(SocketError::Path(io::Error::new(error.kind(), words)));
            }
            Err(LockFileError::Held { pid, .. }) => pid,
        };
        if attempt + 1 == TRIES || is_socket(path) && is_living(path) {
            let holder = pid.map_or("another process".into(), |pid| format!("pid {pid}"));
            return Err(SocketError::Taken(format!(
                "another process listens or starts there: {holder} holds {}; stop it first, or \
                 write another path",
                file.display()
            )));
        }
        if attempt == 0 {
            let (file, pid) = (file.display(), pid.unwrap_or_default());
            tracing::info!(%file, pid, "waits for the lock of the admin socket");
        }
        thread::sleep(BETWEEN_TRIES);
    }
    unreachable!("the last try returns")
}

/// Gives the socket at `path` its group and mode, and follows no link: in a directory of another
/// user, that user can put any file there meanwhile. Returns its device and inode.
fn dress(path: &Path, mode: u32, group: Option<u32>) -> Result<(u64, u64), SocketError> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let found = file.metadata()?;
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() || found.nlink() != 1 {
        let words = "another process replaced the socket; write a path in a directory that only \
            this user can write";
        return Err(SocketError::Path(io::Error::other(words)));
    }
    if let Some(group) = group {
        fchownat(&file, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)
            .map_err(|errno| SocketError::Group(errno.into()))?;
    }
    if found.mode() & 0o7777 != mode {
        // fchmod(2) refuses such a descriptor; its name in /proc leads to this file and no other.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(itself, Permissions::from_mode(mode))?;
    }
    Ok((found.dev(), found.ino()))
}

/// Says what is at `path` unless it is nothing, or a socket that a dead process left.
fn make_way(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(found) if !found.file_type().is_socket() => {
            Err("something that is no socket lies there; remove it or write another path".into())
        }
        Ok(_) if is_living(path) => {
            Err("another process listens there; stop it first, or write another path".into())
        }
        Ok(_) => Ok(()),
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Whether a process listens at `path`. Never waits.
pub fn is_living(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => true,
        // Refused: nobody. Anything else, such as a full backlog or no permission: somebody may.
        Err(error) => {
            !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A link by which the commands find a socket that lies elsewhere. It goes with this value.
#[derive(Debug)]
pub struct SocketLink {
    path: PathBuf,
    target: PathBuf,
}

impl SocketLink {
    /// Makes the link of the process `pid`; one that a dead process left there is replaced.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(directory: &Path, pid: u32, target: &Path) -> io::Result<SocketLink> {
        let path = auto_path(directory, pid);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            fs::remove_file(&path)?;
        }
        symlink(target, &path)?;
        Ok(SocketLink { path, target: target.to_owned() })
    }
}

impl Drop for SocketLink {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where an "auto" socket of the process `pid` is.
pub fn auto_path(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!("{}{pid}{}", AUTO_NAME.0, AUTO_NAME.1))
}

/// The pid in the name of an "auto" socket.
pub fn pid_of(path: &Path) -> Option<u32> {
    pid_in(path.file_name()?.to_str()?)
}

fn pid_in(name: &str) -> Option<u32> {
    name.strip_prefix(AUTO_NAME.0)?.strip_suffix(AUTO_NAME.1)?.parse().ok()
}

/// The sockets that lie in `directory`, living or left behind, or that links there lead to: those
/// whose names have a pid come first. A socket with two names is there once.
///
/// # Errors
/// When the directory cannot be read.
pub fn sockets_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    let unplaced = |path: &Path| path.to_string_lossy().ends_with(SUFFIXES.0);
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| !unplaced(path));
    found.sort_by_cached_key(|path| (pid_of(path).unwrap_or(u32::MAX), path.clone()));
    let mut known = HashSet::new();
    found.retain(|path| {
        let socket = fs::metadata(path).ok().filter(|found| found.file_type().is_socket());
        socket.is_some_and(|found| known.insert((found.dev(), found.ino())))
    });
    Ok(found)
}

/// Removes what dead gateways left in the runtime directory: "auto" sockets, links to others, and
/// locks of both.
pub fn clear(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let name = [SUFFIXES.0, SUFFIXES.1].iter().find_map(|end| name.strip_suffix(end));
        let socket = entry.path().with_file_name(name.unwrap_or_default());
        let socket = if name.is_some() { socket } else { entry.path() };
        if pid_of(&socket).is_none() {
            continue;
        }
        let Ok(lock) = LockFile::take(&beside(&socket, SUFFIXES.1)) else { continue };
        if !is_living(&socket) {
            let _ = fs::remove_file(beside(&socket, SUFFIXES.0));
            let _ = fs::remove_file(&socket);
        }
        lock.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn names_in(directory: &Path) -> usize {
        fs::read_dir(directory).expect("it is readable").count()
    }

    #[test]
    fn a_link_in_the_sockets_place_changes_no_other_files_mode_or_group() {
        let directory = tempfile::tempdir().expect("a directory");
        let (victim, link) = (directory.path().join("victim"), directory.path().join("a.sock"));
        fs::write(&victim, "").expect("a file");
        fs::set_permissions(&victim, Permissions::from_mode(0o600)).expect("it is ours");
        symlink(&victim, &link).expect("a link");
        for place in [&link, &victim] {
            let refused = dress(place, 0o666, Some(geteuid().as_raw()));
            assert!(matches!(refused, Err(SocketError::Path(_))), "{refused:?}");
        }
        assert_eq!(fs::metadata(&victim).expect("it is there").mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_name_that_is_seen_has_its_mode_and_takes_connections() {
        const ROUNDS: usize = 100;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.sock");
        let done = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::SeqCst) {
                    let Ok(found) = fs::symlink_metadata(&path) else { continue };
                    assert_eq!(found.mode() & 0o7777, 0o620);
                    seen += 1;
                }
                seen
            });
            for _ in 0..ROUNDS {
                let (listener, file) = listen_at(&path, 0o620, None).expect("it is free");
                UnixStream::connect(&path).expect("it listens");
                drop((listener, file));
            }
            // At least once it is there to be seen.
            let kept = listen_at(&path, 0o620, None).expect("it is free");
            thread::sleep(BETWEEN_TRIES);
            done.store(true, Ordering::SeqCst);
            let seen = watcher.join().expect("every mode is right");
            drop(kept);
            seen
        });
        assert!(seen > 0);
        assert_eq!(names_in(directory.path()), 0, "the lock goes with the socket");
    }

    #[test]
    fn of_starts_at_once_one_has_the_name_and_keeps_it() {
        const ROUNDS: usize = 20;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.sock");
        for round in 0..ROUNDS {
            drop(UnixListener::bind(&path).expect("what a dead process left"));
            let results: Vec<_> = thread::scope(|scope| {
                let starts: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| listen_at(&path, 0o600, None))).collect();
                starts.into_iter().map(|start| start.join().expect("no panic")).collect()
            });
            let refused = results.iter().filter_map(|result| result.as_ref().err());
            for error in refused {
                assert!(matches!(error, SocketError::Taken(_)), "round {round}: {error:?}");
            }
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
            UnixStream::connect(&path).expect("the one that has the name listens there");
        }
    }

    #[test]
    fn a_lock_that_another_process_keeps_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.sock");
        let _held = LockFile::take(&beside(&path, SUFFIXES.1)).expect("it is free");
        match listen_at(&path, 0o600, None) {
            Err(SocketError::Taken(words)) => {
                let holder = format!("pid {}", std::process::id());
                assert!(words.contains(&holder) && words.contains("a.sock.lock"), "{words}");
            }
            other => panic!("it is held: {other:?}"),
        }
    }

    #[test]
    fn what_the_dead_left_is_cleared_and_what_lives_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |pid| auto_path(directory.path(), pid);
        for left in [at(1), beside(&at(2), SUFFIXES.0)] {
            drop(UnixListener::bind(left).expect("a socket"));
        }
        fs::write(beside(&at(3), SUFFIXES.1), "3\n").expect("a file");
        let _without_a_lock = UnixListener::bind(at(4)).expect("a socket");
        let _starts = LockFile::take(&beside(&at(5), SUFFIXES.1)).expect("it is free");
        drop(UnixListener::bind(at(5)).expect("a socket"));
        clear(directory.path());
        assert_eq!(sockets_in(directory.path()).expect("it is readable"), [at(4), at(5)]);
        assert_eq!(names_in(directory.path()), 3);
    }

    #[test]
    fn a_socket_is_found_whatever_its_name_and_once() {
        let (here, elsewhere) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir());
        let elsewhere = elsewhere.expect("a directory");
        let (fixed, far) = (here.path().join("edge.sock"), elsewhere.path().join("far.sock"));
        let _living = UnixListener::bind(&fixed).expect("a socket");
        let _far = UnixListener::bind(&far).expect("a socket");
        let links = [(4, &fixed), (3, &far)]
            .map(|(pid, target)| SocketLink::make(here.path(), pid, target).expect("a link"));
        fs::write(here.path().join("edge.sock.lock"), "4\n").expect("a file");
        let at = |pid| auto_path(here.path(), pid);
        assert_eq!(sockets_in(here.path()).expect("it is readable"), [at(3), at(4)]);
        drop(links);
        assert_eq!(sockets_in(here.path()).expect("it is readable"), [fixed.as_path()]);
        // What a dead process left: a link to nothing, and one to a socket of nobody.
        drop(UnixListener::bind(elsewhere.path().join("dead.sock")).expect("a socket"));
        symlink(elsewhere.path().join("dead.sock"), at(5)).expect("a link");
        symlink(elsewhere.path().join("none.sock"), at(6)).expect("a link");
        symlink(&far, at(7)).expect("a link");
        clear(here.path());
        assert_eq!(sockets_in(here.path()).expect("it is readable"), [at(7), fixed]);
        assert!(fs::symlink_metadata(at(5)).is_err() && fs::symlink_metadata(at(6)).is_err());
        SocketLink::make(here.path(), 7, &far).expect("a left one is replaced");
    }
}
