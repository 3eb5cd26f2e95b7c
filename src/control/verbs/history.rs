//! Ten minutes of figures, as programs read them.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use crate::api::Request;
use crate::api::history::{AskHistory, History};
use crate::control::state::ControlState;

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(AskHistory::PATH, get(history))
}

/// All samples.
pub(in crate::control) async fn history(State(state): State<ControlState>) -> Json<History> {
    Json(state.samples().history(state.sources().clock.began()))
}
