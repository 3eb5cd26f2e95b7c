//! The slow plane: one thread that handles signals and requests, watches the workers and passes
//! orders to them.
//!
//! It never touches a connection, and never makes a worker wait. A part sees only the parts before
//! it in this list:
//!
//! - `handle` — the end of a worker: the queue of its orders, its thread's exit
//! - `asker` — who asks for what is done
//! - `events` — what happens, for the log and for those who look later
//! - `drains` — the drains under way
//! - `ground` — the file and the sockets of the gateway, as a reload needs them
//! - `reopen` — the sockets of the control plane, as a reload needs them
//! - `spawner` — starts processes with the priority of the workers
//! - `underway` — the upgrade under way, which can be aborted
//! - `secrets` — keys of TLS stay out of core dumps
//! - `state/` — the state that all parts share: the view of the topology, readings, permits
//! - `change` — going over to another topology
//! - `closing` — the end of connections of servers that are down
//! - `searching` — what searches for servers find
//! - `upgrade/` — everything goes to a successor process, or comes from a predecessor
//! - `verbs/` — the requests of the admin socket, each beside its route
//! - `endpoints/` — the sockets: HTTP with everything bounded, the admin and the status server
//! - `limits` — limits that are reached, and that are no longer
//! - `farewell` — the drain of the process
//! - `service` — what the service manager hears each second
//! - `plane` — the loop

mod asker;
mod change;
mod closing;
mod crowds;
mod drains;
mod endpoints;
mod events;
mod farewell;
mod ground;
mod handle;
mod handover;
mod heap;
mod limits;
pub mod log;
mod networks;
mod plane;
mod reopen;
mod runtime;
mod searching;
mod secrets;
mod service;
mod spawner;
mod state;
mod underway;
mod upgrade;
#[cfg(feature = "control-uring")]
mod uring;
mod verbs;

pub use drains::Drains;
pub use endpoints::{AdminEndpoint, AdminError, Endpoints, Hosts, StatusEndpoint, StatusError};
pub use events::Events;
pub use ground::{Ground, Passive, Unread};
pub use handle::{Ending, Exit, WorkerHandle};
pub use plane::{Outcome, Parts, run};
pub use runtime::Runtime;
pub use searching::{Searching, begin as begin_searches};
pub use secrets::guard_secrets;
pub use state::{Present, Sentry, Sets, Sources, View};
pub use upgrade::{Broken, Channel, FOSTER, Succession, foster};
