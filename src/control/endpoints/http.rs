//! HTTP/1.1 with everything bounded: connections, requests, times, heads and bodies.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::places::{Asking, Place, Places};
use crate::control::asker::{self, Asker};

/// From a connection's start, or an answer's end, to the end of the next request's head.
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// A request's head, and what is read of a body at one time.
const HEAD_BYTES: usize = 16 << 10;
/// A request's body.
const BODY_BYTES: usize = 64 << 10;
/// Requests begun per second, over all connections of an endpoint: more wait. What they cost is
/// taken from the cores that the workers run on.
const REQUESTS_PER_SECOND: u32 = 100;
/// Requests that may come at once after a quiet time.
const REQUESTS_AT_ONCE: usize = 50;
/// How long to wait after an accept failed for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Paces requests: permits that come back steadily, and no clock while all are there.
struct Pace {
    permits: Semaphore,
    refills: AtomicBool,
}

impl Pace {
    fn new() -> Arc<Pace> {
        Arc::new(Pace { permits: Semaphore::new(REQUESTS_AT_ONCE), refills: false.into() })
    }

    /// Waits for a request's turn, in the order of their coming.
    async fn turn(self: Arc<Pace>) {
        self.permits.acquire().await.expect("it is never closed").forget();
        if !self.refills.swap(true, Ordering::Relaxed) {
            tokio::task::spawn_local(self.refill());
        }
    }

    async fn refill(self: Arc<Pace>) {
        let mut every = interval(Duration::from_secs(1) / REQUESTS_PER_SECOND);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        every.tick().await;
        while self.permits.available_permits() < REQUESTS_AT_ONCE {
            every.tick().await;
            self.permits.add_permits(1);
        }
        self.refills.store(false, Ordering::Relaxed);
    }
}

/// Requests that nothing delays: what they say decides whether a service manager lets the process
/// live, and it costs little.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Answers clients that `accept` brings, each with who it is if that is known, with `router`, at
/// most `connections` at a time, each for so long: beyond that, one leaves for the next. Never
/// returns.
pub(super) async fn serve<S, A>(
    mut accept: impl FnMut() -> A,
    router: Router,
    (connections, life): (usize, Duration),
) where
    A: Future<Output = std::io::Result<Option<(S, Option<Asker>)>>>,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let pace = Pace::new();
    let router = router.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(axum::middleware::from_fn(
        move |request: axum::extract::Request, next: axum::middleware::Next| {
            let turn = (!PROBES.contains(&request.uri().path())).then(|| pace.clone().turn());
            async move {
                if let Some(turn) = turn {
                    turn.await;
                }
                next.run(request).await
            }
        },
    ));
    let places = Places::new(connections);
    loop {
        match accept().await {
            Ok(Some(client)) => {
                let (place, leaves) = places.take().await;
                tokio::task::spawn_local(converse(client, router.clone(), (place, life), leaves));
                // The connections that are there read what they have before the next one comes.
                tokio::task::yield_now().await;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the control plane cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one client until it goes, its time is over, or it must leave.
async fn converse<S>(
    (stream, asker): (S, Option<Asker>),
    router: Router,
    (place, life): (Place, Duration),
    leaves: oneshot::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let asking = place.ask();
        let answer = routes.call(request.map(Body::new));
        let answer = asker::with(asker.clone(), answer);
        async { answer.await.map(|answer| until_sent(answer, asking)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client's mistake, or its patience, is its own affair.
        _ = timeout(life, connection) => {}
        _ = leaves => tracing::debug!("a connection to the control plane leaves for another"),
    }
}

/// The answer, which holds `asking` until its body is handed to the socket.
fn until_sent(answer: Response, asking: Asking) -> Response {
    answer.map(|body| {
        // Of the adapters of a body, this one keeps the body's length.
        Body::new(body.map_err(move |error| {
            let _ = &asking;
            error
        }))
    })
}
