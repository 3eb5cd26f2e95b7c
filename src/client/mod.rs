//! The other end of the admin socket: finds the gateway, asks it, takes its answer.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::{Uid, User, geteuid};
use serde_json::Value;
use tokio::net::UnixStream;

use crate::host::directory::{candidates, distrusted, trusted_users};
use crate::host::socket_file::{is_living, pid_of, sockets_in};
use crate::metrics::{Reading, reading::SCHEMA};

/// How long a gateway may take to answer: longer than it waits for others and its workers, so that
/// it is the gateway that says what takes so long.
const PATIENCE: Duration = Duration::from_secs(40);

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No gateway has its socket in any of these directories, each with the reason why it was not
    /// looked into, if there is one.
    Nobody(Vec<(PathBuf, Option<String>)>),
    /// Several do.
    Many(Vec<PathBuf>),
    /// The socket cannot be used.
    Socket(PathBuf, io::Error),
    /// A user that is not to be trusted listens there.
    Stranger(PathBuf, u32),
    /// The conversation broke off.
    Broken(PathBuf, String),
    /// The gateway said no, in these words.
    Refused(String),
    /// The request is wrong: its words, or a name that this gateway does not have.
    Wrong(String),
    /// It answers in a shape that this program does not know.
    Shape(PathBuf, String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Nobody(directories) => {
                let all: Vec<_> =
                    directories.iter().map(|(one, _)| one.display().to_string()).collect();
                write!(
                    out,
                    "no gateway has an admin socket that this user can see in {}; name it by \
                     --admin PATH, or set RUNTIME_DIRECTORY as for the gateway",
                    all.join(" or ")
                )?;
                directories.iter().try_for_each(|(one, because)| match because {
                    Some(because) => write!(out, "\n  {} is passed over: {because}", one.display()),
                    None => Ok(()),
                })
            }
            ClientError::Many(paths) => {
                write!(out, "several gateways run; choose one:")?;
                paths.iter().try_for_each(|path| write!(out, "\n  --admin {}", path.display()))
            }
            ClientError::Socket(path, error) => {
                let path = path.display();
                match error.kind() {
                    io::ErrorKind::PermissionDenied => write!(
                        out,
                        "{path}: {error}; be the gateway's user or in its admin.group, as \
                         admin.mode allows"
                    ),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        write!(out, "{path}: {error}; no gateway runs there")
                    }
                    _ => write!(out, "{path}: {error}"),
                }
            }
            ClientError::Stranger(path, uid) => {
                let name = User::from_uid(Uid::from_raw(*uid)).ok().flatten();
                let user = name.map_or(format!("#{uid}"), |user| user.name);
                write!(
                    out,
                    "{}: the process that listens there runs as uid {uid}, not as root or uid {}; \
                     if it is your gateway, ask it as its user: sudo -u {user} portcullis ...",
                    path.display(),
                    geteuid()
                )
            }
            ClientError::Broken(path, because) => {
                write!(out, "{}: the gateway did not answer: {because}", path.display())
            }
            ClientError::Shape(path, because) => write!(
                out,
                "{}: the gateway's answer is not understood ({because}); use the program of the \
                 gateway's own version",
                path.display()
            ),
            ClientError::Refused(words) | ClientError::Wrong(words) => {
                write!(out, "{}", words.trim_end())
            }
        }
    }
}

impl std::error::Error for ClientError {}

impl ClientError {
    /// Whether the command line must change before there can be an answer.
    pub fn is_usage(&self) -> bool {
        matches!(self, ClientError::Wrong(_) | ClientError::Many(_))
    }
}

