//! Where the gateway's own files are: its locks and its admin socket.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, access, geteuid};

/// Where a service without a service manager keeps its runtime files.
const OF_THE_SYSTEM: &str = "/run/portcullis";

/// Why the directory cannot be used.
#[derive(Debug)]
pub struct DirectoryError {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: io::Error,
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}: {}; the gateway keeps its locks there: give RUNTIME_DIRECTORY the name of a \
             directory that this user can write",
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for DirectoryError {}

/// The directory, made if need be: `$RUNTIME_DIRECTORY` (systemd sets it for a unit with
/// `RuntimeDirectory=`), else `portcullis` in `$XDG_RUNTIME_DIR` (a login session's) if that is
/// there, else `/run/portcullis` if this user can write there, as root can. An ordinary user with
/// none of these gets `portcullis-UID` in the directory for temporary files.
///
/// # Errors
/// When it cannot be made, or is not this user's own.
pub fn runtime_directory() -> Result<PathBuf, DirectoryError> {
    let path =
        choose(|name| std::env::var_os(name), Path::is_dir, geteuid(), can_write(OF_THE_SYSTEM));
    match make(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(DirectoryError { path, error }),
    }
}

/// Every place where a gateway's files may be, whoever runs it, the likeliest first. None is made.
pub fn candidates() -> Vec<PathBuf> {
    let own = choose(|name| std::env::var_os(name), Path::is_dir, geteuid(), true);
    let session = PathBuf::from(format!("/run/user/{}/portcullis", geteuid()));
    let temporary = std::env::temp_dir().join(format!("portcullis-{}", geteuid()));
    let mut all = vec![own];
    for path in [PathBuf::from(OF_THE_SYSTEM), session, temporary] {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

fn choose(
    variable: impl Fn(&str) -> Option<OsString>,
    is_there: impl Fn(&Path) -> bool,
    user: Uid,
    system_writable: bool,
) -> PathBuf {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(list) = set("RUNTIME_DIRECTORY") {
        return first_of(&list);
    }
    // Programs that change the user often leave the variable and not the directory.
    if let Some(session) = set("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| is_there(path)) {
        return session.join("portcullis");
    }
    if user.is_root() || system_writable {
        return PathBuf::from(OF_THE_SYSTEM);
    }
    let temporary = set("TMPDIR").unwrap_or_else(|| OsString::from("/tmp"));
    Path::new(&temporary).join(format!("portcullis-{user}"))
}

/// systemd separates several directories by colons.
fn first_of(list: &OsStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let first = list.as_bytes().split(|&byte| byte == b':').next().unwrap_or_default();
    PathBuf::from(OsStr::from_bytes(first))
}

fn can_write(path: &str) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Makes the directory for this user alone. One that stands in a place where everybody writes is
/// only taken when it is a directory and this user's own.
fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = std::fs::symlink_metadata(path)?;
    let shared = path.parent().is_some_and(|parent| {
        std::fs::metadata(parent).is_ok_and(|parent| parent.mode() & 0o002 != 0)
    });
    if shared && (!found.is_dir() || found.uid() != geteuid().as_raw()) {
        return Err(io::Error::other("it is not this user's own directory"));
    }
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_is_given_is_the_place() {
        let user = Uid::from_raw(1000);
        let all = [("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        let chosen = |given: &[(&str, &str)], user, writable| {
            let found = |name: &str| given.iter().find(|(known, _)| *known == name);
            let variable = |name: &str| found(name).map(|(_, value)| OsString::from(value));
            choose(variable, |path| path.starts_with("/run/user"), user, writable)
        };
        assert_eq!(chosen(&all, user, true), Path::new("/run/a"));
        assert_eq!(chosen(&all[1..], user, true), Path::new("/run/user/1000/portcullis"));
        for absent in ["", "/mnt/absent"] {
            let chosen = chosen(&[("XDG_RUNTIME_DIR", absent)], user, true);
            assert_eq!(chosen, Path::new("/run/portcullis"));
        }
        assert_eq!(chosen(&[], Uid::from_raw(0), false), Path::new("/run/portcullis"));
        assert_eq!(chosen(&[], user, false), Path::new("/tmp/portcullis-1000"));
        assert_eq!(chosen(&[("TMPDIR", "/t")], user, false), Path::new("/t/portcullis-1000"));
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let path = std::env::temp_dir().join(format!("portcullis-not-{}", std::process::id()));
        std::fs::write(&path, "").expect("a file");
        assert!(make(&path).is_err());
        std::fs::remove_file(&path).expect("it is there");
    }
}
