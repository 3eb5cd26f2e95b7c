//! Where the gateway's own files are: its locks and its admin socket.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, access, getegid, geteuid};

use super::facts::FIRST_PID_NAMESPACE;

/// Where a service without a service manager keeps its runtime files.
const OF_THE_SYSTEM: &str = "/run/portcullis";
/// The mode's bit that keeps users from renaming each other's files.
const STICKY: u32 = 0o1000;

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
/// When it cannot be made, or another user can change what lies there.
pub fn runtime_directory() -> Result<PathBuf, DirectoryError> {
    let path = chosen();
    match make(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(DirectoryError { path, error }),
    }
}

/// Why [`runtime_directory`] would fail, as far as that shows without making the directory.
pub fn refused() -> Option<DirectoryError> {
    let path = chosen();
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let looked = if there == path { may_use(&path) } else { may_write(there) };
    looked.err().map(|error| DirectoryError { path, error })
}

fn chosen() -> PathBuf {
    choose(|name| std::env::var_os(name), Path::is_dir, geteuid(), can_write(OF_THE_SYSTEM))
}

/// Every place where a gateway's files may be, for any user, the likeliest first. None is made.
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

/// Makes the directory for this user alone. One that another user can change is not taken.
fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    may_use(path)
}

fn may_use(path: &Path) -> io::Result<()> {
    if let Some(because) = distrust(path)? {
        return Err(io::Error::other(because));
    }
    may_write(path)
}

fn may_write(path: &Path) -> io::Result<()> {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
}

/// Which users may run the gateway whose admin socket lies in `directory`: root and this user; the
/// directory's owner as well where root has made it for that user, as a service manager does.
pub fn trusted_users(directory: &Path) -> Vec<Uid> {
    let mut users = vec![Uid::from_raw(0), geteuid()];
    users.extend(user_of_service(directory).ok().flatten());
    users
}

/// The owner of a directory that root has made for it.
fn user_of_service(directory: &Path) -> io::Result<Option<Uid>> {
    let parent = std::fs::metadata(parent_of(directory))?;
    if parent.uid() != 0 || others_write(&parent) {
        return Ok(None);
    }
    let found = std::fs::symlink_metadata(directory)?;
    if found.is_symlink() && found.uid() == 0 {
        // Root's own link is one that systemd makes for DynamicUser=: it leads to no further one.
        return user_of_service(&std::fs::canonicalize(directory)?);
    }
    let is_given = found.is_dir() && !others_write(&found);
    Ok(is_given.then(|| Uid::from_raw(found.uid())))
}

/// Why a client does not look for gateways in `directory`: another user can put any socket there.
pub fn distrusted(directory: &Path) -> Option<String> {
    let owner = std::fs::metadata(directory).ok()?.uid();
    if trusted_users(directory)[2..].contains(&Uid::from_raw(owner)) {
        return None;
    }
    distrust(directory).ok().flatten()
}

/// Why another user can change what lies in `directory`, if one can.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn distrust(directory: &Path) -> io::Result<Option<String>> {
    let is_ours = |found: &Metadata| found.uid() == 0 || found.uid() == geteuid().as_raw();
    let link = std::fs::symlink_metadata(directory)?;
    // Root's own link is one that systemd makes for DynamicUser=.
    if link.is_symlink() && !is_ours(&link) {
        return Ok(Some(format!("it is a symbolic link that uid {} has made", link.uid())));
    }
    let found = std::fs::metadata(directory)?;
    if !found.is_dir() {
        return Ok(Some("it is not a directory".to_owned()));
    }
    if !is_ours(&found) {
        let us = geteuid();
        return Ok(Some(format!("it belongs to uid {}, not to uid {us} or root", found.uid())));
    }
    let parent = parent_of(directory);
    let above = std::fs::metadata(parent)?;
    if others_write(&found) && !(is_volume(&found, &above) && in_pid_namespace()) {
        let mode = found.mode() & 0o7777;
        return Ok(Some(format!(
            "other users can write there (mode {mode:04o}); `chmod go-w` takes that away"
        )));
    }
    // In a sticky directory, as /tmp is, only its owner renames a file.
    if others_write(&above) && above.mode() & STICKY == 0 {
        let parent = parent.display();
        return Ok(Some(format!("other users can replace it: they can write to {parent}")));
    }
    Ok(None)
}

/// Whether it may be a volume that a container's runtime has mounted: Kubernetes makes an emptyDir
/// root's, with the mode 0777, and has no other writable place for a container whose root file
/// system is read-only. Which containers share it is up to the pod.
fn is_volume(found: &Metadata, above: &Metadata) -> bool {
    found.uid() == 0 && found.dev() != above.dev()
}

/// Whether this process is in another PID namespace than the host's, as in a container: the users
/// there are those that its image and its pod have given it.
fn in_pid_namespace() -> bool {
    let own = std::fs::read_link("/proc/self/ns/pid");
    own.is_ok_and(|own| own != Path::new(FIRST_PID_NAMESPACE))
}

/// Whether users other than the owner can write: its group too, unless that is this process's own
/// or root's.
fn others_write(found: &Metadata) -> bool {
    let is_own_group = found.gid() == 0 || found.gid() == getegid().as_raw();
    found.mode() & 0o002 != 0 || found.mode() & 0o020 != 0 && !is_own_group
}

/// Where a path's last name stands.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

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

    #[test]
    fn a_directory_that_another_user_can_change_is_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        let refused = |path: &Path| make(path).expect_err("it is refused").to_string();
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        };
        make(&at("own")).expect("it is ours");
        make(&at("own")).expect("it is still ours");
        mode(&at("own"), 0o1777);
        assert!(refused(&at("own")).contains("mode 1777"));
        make(&at("own").join("below")).expect("above it is sticky");
        mode(&at("own"), 0o777);
        assert!(refused(&at("own").join("below")).contains("can replace it"));
        if geteuid().is_root() {
            make(&at("foreign")).expect("it is ours");
            chown(at("foreign"), Some(4711), None).expect("root may");
            assert!(refused(&at("foreign")).contains("uid 4711"));
            make(&at("aim")).expect("it is ours");
            symlink(at("aim"), at("link")).expect("a link");
            make(&at("link")).expect("root has made the link");
            lchown(at("link"), Some(4711), None).expect("root may");
            assert!(refused(&at("link")).contains("symbolic link that uid 4711"));
        }
    }

    #[test]
    fn a_service_users_directory_is_trusted_where_root_has_given_it() {
        if !geteuid().is_root() {
            // Past what captures the words of tests that pass.
            let words = b"a service user's directory is not checked: only root can give one away\n";
            return std::io::stderr().write_all(words).expect("stderr");
        }
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("portcullis");
        make(&path).expect("it is ours");
        chown(&path, Some(4711), None).expect("root may");
        assert!(trusted_users(&path).contains(&Uid::from_raw(4711)));
        assert_eq!(distrusted(&path), None);
        // As systemd has it with DynamicUser=: a link to what lies in a directory of root's alone.
        let link = home.path().join("link");
        symlink("portcullis", &link).expect("a link");
        assert_eq!(distrusted(&link), None);
        lchown(&link, Some(4711), None).expect("root may");
        assert!(distrusted(&link).is_some(), "a link that another user has made");
        // In a directory such as /tmp a user gives it to oneself.
        std::fs::set_permissions(home.path(), Permissions::from_mode(0o1777)).expect("ours");
        assert!(!trusted_users(&path).contains(&Uid::from_raw(4711)));
        assert!(distrusted(&path).expect("it is not trusted").contains("uid 4711"));
    }
}
