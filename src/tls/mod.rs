//! TLS of clients and towards servers: handshakes by rustls, records by a layer of our own.
//!
//! What a session keeps between two records is 88 or 120 bytes; keys are made of them while bytes
//! flow.

mod certificates;
mod fault;
mod gathered;
mod handshake;
mod incoming;
mod keyring;
mod keys;
mod loaded;
mod moving;
mod outgoing;
mod pem;
mod reasons;
mod record;
mod secured;
mod session;
mod sessions;
mod suite;
#[cfg(test)]
mod tests;
mod tickets;
mod work;

pub use certificates::{CertificateFacts, Certificates};
pub use fault::{Alert, Fault};
pub use handshake::{
    Acceptor, AcceptorPlan, CertificateFault, ClientCertificate, Connector, ConnectorPlan,
    Established, Handshake, HandshakeFault, State, Taken,
};
pub use keys::Awake;
pub use loaded::{
    ClientCa, ListenerMaterials, LoadError, Loaded, TicketKeys, TicketsMade, UpstreamMaterials,
};
pub use moving::Moved;
pub use record::{ALERT_BYTES, HEAD_BYTES, Opened, PLAIN_MAX, RECORD_MAX, TAIL_BYTES, tail_bytes};
pub use secured::Secured;
pub use session::{Keys12, NoSession, SESSION_BYTES, Session};
pub use suite::Suite;
pub use tickets::{TicketKeysError, Tickets};
