//! The status server, for clients in allowed networks: health, metrics, the status.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ipnet::IpNet;
use nix::sys::stat::fstat;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::hosts::Hosts;
use super::{events, http, page};
use crate::api::history::AskHistory;
use crate::api::{Request as _, STATUS_PATH, patience};
use crate::base::errno_of;
use crate::config::Status;
use crate::control::asker::Asker;
use crate::control::state::{ControlState, Stage};
use crate::control::verbs::{history, status};
use crate::host::holders::listening_on;
use crate::listener::remedy;
use crate::metrics::Format;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// The answer to every request from an address that is not allowed.
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 48\r\n\r\n\
    this address is not in a network of status.allow";
/// How long that may take.
const FORBIDDEN_WAIT: Duration = Duration::from_secs(1);

/// Why the status server has no socket.
#[derive(Debug)]
pub struct StatusError {
    /// The address that it was to have.
    pub bind: SocketAddr,
    /// The kernel's error.
    pub error: io::Error,
}

impl fmt::Display for StatusError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StatusError { bind, error } = self;
        let remedy = remedy(errno_of(error), *bind);
        write!(
            out,
            "status.bind = \"{bind}\": {error}: {remedy}; or write another address, or \"off\""
        )
    }
}

impl std::error::Error for StatusError {}

/// The status server's socket. Who may ask is in the config that runs.
#[derive(Debug)]
pub struct StatusEndpoint {
    listener: std::net::TcpListener,
}

impl StatusEndpoint {
    /// Listens where the config says, or nowhere. Where nobody chose the address, one that is taken
    /// is only warned about.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn open(status: &Status) -> Result<Option<StatusEndpoint>, StatusError> {
        let Some(bind) = status.bind else { return Ok(None) };
        let listener = match listen(bind, false) {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && bind == Status::BIND => {
                tracing::warn!(
                    address = %bind,
                    "no status server: the address is taken, perhaps by another gateway; write \
                     another status.bind, or \"off\""
                );
                return Ok(None);
            }
            Err(error) => return Err(StatusError { bind, error }),
        };
        StatusEndpoint::on(listener).map(Some).map_err(|error| StatusError { bind, error })
    }

    /// Listens on an address beside the one that is to be left, which may be a part of it, or it
    /// of that one.
    ///
    /// # Errors
    /// When the address cannot be listened on, also because it is taken.
    pub(super) fn open_beside(
        bind: SocketAddr,
        left: Option<&std::net::TcpListener>,
    ) -> Result<StatusEndpoint, StatusError> {
        let listener = match (listen(bind, false), left) {
            (Err(error), Some(left)) if error.kind() == io::ErrorKind::AddrInUse => {
                listen_beside(bind, left).unwrap_or(Err(error))
            }
            (listener, _) => listener,
        };
        listener.and_then(StatusEndpoint::on).map_err(|error| StatusError { bind, error })
    }

    /// Listens where a predecessor does, with its socket.
    ///
    /// # Errors
    /// When the kernel refuses that.
    pub(super) fn on(listener: std::net::TcpListener) -> io::Result<StatusEndpoint> {
        listener.set_nonblocking(true)?;
        tracing::info!(address = %listener.local_addr()?, "status");
        Ok(StatusEndpoint { listener })
    }

    /// Its passive socket, once more: while that is open, too, clients may come.
    pub(super) fn socket(&self) -> io::Result<std::net::TcpListener> {
        self.listener.try_clone()
    }

    /// Answers until the runtime ends.
    pub(super) async fn serve(self, state: ControlState) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let accept = async || -> io::Result<Option<(TcpStream, Option<Asker>)>> {
            let (stream, peer) = listener.accept().await?;
            if is_allowed(&state.view().config.status.allow, peer) {
                return Ok(Some((stream, None)));
            }
            turn_away(stream).await;
            Ok(None)
        };
        let bounds = (Status::CONNECTIONS, patience::CONNECTION);
        http::serve(accept, routes(state.clone()), bounds).await;
        Ok(())
    }
}

/// Listens beside the socket that is to be left, though the addresses overlap: for this moment both
/// share their port (SO_REUSEPORT). `None`: somebody else listens there, too.
fn listen_beside(
    address: SocketAddr,
    left: &std::net::TcpListener,
) -> Option<io::Result<std::net::TcpListener>> {
    let own = fstat(left).ok()?.st_ino;
    if listening_on(address).iter().any(|one| one.inode != own) {
        return None;
    }
    let share =
        |socket: &std::net::TcpListener, shares| SockRef::from(socket).set_reuse_port(shares);
    let shared = || {
        share(left, true)?;
        let listener = listen(address, true)?;
        share(&listener, false)?;
        Ok(listener)
    };
    let listener = shared();
    share(left, false).ok()?;
    Some(listener)
}

fn listen(address: SocketAddr, shares: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // As for listeners: [::] is IPv6 only.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Every route; all of them only read. Probes are answered under every name: they say nothing that
/// a stranger could use.
fn routes(state: ControlState) -> Router {
    let places = events::places();
    let asked = state.clone();
    Router::new()
        .route("/", get(page))
        .route("/events", get(move |state| events::stream(state, places)))
        .route("/metrics", get(metrics))
        .route(STATUS_PATH, get(status))
        .route(AskHistory::PATH, get(history))
        .route_layer(from_fn(move |request, next| named(asked.clone(), request, next)))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(state)
}

/// Answers a request that gives the host one of its names.
async fn named(state: ControlState, request: Request, next: Next) -> Response {
    let hosts = Hosts::new(&state.view().config.status.hosts);
    match hosts.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(words) => (StatusCode::FORBIDDEN, words).into_response(),
    }
}

/// 200 while every worker turns: otherwise the process should be restarted.
async fn health(State(state): State<ControlState>) -> (StatusCode, String) {
    match state.stalled().next() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some((worker, silent)) => {
            let words = format!("worker {worker} has not turned for {} s\n", silent.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, words)
        }
    }
}

/// 200 while clients should be sent here.
async fn readiness(State(state): State<ControlState>) -> (StatusCode, String) {
    match state.stage() {
        Stage::Ready => health(State(state)).await,
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
    }
}

/// The exposition, in the format that the scraper prefers.
async fn metrics(State(state): State<ControlState>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    ([(header::CONTENT_TYPE, format.content_type())], state.exposition(format))
}

/// Everything, for people.
async fn page(State(state): State<ControlState>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page::render(&state.reading()))
}

fn is_allowed(allow: &[IpNet], peer: SocketAddr) -> bool {
    let ip = match peer.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    allow.iter().any(|network| network.contains(&ip))
}

/// Tells a stranger so; a stranger who does not listen is gone with the next one at the latest.
async fn turn_away(mut stream: TcpStream) {
    let words = async {
        stream.write_all(FORBIDDEN).await?;
        stream.shutdown().await
    };
    let _ = timeout(FORBIDDEN_WAIT, words).await;
}
