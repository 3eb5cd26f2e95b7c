//! The unix socket of the admin API: a user that may connect to it may do everything.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::{Task, http};
use crate::api::patience;
use crate::config::{Admin, AdminSocket};
use crate::control::asker::Asker;
use crate::control::state::ControlState;
use crate::control::verbs;
use crate::host::accounts::{GROUPS_ARE_THOSE, group_id};
use crate::host::socket_file::{
    SocketError, SocketFile, SocketLink, auto_path, clear, listen_at, listen_over,
};

/// Why there is no admin socket.
#[derive(Debug)]
pub struct AdminError {
    /// The key of the config that asks for it.
    pub key: &'static str,
    /// The value that it has, or stands for.
    pub value: String,
    /// The obstacle, and the remedy.
    pub because: String,
}

impl fmt::Display for AdminError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AdminError { key, value, because } = self;
        write!(out, "{key} = \"{value}\": {because}")
    }
}

impl std::error::Error for AdminError {}

/// The listening socket.
#[derive(Debug)]
pub struct AdminEndpoint {
    listener: StdListener,
    files: AdminFiles,
}

/// Where the socket is found; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct AdminFiles {
    file: SocketFile,
    /// Where it was asked for; `None`: where commands look.
    path: Option<PathBuf>,
    /// Where commands look, the name of a socket that is not there.
    link: Option<SocketLink>,
}

impl AdminEndpoint {
    /// Listens where the config says, or nowhere; `directory` is where "auto" is. A socket that a
    /// dead process left there is replaced, a living one's never.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else has it.
    pub fn open(admin: &Admin, directory: &Path) -> Result<Option<AdminEndpoint>, AdminError> {
        let mut opened = AdminEndpoint::listen(admin, directory)?;
        if let Some(endpoint) = &mut opened {
            endpoint.files.link_from(directory);
        }
        Ok(opened)
    }

    /// The same without the link by which commands find it, which another endpoint may still have.
    pub(super) fn listen(
        admin: &Admin,
        directory: &Path,
    ) -> Result<Option<AdminEndpoint>, AdminError> {
        AdminEndpoint::listen_over(admin, directory, None)
    }

    /// The same in place of a predecessor's, of which this is the lock at that path.
    pub(super) fn listen_over(
        admin: &Admin,
        directory: &Path,
        handed: Option<(PathBuf, OwnedFd)>,
    ) -> Result<Option<AdminEndpoint>, AdminError> {
        let (path, asked) = match &admin.socket {
            AdminSocket::Off => return Ok(None),
            AdminSocket::At(path) => (path.clone(), Some(path.clone())),
            AdminSocket::Auto => (auto_path(directory, std::process::id()), None),
        };
        clear(directory);
        let group = group_of(admin)?;
        let listening = match handed.filter(|(theirs, _)| *theirs == path) {
            Some((_, lock)) => listen_over(&path, lock, admin.mode, group),
            None => listen_at(&path, admin.mode, group),
        };
        let (listener, file) = listening.map_err(|error| refused(error, admin, &path))?;
        let unusable = |error: io::Error| refused(error.into(), admin, &path);
        listener.set_nonblocking(true).map_err(unusable)?;
        tracing::info!(path = %path.display(), "admin");
        Ok(Some(AdminEndpoint { listener, files: AdminFiles { file, path: asked, link: None } }))
    }

    /// Answers until the task ends. The files are the caller's to keep.
    pub(super) fn serve(self, state: ControlState) -> (Task, AdminFiles) {
        let AdminEndpoint { listener, files } = self;
        let answers = async move {
            let listener = UnixListener::from_std(listener)?;
            let accept = async || -> io::Result<Option<(UnixStream, Option<Asker>)>> {
                let (stream, _) = listener.accept().await?;
                let asker = Asker::of(&stream);
                Ok(Some((stream, asker)))
            };
            // The outcome of an upgrade is waited for.
            let bounds = (Admin::CONNECTIONS, patience::UPGRADE);
            http::serve(accept, verbs::routes(state), bounds).await;
            Ok(())
        };
        (tokio::task::spawn_local(answers), files)
    }
}

impl AdminFiles {
    /// Has commands find it by a link, where it does not lie where they look.
    pub(super) fn link_from(&mut self, directory: &Path) {
        let Some(path) = &self.path else { return };
        let unfound = |error: &io::Error| {
            let directory = directory.display();
            tracing::warn!(%error, %directory, "commands find the admin socket by its path alone");
        };
        let made = SocketLink::make(directory, std::process::id(), path).inspect_err(unfound);
        self.link = made.ok();
    }

