//! The slow plane: one thread that handles signals and requests, watches the workers and passes
//! orders to them.
//!
//! It never touches a connection, and never makes a worker wait. A part sees only the parts before
//! it in this list:
//!
//! - `handle` — the end of a worker: the queue of its orders, its thread's exit
//! - `ground` — the file and the sockets of the gateway, as a reload needs them
//! - `state/` — the state that all parts share: the view of the topology, readings, permits
//! - `verbs/` — the requests of the admin socket, each beside its route
//! - `endpoints/` — the sockets: HTTP with everything bounded, the admin and the status server
//! - `plane` — the loop

mod endpoints;
mod ground;
mod handle;
pub mod log;
mod plane;
mod state;
mod verbs;

pub use endpoints::{AdminEndpoint, AdminError, Endpoints, Hosts, StatusEndpoint};
pub use ground::{Ground, Unread};
pub use handle::{Ending, Exit, WorkerHandle};
pub use plane::{Outcome, run, runtime};
pub use state::{Present, Sources, View};
