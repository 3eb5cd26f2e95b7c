//! TLS of clients and towards servers: handshakes by rustls, records by a layer of our own.
//!
//! What a session keeps between two records is 80 to 120 bytes; keys are made of them while bytes
//! flow.

mod fault;
mod keys;
mod record;
mod session;
mod suite;

pub use fault::{Alert, Fault};
pub use keys::Awake;
pub use record::{ALERT_BYTES, HEAD_BYTES, Opened, PLAIN_MAX, RECORD_MAX, TAIL_BYTES};
pub use session::{Keys12, NoSession, SESSION_BYTES, Session};
pub use suite::Suite;
