//! The admin socket from outside: finds the gateway, asks it, takes its answer.

mod candidate;
mod error;
mod find;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::Uid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

pub use candidate::{Candidate, Looked};
pub use error::ClientError;
pub use find::Choice;

use crate::api;
use crate::api::conns::{Kill, Killed};
use crate::api::patience;
use crate::host::directory::trusted_users;
use crate::metrics::reading::{self, Identity, Reading};

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
    /// For one answer.
    patience: Duration,
    /// Which gateway it is, by its first answer.
    identity: OnceLock<Identity>,
}

impl Client {
    /// The gateway whose admin socket is at `path`.
    fn at(path: PathBuf) -> Client {
        Client { path, patience: patience::CLIENT, identity: OnceLock::new() }
    }

    /// The same for one question among others, which do not wait for long.
    fn hurried(&self) -> Client {
        Client { patience: patience::SURVEY, ..self.clone() }
    }

    /// The same for a request that may take minutes.
    pub fn patient(&self) -> Client {
        Client { patience: patience::UPGRADE, ..self.clone() }
    }

    /// Which gateway it is, once it has answered.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.get().cloned()
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
            tokio::time::timeout(self.patience, self.converse(method, target, body))
                .await
                .map_err(|_| self.broken(format!("within {} s", self.patience.as_secs())))?
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
            let identity = answer.headers().get(api::IDENTITY_HEADER);
            let identity = identity.and_then(|it| serde_json::from_slice(it.as_bytes()).ok());
            Ok((status, identity, answer.into_body().collect().await?.to_bytes()))
        };
        // The connection is driven beside it, and ends when the exchange has dropped the sender.
        let both = async { tokio::join!(exchange, connection).0 };
        let (status, identity, text) =
            both.await.map_err(|error: hyper::Error| self.broken(error))?;
        if let Some(identity) = identity {
            let _ = self.identity.set(identity);
        }
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
