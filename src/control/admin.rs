//! The unix socket for what changes something: who may connect to it may do everything.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Group;
use serde::Deserialize;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::status::status;
use super::steer::{Share, SteerError};
use super::view::View;
use super::{conns, dump, http};
use crate::config::{Admin, AdminSocket, MAX_WEIGHT};

/// Connections at one time: operators and their scripts.
const CONNECTIONS: usize = 16;
/// Connections that may wait beyond those.
const BACKLOG: i32 = 64;
/// The version of every answer's shape.
pub const SCHEMA: u32 = 1;
/// How an "auto" socket's name begins and ends; the pid stands between.
const AUTO_NAME: (&str, &str) = ("admin-", ".sock");

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

/// A socket's file that is ours to remove.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode: what lies at the path later may be somebody else's.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn at(path: PathBuf) -> SocketFile {
        SocketFile { identity: identity(&path), path }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Where an "auto" socket of the process `pid` is.
fn auto_path(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!("{}{pid}{}", AUTO_NAME.0, AUTO_NAME.1))
}

/// The pid in the name of an "auto" socket.
pub fn pid_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(AUTO_NAME.0)?.strip_suffix(AUTO_NAME.1)?.parse().ok()
}

/// The "auto" sockets that lie in `directory`, living or left behind.
///
/// # Errors
/// When the directory cannot be read.
pub fn sockets_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| pid_of(p).is_some())
        .collect();
    found.sort_by_key(|path| pid_of(path));
    Ok(found)
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
        let _placing = lock_directory(&path).map_err(words)?;
        make_way(&path).map_err(failed)?;
        // Nobody can connect before it listens, and then it has its permissions and its place.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(words)?;
        let address = SockAddr::unix(&path).map_err(words)?;
        socket.bind(&address).map_err(words)?;
        let file = SocketFile::at(path.clone());
        fs::set_permissions(&path, fs::Permissions::from_mode(admin.mode)).map_err(words)?;
        if let Some(group) = &admin.group {
            let failed =
                |because: String| AdminError { key: "admin.group", value: group.clone(), because };
            let id = group_id(group).ok_or_else(|| {
                let remedy = "write one that `getent group` shows, or leave the key out";
                failed(format!("this host has no group of that name; {remedy}"))
            })?;
            chown(&path, None, Some(id)).map_err(|error| {
                let remedy = "only root or a member of a group gives it a file: add this user to \
                    it, or leave the key out";
                failed(format!("{error}; {remedy}"))
            })?;
        }
        socket.listen(BACKLOG).map_err(words)?;
        let listener = StdListener::from(socket);
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
        http::serve(accept, routes(view), CONNECTIONS).await;
        Ok(())
    }
}

/// Every route.
fn routes(view: View) -> Router {
    Router::new()
        .route("/drain", post(drain))
        .route("/status.json", get(status))
        .route("/conns", get(conns::list))
        .route("/dump", get(dump::dump))
        .route("/kill", post(conns::kill))
        .route("/listener", post(listener))
        .route("/server", post(server))
        .with_state(view)
}

/// What is done about a wish, or why nothing is.
type Answer = Result<Json<Value>, (StatusCode, String)>;

async fn drain(State(view): State<View>) -> Json<Value> {
    view.drain();
    Json(json!({ "schema": SCHEMA, "draining": true, "open": view.open() }))
}

/// What a listener is to do.
#[derive(Deserialize)]
struct ListenerWish {
    listener: String,
    paused: bool,
}

async fn listener(State(view): State<View>, Json(wish): Json<ListenerWish>) -> Answer {
    let state = view.set_paused(&wish.listener, wish.paused).await.map_err(refusal)?;
    view.forget_reading();
    let state = state.word();
    Ok(Json(json!({ "schema": SCHEMA, "listener": wish.listener, "state": state })))
}

/// What a server is to get.
#[derive(Deserialize)]
struct ServerWish {
    /// `UPSTREAM/NAME`.
    server: String,
    share: ShareWish,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ShareWish {
    Drain,
    Ready,
    Weight(u32),
}

async fn server(State(view): State<View>, Json(wish): Json<ServerWish>) -> Answer {
    let share = match wish.share {
        ShareWish::Drain => Share::Drain,
        ShareWish::Ready => Share::Ready,
        ShareWish::Weight(weight @ 0..=MAX_WEIGHT) => Share::Weight(weight),
        ShareWish::Weight(weight) => {
            let words = format!("weight {weight}: must be 0 to {MAX_WEIGHT}");
            return Err((StatusCode::BAD_REQUEST, words));
        }
    };
    let server = view.set_share(&wish.server, share).await.map_err(refusal)?;
    view.forget_reading();
    let weight = server.weight();
    Ok(Json(json!({
        "schema": SCHEMA,
        "server": wish.server,
        "state": if weight > 0 { "ready" } else { "draining" },
        "weight": weight,
        "open": server.open(),
    })))
}

fn refusal(error: SteerError) -> (StatusCode, String) {
    let status = match error {
        SteerError::Unknown(_) => StatusCode::NOT_FOUND,
        SteerError::Draining => StatusCode::CONFLICT,
    };
    (status, error.to_string())
}

/// Only one process at a time looks what lies in a directory and puts its socket there.
fn lock_directory(path: &Path) -> io::Result<Flock<fs::File>> {
    let directory = fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// Removes what a dead process left at `path`; says what is there otherwise.
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
        Ok(_) => fs::remove_file(path).map_err(|error| error.to_string()),
    }
}

/// Whether somebody listens at `path`. Never waits.
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

/// Removes the sockets that dead gateways left in the runtime directory.
fn clear(directory: &Path) {
    for path in sockets_in(directory).unwrap_or_default() {
        if !is_living(&path) {
            let _ = fs::remove_file(&path);
        }
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
    use super::*;

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
