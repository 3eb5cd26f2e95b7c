//! The requests that the admin socket takes: each verb beside its route.
//!
//! A command of operators stands in three files: the types of its request and answer in `api/`, its
//! verb here, its flags and its words in `cli/admin.rs`. The client sends any request of `api/`.

mod conns;
mod dump;
mod redact;
mod refusal;
mod reload;
mod status;
mod steer;

use axum::Router;

pub(super) use reload::by_signal;
pub(super) use status::status;

use super::state::ControlState;

/// Every route.
pub(super) fn routes(state: ControlState) -> Router {
    Router::new()
        .merge(conns::routes())
        .merge(dump::routes())
        .merge(reload::routes())
        .merge(status::routes())
        .merge(steer::routes())
        .with_state(state)
}
