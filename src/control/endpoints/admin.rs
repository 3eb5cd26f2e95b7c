//! The unix socket of the admin API: a user that may connect to it may do everything.

use std::fmt;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use nix::unistd::Group;
use tokio::net::{UnixListener, UnixStream};

use super::http;
use crate::config::{Admin, AdminSocket};
use crate::control::state::ControlState;
use crate::control::verbs;
use crate::host::socket_file::{SocketError, SocketFile, auto_path, clear, listen_at};

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

/// The listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct AdminEndpoint {
    listener: StdListener,
    file: SocketFile,
}

impl AdminEndpoint {
    /// Listens where the config says, or nowhere; `directory` is where "auto" is. A socket that a
    /// dead process left there is replaced, a living one's never.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else has it.
    pub fn open(admin: &Admin, directory: &Path) -> Result<Option<AdminEndpoint>, AdminError> {
        let path = match &admin.socket {
            AdminSocket::Off => return Ok(None),
            AdminSocket::At(path) => path.clone(),
            AdminSocket::Auto => {
                clear(directory);
                auto_path(directory, std::process::id())
            }
        };
        let failed = |because: String| {
            let value = path.display().to_string();
            AdminError { key: "admin.socket", value, because }
        };
        let words = |error: io::Error| {
            failed(format!(
                "{error}; write a path where this user can make a socket, \"auto\" or \"off\""
            ))
        };
        let group = admin.group.as_deref();
        let of_the_group = |because: String| {
            let value = group.unwrap_or_default().to_owned();
            AdminError { key: "admin.group", value, because }
        };
        let unknown = || {
            let remedy = "write one that `getent group` shows, or leave the key out";
            of_the_group(format!("this host has no group of that name; {remedy}"))
        };
        let id = group.map(|group| group_id(group).ok_or_else(unknown)).transpose()?;
        let (listener, file) = listen_at(&path, admin.mode, id).map_err(|error| match error {
            SocketError::Path(error) => words(error),
            SocketError::Taken(because) => failed(because),
            SocketError::Group(error) => of_the_group(format!(
                "{error}; only root or a member of a group gives it a file: add this user to it, \
                 or leave the key out"
            )),
        })?;
        listener.set_nonblocking(true).map_err(words)?;
        tracing::info!(path = %path.display(), "admin");
        Ok(Some(AdminEndpoint { listener, file }))
    }

    /// Answers until the runtime ends.
    pub(super) async fn serve(self, state: ControlState) -> io::Result<()> {
        let AdminEndpoint { listener, file: _file } = self;
        let listener = UnixListener::from_std(listener)?;
        let accept = async || -> io::Result<Option<UnixStream>> {
            listener.accept().await.map(|(stream, _)| Some(stream))
        };
        http::serve(accept, verbs::routes(state), Admin::CONNECTIONS).await;
        Ok(())
    }
}

fn group_id(group: &str) -> Option<u32> {
    if let Ok(id) = group.parse() {
        return Some(id);
    }
    Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

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
