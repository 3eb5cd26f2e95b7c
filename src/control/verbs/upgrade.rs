//! Upgrades: a successor process takes everything over.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};

use super::refusal::{Answer, conflict, wrong};
use crate::api::upgrade::{MOST_MILLIS, Upgrade, Upgraded};
use crate::api::{Request, SCHEMA};
use crate::control::asker::{self, Asker};
use crate::control::state::ControlState;
use crate::control::upgrade::carried_out;

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(Upgrade::PATH, post(upgrade))
}

/// An upgrade ends what it has begun, though the asker leaves.
async fn upgrade(
    State(state): State<ControlState>,
    Json(request): Json<Upgrade>,
) -> Answer<Upgrade> {
    if request.abort {
        return abort(&state);
    }
    let times = [request.probation_millis, request.timeout_millis];
    if let Some(millis) = times.into_iter().flatten().find(|millis| *millis > MOST_MILLIS) {
        return Err(wrong(format!("{millis} ms: must be {MOST_MILLIS} at most")));
    }
    let task = tokio::task::spawn_local(asker::carry(carried_out(state, request)));
    task.await.map_err(conflict)?.map(Json).map_err(conflict)
}

fn abort(state: &ControlState) -> Answer<Upgrade> {
    if !state.abort_upgrade("an operator aborted it") {
        return Err(conflict("no upgrade is under way"));
    }
    Ok(Json(Upgraded {
        pid: std::process::id(),
        schema: SCHEMA,
        words: "the upgrade is taken back".to_owned(),
        ..Upgraded::default()
    }))
}

/// SIGUSR2.
pub(in crate::control) fn by_signal(state: &ControlState) {
    let state = state.clone();
    let upgrade = async move {
        // How it came out, the log has.
        if let Err(because) = carried_out(state, Upgrade::default()).await {
            tracing::error!(because, "no upgrade");
        }
    };
    tokio::task::spawn_local(asker::with(Some(Asker::Signal("SIGUSR2")), upgrade));
}
