//! The slow plane: one thread that hears signals and requests, watches the workers and passes
//! orders to them.
//!
//! It never touches a connection, and nothing here makes a worker wait. A part sees those that
//! stand before it in this list:
//!
//! - `handle` — what is held of a worker, and the last word of its thread
//! - `state/` — what all parts share: how far the gateway is, readings, steering, permits
//! - `verbs/` — what the admin socket can be asked, each verb beside its route
//! - `doors/` — the sockets: HTTP with everything bounded, the admin and the status server
//! - `plane` — the loop

mod doors;
mod handle;
pub mod log;
mod plane;
mod state;
mod verbs;

pub use doors::{AdminDoor, AdminError, Doors, StatusDoor};
pub use handle::{Ending, Exit, WorkerHandle};
pub use plane::{Outcome, run, runtime};
pub use state::{Books, ListenerBook, SteeredListener, Steering, UpstreamBook};
