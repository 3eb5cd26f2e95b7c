//! The status document, as programs read it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::api::STATUS_PATH;
use crate::control::state::ControlState;
use crate::metrics::Reading;

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(STATUS_PATH, get(unnamed))
}

/// The same for the admin socket, which puts its gateway's name on every answer.
async fn unnamed(State(state): State<ControlState>) -> Response {
    Json(Reading { gateway: None, ..(*state.reading()).clone() }).into_response()
}

/// A reading.
pub(in crate::control) async fn status(State(state): State<ControlState>) -> Response {
    Json(&*state.reading()).into_response()
}
