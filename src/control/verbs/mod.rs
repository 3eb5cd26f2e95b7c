//! The requests that the admin socket takes: each verb beside its route.
//!
//! A command of operators stands in three files: the types of its request and answer in `api/`, its
//! verb here, its flags and its words in `cli/admin.rs`. The client sends any request of `api/`.

mod conns;
mod drain;
mod dump;
mod history;
mod named;
mod redact;
mod refusal;
mod reload;
mod servers;
mod status;
mod steer;
mod upgrade;

use axum::Router;
use axum::middleware::map_response;

pub(super) use conns::pairs;
pub(super) use history::history;
pub(super) use reload::by_signal;
pub(super) use status::status;
pub(super) use upgrade::by_signal as upgrade_by_signal;

use super::state::ControlState;
use named::Name;

/// Every route. The answers name the gateway.
pub(super) fn routes(state: ControlState) -> Router {
    let name = Name::new(&state);
    Router::new()
        .merge(conns::routes())
        .merge(drain::routes())
        .merge(dump::routes())
        .merge(history::routes())
        .merge(reload::routes())
        .merge(servers::routes())
        .merge(status::routes())
        .merge(steer::routes())
        .merge(upgrade::routes())
        .with_state(state)
        .layer(map_response(move |answer| name.clone().put_on(answer)))
}
