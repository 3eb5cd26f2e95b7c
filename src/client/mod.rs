//! The admin socket from outside: finds the gateway, asks it, takes its answer.

mod error;

use std::fmt;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

pub use error::ClientError;

use crate::api;
use crate::api::conns::{Kill, Killed};
use crate::api::patience;
use crate::host::directory::{candidates, distrusted, trusted_users};
use crate::host::socket_file::{is_living, pid_of, sockets_in};
use crate::metrics::reading::{self, Reading};

/// The outcome of a kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KillOutcome {
    /// The reason why it stopped before all were ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Over all requests that it took.
    #[serde(flatten)]
    pub killed: Killed,
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

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// When there is no answer, it is no, or the gateway is of another version than is understood.
    pub fn ask<R: api::Request>(&self, request: &R) -> Result<R::Answer, ClientError> {
        self.understood(self.document(request)?, api::SCHEMA)
    }

    /// Asks, and returns the answer as it came.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub fn document<R: api::Request>(&self, request: &R) -> Result<Value, ClientError> {
        let text = match R::METHOD {
            api::Method::Get => {
                let query =
                    serde_urlencoded::to_string(request).map_err(|error| self.broken(error))?;
                self.answer(Method::GET, &format!("{}?{query}", R::PATH), String::new())
            }
            api::Method::Post => {
                let body = serde_json::to_string(request).map_err(|error| self.broken(error))?;
                self.answer(Method::POST, R::PATH, body)
            }
        };
        self.parsed(&text?)
    }

    /// A reading of the gateway.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn reading(&self) -> Result<Reading, ClientError> {
        self.understood(self.status()?, reading::SCHEMA)
    }

    /// The status document, as it came.
    ///
    /// # Errors
    /// As [`Client::document`].
    pub fn status(&self) -> Result<Value, ClientError> {
        self.parsed(&self.answer(Method::GET, api::STATUS_PATH, String::new())?)
    }

    /// Asks for the text for a bug report.
    ///
    /// # Errors
    /// As [`Client::document`].
    pub fn dump(&self) -> Result<String, ClientError> {
        let text = self.answer(Method::GET, api::DUMP_PATH, String::new())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Asks for the end of connections. An answer ends a bounded number: where many are confirmed,
    /// again and again until as many were ended as matched at first. When one of the later requests
    /// fails, the outcome says what came before it, and has an `error`.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn kill(&self, request: &Kill) -> Result<KillOutcome, ClientError> {
        let mut all = self.ask(request)?;
        while request.yes && all.killed < all.matched && all.left > 0 {
            let more = match self.ask(request) {
                Ok(more) => more,
                Err(error) => {
                    return Ok(KillOutcome { error: Some(error.to_string()), killed: all });
                }
            };
            if more.killed == 0 {
                break;
            }
            all.killed += more.killed;
            all.left = more.left;
        }
        Ok(KillOutcome { error: None, killed: all })
    }

    fn parsed(&self, text: &[u8]) -> Result<Value, ClientError> {
        serde_json::from_slice(text).map_err(|error| self.broken(error))
    }

    fn understood<T: DeserializeOwned>(
        &self,
        answer: Value,
        schema: u32,
    ) -> Result<T, ClientError> {
        let unknown = |because| ClientError::Shape(self.path.clone(), because);
        if answer["schema"] != schema {
            return Err(unknown(format!("schema {}, not {schema}", answer["schema"])));
        }
        serde_json::from_value(answer).map_err(|error| unknown(error.to_string()))
    }

    fn answer(&self, method: Method, target: &str, body: String) -> Result<Bytes, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.broken(error))?;
        runtime.block_on(async {
            tokio::time::timeout(patience::CLIENT, self.converse(method, target, body))
                .await
                .map_err(|_| self.broken(format!("within {} s", patience::CLIENT.as_secs())))?
        })
    }

    async fn converse(
        &self,
        method: Method,
        target: &str,
        body: String,
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
            .body(Full::new(Bytes::from(body)))
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
