//! The status document, as programs read it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::api::STATUS_PATH;
use crate::control::state::ControlState;

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(STATUS_PATH, get(status))
}

/// A reading.
pub(in crate::control) async fn status(State(state): State<ControlState>) -> Response {
    Json(&*state.reading()).into_response()
}