/// A gateway's admin socket.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The gateway at `path`, or the only one in the runtime directories.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(path: Option<&Path>) -> Result<Client, ClientError> {
        if let Some(path) = path {
            return Ok(Client { path: path.to_owned() });
        }
        let mut directories = Vec::new();
        for directory in candidates() {
            let because = distrusted(&directory);
            directories.push((directory, because));
        }
        let trusted = directories.iter().filter(|(_, because)| because.is_none());
        // A directory that is not there, or not this user's to read, has nothing for this user.
        let found = trusted.flat_map(|(one, _)| sockets_in(one).unwrap_or_default());
        let mut living: Vec<PathBuf> = found.filter(|path| is_living(path)).collect();
        match living.len() {
            0 => Err(ClientError::Nobody(directories)),
            1 => Ok(Client { path: living.remove(0) }),
            _ => Err(ClientError::Many(living)),
        }
    }

    /// The pid in the socket's name, if it has one.
    pub fn pid(&self) -> Option<u32> {
        pid_of(&self.path)
    }

    /// Asks without a change.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub fn get(&self, target: &str) -> Result<Value, ClientError> {
        self.ask(Method::GET, target, None)
    }

    /// What the gateway says about itself now.
    ///
    /// # Errors
    /// As [`Client::get`], and when the gateway is of another version than is understood.
    pub fn reading(&self) -> Result<Reading, ClientError> {
        let answer = self.get("/status.json")?;
        let unknown = |because| ClientError::Shape(self.path.clone(), because);
        if answer["schema"] != SCHEMA {
            return Err(unknown(format!("schema {}, not {SCHEMA}", answer["schema"])));
        }
        serde_json::from_value(answer).map_err(|error| unknown(error.to_string()))
    }

    /// Asks for a text.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn text(&self, target: &str) -> Result<String, ClientError> {
        let text = self.answer(Method::GET, target, None)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Asks for connections.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn list(&self, filter: &str, sort: &str, limit: u32) -> Result<Value, ClientError> {
        let limit = limit.to_string();
        let parameters = [("filter", filter), ("sort", sort), ("limit", &limit)];
        let parameters =
            serde_urlencoded::to_string(parameters).map_err(|error| self.broken(error))?;
        self.get(&format!("/conns?{parameters}"))
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, target: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.ask(Method::POST, target, body)
    }

    /// Asks for the end of connections. An answer ends a bounded number: where many are confirmed,
    /// again and again until as many were ended as matched at first. When one of the later requests
    /// fails, the answer says what came before it, and has an `error`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn kill(&self, request: &Value) -> Result<Value, ClientError> {
        let mut all = self.post("/kill", Some(request))?;
        let number = |answer: &Value, key: &str| answer[key].as_u64().unwrap_or(0);
        let matched = number(&all, "matched");
        let mut killed = number(&all, "killed");
        let mut left = number(&all, "left");
        while request["yes"] == true && killed < matched && left > 0 {
            let more = match self.post("/kill", Some(request)) {
                Ok(more) => more,
                Err(error) => {
                    all["error"] = error.to_string().into();
                    break;
                }
            };
            if number(&more, "killed") == 0 {
                break;
            }
            killed += number(&more, "killed");
            left = number(&more, "left");
            all["killed"] = killed.into();
            all["left"] = left.into();
        }
        Ok(all)
    }

    fn ask(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let text = self.answer(method, target, body)?;
        serde_json::from_slice(&text).map_err(|error| self.broken(error))
    }

    fn answer(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.broken(error))?;
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.converse(method, target, body))
                .await
                .map_err(|_| self.broken(format!("within {} s", PATIENCE.as_secs())))?
        })
    }

    async fn converse(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| ClientError::Socket(self.path.clone(), error))?;
        let user = stream.peer_cred().map_err(|error| self.broken(error))?.uid();
        let directory = self.path.parent().unwrap_or(Path::new("."));
        if !trusted_users(directory).contains(&Uid::from_raw(user)) {
            return Err(ClientError::Stranger(self.path.clone(), user));
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "portcullis")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
            .map_err(|error| self.broken(error))?;
        let exchange = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        // The connection is driven beside it, and ends when the exchange has dropped the sender.
        let both = async { tokio::join!(exchange, connection).0 };
        let (status, text) = both.await.map_err(|error: hyper::Error| self.broken(error))?;
        if status == StatusCode::OK {
            return Ok(text);
        }
        let words = String::from_utf8_lossy(&text).into_owned();
        Err(match status {
            StatusCode::NOT_FOUND if words.is_empty() => {
                ClientError::Shape(self.path.clone(), "it does not know the request".to_owned())
            }
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => ClientError::Wrong(words),
            _ => ClientError::Refused(words),
        })
    }

    fn broken(&self, because: impl fmt::Display) -> ClientError {
        ClientError::Broken(self.path.clone(), because.to_string())
    }
}
