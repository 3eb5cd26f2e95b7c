//! One member of an etcd cluster, asked over a connection.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;

use data_encoding::BASE64;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::keys::KEYS_MAX;
use super::message::{Failure, Line, Range, Watched};
use crate::discovery::dns::Dns;
use crate::discovery::host::Host;
use crate::discovery::{Bad, Outcome};

/// The longest answer that is read, and the longest line of a watch; 65,535 servers take 12 MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// As much of an error as is passed on.
const ERROR_BYTES_MAX: usize = 300;

/// A connection to a member.
pub(super) struct Member {
    endpoint: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Member {
    /// Connects to the first of its addresses that answers. The connection works while the future
    /// is polled, which never ends.
    pub(super) async fn connect(
        endpoint: &str,
        addresses: &[SocketAddr],
    ) -> Result<(Member, impl Future<Output = Infallible>), Bad> {
        let stream = TcpStream::connect(addresses).await.map_err(Bad::failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = async {
            // An error of the connection is one of the request as well.
            let _ = connection.await;
            std::future::pending().await
        };
        Ok((Member { endpoint: endpoint.to_owned(), sender }, connection))
    }

    /// All keys that begin with `prefix`, or one more than there may be.
    pub(super) async fn range(&mut self, prefix: &str) -> Result<Range, Bad> {
        let mut asked = keys_from(prefix);
        asked["limit"] = (KEYS_MAX + 1).into();
        parsed(&whole(self.ask("/v3/kv/range", &asked).await?).await?)
    }

    /// Changes of these keys, from a revision on.
    pub(super) async fn watch(mut self, prefix: &str, revision: i64) -> Result<Watch, Bad> {
        let mut asked = keys_from(prefix);
        asked["start_revision"] = revision.to_string().into();
        let body = self.ask("/v3/watch", &json!({ "create_request": asked })).await?;
        Ok(Watch { _member: self, body, read: Vec::new(), searched_bytes: 0 })
    }

    async fn ask(&mut self, path: &str, asked: &Value) -> Result<Incoming, Bad> {
        let request = Request::post(path)
            .header("host", &self.endpoint)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(asked.to_string())))
            .map_err(Bad::failed)?;
        let answer = self.sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer.into_body());
        }
        let text = whole(answer.into_body()).await?;
        let words = match serde_json::from_slice(&text) {
            Ok(Failure { message }) if !message.is_empty() => message,
            _ => String::from_utf8_lossy(&text).into_owned(),
        };
        let words: String = words.trim().chars().take(ERROR_BYTES_MAX).collect();
        let hint = match status {
            StatusCode::NOT_FOUND => "; etcd answers JSON below /v3 from version 3.4 on",
            _ => "",
        };
        Err(Bad::failed(format!("{path}: {status}: {words:?}{hint}")))
    }
}

/// A stream of changes.
pub(super) struct Watch {
    /// A connection ends with the last one that can ask over it.
    _member: Member,
    body: Incoming,
    read: Vec<u8>,
    /// So many bytes of what was read have no end of a line.
    searched_bytes: usize,
}

impl Watch {
    /// The next answer. A call that is given up loses nothing.
    pub(super) async fn next(&mut self) -> Result<Watched, Bad> {
        loop {
            while let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return match parsed(&line)? {
                    Line::Result(answer) => Ok(answer),
                    Line::Error(Failure { message }) => Err(Bad::failed(message)),
                };
            }
            if self.read.len() > ANSWER_BYTES_MAX {
                return Err(too_large());
            }
            let Some(frame) = self.body.frame().await else {
                return Err(Bad::failed("it ended the watch"));
            };
            if let Ok(bytes) = frame.map_err(failed)?.into_data() {
                self.read.extend_from_slice(&bytes);
            }
        }
    }

    /// Takes a line out of what was read.
    fn line(&mut self) -> Option<Vec<u8>> {
        let found = self.read[self.searched_bytes..].iter().position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.searched_bytes = self.read.len();
            return None;
        };
        let end = self.searched_bytes + at + 1;
        self.searched_bytes = 0;
        Some(self.read.drain(..end).collect())
    }
}

/// The addresses of `HOST:PORT`, at least one, within the times of the resolver. tokio's own way
/// from a name to an address is a thread of the pool, which the end of the gateway waits for.
pub(super) async fn addresses(endpoint: &str, dns: &Dns) -> Result<Vec<SocketAddr>, Bad> {
    if let Ok(address) = endpoint.parse() {
        return Ok(vec![address]);
    }
    let place = endpoint.rsplit_once(':');
    let place = place.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = place.expect("the config has no other endpoint");
    let mut known = Host::before(Vec::new());
    let taken = known.take(dns.addresses(host).await);
    let addresses = known.addresses();
    match taken {
        Err(bad) if addresses.is_empty() => Err(bad),
        // One family is enough.
        _ => Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
    }
}

/// The range of all keys that begin with `prefix`.
fn keys_from(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is the largest one.
    *end.last_mut().expect("a prefix is not empty") += 1;
    json!({ "key": BASE64.encode(prefix.as_bytes()), "range_end": BASE64.encode(&end) })
}

async fn whole(body: Incoming) -> Result<Bytes, Bad> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let whole = collected.map_err(|error| match error.is::<LengthLimitError>() {
        true => too_large(),
        false => Bad::failed(error),
    })?;
    Ok(whole.to_bytes())
}

fn too_large() -> Bad {
    Bad::new(Outcome::TooLarge, format!("an answer has more than {ANSWER_BYTES_MAX} bytes"))
}

fn parsed<T: DeserializeOwned>(text: &[u8]) -> Result<T, Bad> {
    serde_json::from_slice(text)
        .map_err(|error| Bad::failed(format!("an answer is not what etcd answers: {error}")))
}

/// hyper says little itself: the cause has the words.
fn failed(error: hyper::Error) -> Bad {
    match error.source() {
        Some(cause) => Bad::failed(format!("{error}: {cause}")),
        None => Bad::failed(error),
    }
}
