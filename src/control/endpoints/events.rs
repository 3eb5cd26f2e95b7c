//! A reading each second as server-sent events, for as long as a connection may last.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::api::patience;
use crate::control::state::ControlState;

/// Streams at one time.
const STREAMS: usize = 8;
/// Between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// What a stream may last: half of what its connection may, which may be older, so that it ends in
/// order.
const LIFE: Duration = Duration::from_secs(patience::CONNECTION.as_secs() / 2);
/// Tells the client to come again at once, in milliseconds, when a stream has ended.
const AGAIN: &str = "retry: 500\n\n";

/// The places of an endpoint's streams.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(STREAMS))
}

/// A stream, or the word that there is no place for another.
pub(super) async fn stream(State(state): State<ControlState>, places: Arc<Semaphore>) -> Response {
    let Ok(place) = places.try_acquire_owned() else {
        let words = format!("{STREAMS} streams are open already; ask for /status.json\n");
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    };
    // One frame waits at most: who reads slowly gets fewer readings, not old ones.
    let (sender, body) = Channel::<Bytes>::new(1);
    tokio::task::spawn_local(send(state, sender, place));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // The next stream gets a connection with a whole life before it.
        (header::CONNECTION, "close"),
    ];
    (headers, Body::new(body)).into_response()
}

/// Until the time is over or nobody listens.
async fn send(state: ControlState, mut sender: Sender<Bytes>, _place: OwnedSemaphorePermit) {
    let end = state.now().after(LIFE);
    let mut every = interval(PERIOD);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = AGAIN;
    while state.now() < end {
        every.tick().await;
        let reading = serde_json::to_string(&*state.reading()).expect("a reading is plain data");
        let event = format!("{before}data: {reading}\n\n");
        before = "";
        // A client that does not read keeps its place no longer than the others.
        let left = end.since(state.now());
        if !matches!(timeout(left, sender.send_data(event.into())).await, Ok(Ok(()))) {
            return;
        }
    }
}
