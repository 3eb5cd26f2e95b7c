//! Changes while the gateway runs: listeners that pause, servers that get no new connections.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use tokio::sync::MutexGuard;
use tokio::time::{sleep, timeout};

use super::refusal::{Answer, Refusal, conflict, unknown, wrong};
use crate::api::steer::{
    Accepting, ListenerState, Receiving, ServerState, SetListener, SetServer, Share,
};
use crate::api::{Request, SCHEMA, patience};
use crate::base::ListenerId;
use crate::config::MAX_WEIGHT;
use crate::control::drains::{Drain, Of};
use crate::control::handle::POLL;
use crate::control::state::{ControlState, Stage, View};
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::topology::Server;
use crate::upstream::AdminState;
use crate::worker::{Order, Part};

pub(super) fn routes() -> Router<ControlState> {
    Router::new()
        .route(SetListener::PATH, post(set_listener))
        .route(SetServer::PATH, post(set_server))
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
    if !paused {
        refuse_while_it_drains(&state, &[Part::Listener(id)])?;
    }
    pause(&state, &view, id, paused).await;
    state.forget_reading();
    Ok(Json(ListenerState { listener: name, schema: SCHEMA, state: view.accepting(id) }))
}

/// Pauses a listener or resumes it, and waits a bounded time until the workers have carried it out.
/// Says whether that was a change.
pub(super) async fn pause(state: &ControlState, view: &View, id: ListenerId, paused: bool) -> bool {
    let is_change = view.set_paused(id, paused);
    if is_change {
        let order = if paused { Order::Pause } else { Order::Resume };
        state.workers().iter().for_each(|worker| worker.order(order(id)));
        let words = if paused { "paused; its clients wait in the backlog" } else { "resumed" };
        let name = &view.topology.listeners[id].name;
        state.tell(Severity::Info, &format!("listener/{name}"), words);
    }
    let carried_out = async {
        while !matches!(view.accepting(id), Accepting::Open | Accepting::Paused) {
            sleep(POLL).await;
        }
    };
    // Whether the workers have carried it out is for the caller to see.
    let _ = timeout(patience::CHANGE, carried_out).await;
    is_change
}

/// What drains gets no new connections before its drain is cancelled.
fn refuse_while_it_drains(state: &ControlState, parts: &[Part]) -> Result<(), Refusal> {
    let is_whole = |of| matches!(of, Of::Part(part, 100) if parts.contains(&part));
    match state.drains().find(is_whole) {
        Some(Drain { name, .. }) => Err(conflict(format!(
            "{name} drains: `portcullis drain {name} --cancel` ends that, and lets new connections \
             in again"
        ))),
        None => Ok(()),
    }
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
    let Server { upstream, standing, .. } = &**view.topology.servers.get(id).expect("it is there");
    if matches!(share, Share::Ready) {
        refuse_while_it_drains(&state, &[Part::Server(id), Part::Upstream(*upstream)])?;
    }
    let before = (standing.admin(), standing.weight());
    match share {
        Share::Drain => standing.set_admin(AdminState::Drain),
        Share::Maintenance => standing.set_admin(AdminState::Maintenance),
        Share::Weight(weight) => standing.set_weight(weight),
        Share::Ready => {
            standing.set_admin(AdminState::Ready);
            if standing.weight() == 0 {
                standing.restore_weight();
            }
        }
    }
    let (admin, weight, open) = (standing.admin(), standing.weight(), standing.open());
    if before != (admin, weight) {
        let has = count(open.into(), "connection");
        let words = match admin {
            AdminState::Ready if weight > 0 && weight == before.1 => {
                format!("gets new connections, weight {weight}")
            }
            AdminState::Ready if weight > 0 => {
                format!("gets new connections, weight {weight} after {}", before.1)
            }
            AdminState::Ready => format!("has the weight 0: it gets no new connections, has {has}"),
            AdminState::Drain => format!("drains: it gets no new connections, has {has}"),
            AdminState::Maintenance => format!("is in maintenance, has {has}"),
        };
        state.tell(Severity::Info, &format!("server/{name}"), &words);
    }
    state.forget_reading();
    Ok(Json(ServerState { open, schema: SCHEMA, server: name, state: admin.into(), weight }))
}

impl From<AdminState> for Receiving {
    fn from(admin: AdminState) -> Receiving {
        match admin {
            AdminState::Ready => Receiving::Ready,
            AdminState::Drain => Receiving::Draining,
            AdminState::Maintenance => Receiving::Maintenance,
        }
    }
}

/// Waits until no other change is under way.
pub(super) async fn begin_change(state: &ControlState) -> Result<MutexGuard<'_, ()>, Refusal> {
    let change = state.begin_change().await;
    if state.stage() == Stage::Draining {
        return Err(conflict(
            "the gateway drains and takes no such order: say it to the one that comes after it, or \
             after `portcullis drain --cancel`",
        ));
    }
    Ok(change)
}