    /// The path that the config names, and a descriptor of its lock.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn share(&self) -> io::Result<Option<(PathBuf, OwnedFd)>> {
        let Some(path) = &self.path else { return Ok(None) };
        Ok(self.file.share_lock()?.map(|lock| (path.clone(), lock)))
    }

    /// A successor has put its socket in place of this one, if it is elsewhere than "auto" is.
    pub(super) fn leave(&mut self) {
        self.link = None;
        if self.path.is_some() && !self.file.is_in_place() {
            self.file.leave();
        }
    }

    /// Whether it is still found.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.is_in_place()
    }

    /// The link goes: another socket is to lie there.
    pub(super) fn unlink(&mut self) {
        self.link = None;
    }

    /// Gives it the mode and the group that the config says, or leaves it as it was.
    ///
    /// # Errors
    /// When this user may not.
    pub(super) fn set(&self, before: &Admin, after: &Admin) -> Result<(), AdminError> {
        let group = group_of(after)?;
        self.file.set(after.mode, group).map_err(|error| {
            if let Ok(group) = group_of(before) {
                let _ = self.file.set(before.mode, group);
            }
            refused(error, after, self.path.as_deref().unwrap_or(Path::new("auto")))
        })
    }
}

/// The group that the config asks for.
fn group_of(admin: &Admin) -> Result<Option<u32>, AdminError> {
    let Some(group) = &admin.group else { return Ok(None) };
    let unknown = || {
        let remedy = format!("write one that {GROUPS_ARE_THOSE}, or leave the key out");
        let because = format!("this host has no group of that name; {remedy}");
        AdminError { key: "admin.group", value: group.clone(), because }
    };
    group_id(group).ok_or_else(unknown).map(Some)
}

fn refused(error: SocketError, admin: &Admin, path: &Path) -> AdminError {
    let of_path = |because: String| {
        let value = path.display().to_string();
        AdminError { key: "admin.socket", value, because }
    };
    match error {
        SocketError::Path(error) => of_path(format!(
            "{error}; write a path where this user can make a socket, \"auto\" or \"off\""
        )),
        SocketError::Taken(because) => of_path(because),
        SocketError::Group(error) => AdminError {
            key: "admin.group",
            value: admin.group.clone().unwrap_or_default(),
            because: format!(
                "{error}; only root or a member of a group gives it a file: add this user to it, \
                 or leave the key out"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::host::socket_file::{pid_of, sockets_in};

    fn at(path: PathBuf, mode: u32) -> Admin {
        Admin { socket: AdminSocket::At(path), mode, group: None }
    }

    #[test]
    fn a_socket_has_its_mode_replaces_a_dead_one_and_spares_a_living_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.sock");
        drop(StdListener::bind(&path).expect("a socket"));
        let endpoint = AdminEndpoint::open(&at(path.clone(), 0o620), directory.path());
        let endpoint = endpoint.expect("a dead one is replaced").expect("it is not off");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o620);
        let error = AdminEndpoint::open(&at(path.clone(), 0o600), directory.path());
        assert!(error.expect_err("it is taken").to_string().contains("another process listens"));
        drop(endpoint);
        assert!(!path.exists());
        fs::write(&path, "").expect("a file");
        let error = AdminEndpoint::open(&at(path, 0o600), directory.path());
        assert!(error.expect_err("a file").to_string().contains("no socket"));
    }

    #[test]
    fn an_auto_socket_names_its_process_and_clears_what_the_dead_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let dead = auto_path(directory.path(), 1);
        drop(StdListener::bind(&dead).expect("a socket"));
        let endpoint =
            AdminEndpoint::open(&Admin::default(), directory.path()).expect("it is free");
        let found = sockets_in(directory.path()).expect("it is readable");
        assert_eq!(
            found.iter().map(|path| pid_of(path)).collect::<Vec<_>>(),
            [Some(std::process::id())]
        );
        drop(endpoint);
        assert!(sockets_in(directory.path()).expect("it is readable").is_empty());
    }

    #[test]
    fn a_group_is_found_by_name_and_number() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("1234"), Some(1234));
        assert_eq!(group_id("no such group"), None);
    }
}
