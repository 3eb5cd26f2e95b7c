//! Changes while the gateway runs: its end, listeners that pause, servers that drain.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use tokio::sync::MutexGuard;
use tokio::time::{sleep, timeout};

use super::refusal::{Answer, Refusal, conflict, unknown, wrong};
use crate::api::steer::{
    Accepting, Drain, Draining, ListenerState, Receiving, ServerState, SetListener, SetServer,
    Share,
};
use crate::api::{Request, SCHEMA, patience};
use crate::config::MAX_WEIGHT;
use crate::control::handle::POLL;
use crate::control::state::{ControlState, Stage};
use crate::worker::Order;

pub(super) fn routes() -> Router<ControlState> {
    Router::new()
        .route(Drain::PATH, post(drain))
        .route(SetListener::PATH, post(set_listener))
        .route(SetServer::PATH, post(set_server))
}

/// The request has no fields, so its body may be empty.
async fn drain(State(state): State<ControlState>) -> Answer<Drain> {
    state.drain();
    Ok(Json(Draining { draining: true, open: state.open(), schema: SCHEMA }))
}

/// Pauses a listener or resumes it, and says how far that has come.
async fn set_listener(
    State(state): State<ControlState>,
    Json(request): Json<SetListener>,
) -> Answer<SetListener> {
    let SetListener { listener: name, paused } = request;
    let _change = begin_change(&state).await?;
    // No other topology comes while the change is held.
    let view = state.view();
    let id = view.names.listener(&name).map_err(unknown)?;
    if view.set_paused(id, paused) {
        let order = if paused { Order::Pause } else { Order::Resume };
        state.workers().iter().for_each(|worker| worker.order(order(id)));
        match paused {
            true => tracing::info!(listener = name, "paused; its clients wait in the backlog"),
            false => tracing::info!(listener = name, "resumed"),
        }
    }
    let carried_out = async {
        while !matches!(view.accepting(id), Accepting::Open | Accepting::Paused) {
            sleep(POLL).await;
        }
    };
    // Whether the workers have carried it out is in the answer.
    let _ = timeout(patience::CHANGE, carried_out).await;
    state.forget_reading();
    Ok(Json(ListenerState { listener: name, schema: SCHEMA, state: view.accepting(id) }))
}

/// Changes the share of new connections that a server gets. Connections that it has stay.
async fn set_server(
    State(state): State<ControlState>,
    Json(request): Json<SetServer>,
) -> Answer<SetServer> {
    let SetServer { server: name, share } = request;
    if let Share::Weight(weight) = share
        && weight > MAX_WEIGHT
    {
        return Err(wrong(format!("weight {weight}: must be 0 to {MAX_WEIGHT}")));
    }
    let _change = begin_change(&state).await?;
    let view = state.view();
    let id = view.names.server(&name).map_err(unknown)?;
    let (servers, place) = view.among_servers(id);
    let before = servers.weight(place);
    match share {
        Share::Drain => servers.set_weight(place, 0),
        Share::Ready if before > 0 => {}
        Share::Ready => servers.restore_weight(place),
        Share::Weight(weight) => servers.set_weight(place, weight),
    }
    let (weight, open) = (servers.weight(place), servers.open(place));
    match (before, weight) {
        (before, after) if before == after => {}
        (_, 0) => tracing::info!(server = name, connections = open, "drains: it gets no new ones"),
        _ => tracing::info!(server = name, weight, "gets new connections"),
    }
    state.forget_reading();
    let receiving = if weight > 0 { Receiving::Ready } else { Receiving::Draining };
    Ok(Json(ServerState { open, schema: SCHEMA, server: name, state: receiving, weight }))
}

/// Waits until no other change is under way.
pub(super) async fn begin_change(state: &ControlState) -> Result<MutexGuard<'_, ()>, Refusal> {
    let change = state.begin_change().await;
    if state.stage() == Stage::Draining {
        return Err(conflict(
            "the gateway drains and takes no such order; it serves whom it has until it ends: say \
             it to the one that comes after it",
        ));
    }
    Ok(change)
}
