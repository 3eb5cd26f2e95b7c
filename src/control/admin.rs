//! The unix socket for what changes something: who may connect to it may do everything.

use std::fmt;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use nix::unistd::Group;
use tokio::net::{UnixListener, UnixStream};

use super::status::status;
use super::steer::SteerError;
use super::view::View;
use super::{conns, dump, http};
use crate::api::conns::{Kill, ListConns};
use crate::api::steer::{
    Drain, Draining, ListenerState, Receiving, ServerState, SetListener, SetServer, Share,
};
use crate::api::{DUMP_PATH, Request, SCHEMA, STATUS_PATH};
use crate::config::{Admin, AdminSocket, MAX_WEIGHT};
use crate::host::socket_file::{SocketError, SocketFile, auto_path, clear, listen_at};

/// Why there is no admin socket.
#[derive(Debug)]
pub struct AdminError {
    /// The key of the config that asks for it.
    pub key: &'static str,
    /// The value that it has, or stands for.
    pub value: String,
    /// What stands in the way, and what to do.
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
pub struct AdminDoor {
    listener: StdListener,
    file: SocketFile,
}

impl AdminDoor {
    /// Listens where the config says, or nowhere; `directory` is where "auto" is. A socket that a
    /// dead process left there is replaced, a living one's never.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else has it.
    pub fn open(admin: &Admin, directory: &Path) -> Result<Option<AdminDoor>, AdminError> {
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
        Ok(Some(AdminDoor { listener, file }))
    }

    /// Answers until the runtime ends.
    pub(super) async fn serve(self, view: View) -> io::Result<()> {
        let AdminDoor { listener, file: _file } = self;
        let listener = UnixListener::from_std(listener)?;
        let accept = async || -> io::Result<Option<UnixStream>> {
            listener.accept().await.map(|(stream, _)| Some(stream))
        };
        http::serve(accept, routes(view), Admin::CONNECTIONS).await;
        Ok(())
    }
}

/// Every route.
fn routes(view: View) -> Router {
    Router::new()
        .route(Drain::PATH, post(drain))
        .route(STATUS_PATH, get(status))
        .route(ListConns::PATH, get(conns::list))
        .route(DUMP_PATH, get(dump::dump))
        .route(Kill::PATH, post(conns::kill))
        .route(SetListener::PATH, post(set_listener))
        .route(SetServer::PATH, post(set_server))
        .with_state(view)
}

/// What is done about a request, or why nothing is.
type Answer<R> = Result<Json<<R as Request>::Answer>, (StatusCode, String)>;

/// The request has no fields, so its body may be empty.
async fn drain(State(view): State<View>) -> Answer<Drain> {
    view.drain();
    Ok(Json(Draining { draining: true, open: view.open(), schema: SCHEMA }))
}

async fn set_listener(
    State(view): State<View>,
    Json(request): Json<SetListener>,
) -> Answer<SetListener> {
    let SetListener { listener, paused } = request;
    let state = view.set_paused(&listener, paused).await.map_err(refusal)?;
    view.forget_reading();
    Ok(Json(ListenerState { listener, schema: SCHEMA, state }))
}

async fn set_server(State(view): State<View>, Json(request): Json<SetServer>) -> Answer<SetServer> {
    let SetServer { server: name, share } = request;
    if let Share::Weight(weight) = share
        && weight > MAX_WEIGHT
    {
        let words = format!("weight {weight}: must be 0 to {MAX_WEIGHT}");
        return Err((StatusCode::BAD_REQUEST, words));
    }
    let server = view.set_share(&name, share).await.map_err(refusal)?;
    let (open, weight) = (server.open(), server.weight());
    view.forget_reading();
    let state = if weight > 0 { Receiving::Ready } else { Receiving::Draining };
    Ok(Json(ServerState { open, schema: SCHEMA, server: name, state, weight }))
}

fn refusal(error: SteerError) -> (StatusCode, String) {
    let status = match error {
        SteerError::Unknown(_) => StatusCode::NOT_FOUND,
        SteerError::Draining => StatusCode::CONFLICT,
    };
    (status, error.to_string())
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
        let door = AdminDoor::open(&at(path.clone(), 0o620), directory.path());
        let door = door.expect("a dead one is replaced").expect("it is not off");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o620);
        let error = AdminDoor::open(&at(path.clone(), 0o600), directory.path());
        assert!(error.expect_err("it is taken").to_string().contains("another process listens"));
        drop(door);
        assert!(!path.exists());
        fs::write(&path, "").expect("a file");
        let error = AdminDoor::open(&at(path, 0o600), directory.path());
        assert!(error.expect_err("a file").to_string().contains("no socket"));
    }

    #[test]
    fn an_auto_socket_names_its_process_and_clears_what_the_dead_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let dead = auto_path(directory.path(), 1);
        drop(StdListener::bind(&dead).expect("a socket"));
        let door = AdminDoor::open(&Admin::default(), directory.path()).expect("it is free");
        let found = sockets_in(directory.path()).expect("it is readable");
        assert_eq!(
            found.iter().map(|path| pid_of(path)).collect::<Vec<_>>(),
            [Some(std::process::id())]
        );
        drop(door);
        assert!(sockets_in(directory.path()).expect("it is readable").is_empty());
    }

    #[test]
    fn a_group_is_found_by_name_and_number() {
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("1234"), Some(1234));
        assert_eq!(group_id("no such group"), None);
    }
}
