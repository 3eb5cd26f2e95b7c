//! What the process may hold is counted right, whatever its threads do.

mod base;
mod connections;
mod modelled;
mod plain;
mod source;
mod sources;
mod threads;

/// The budget's own source, over the model checker's atomics instead of the processor's.
#[path = "../../src/budget.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
mod budget;

/// The count of a server's connections, in the same way.
#[path = "../../src/upstream/connections.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
mod server;
