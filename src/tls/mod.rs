//! TLS of clients and towards servers: handshakes by rustls, records by a layer of our own.
//!
//! What a session keeps between two records is 80 to 120 bytes; keys are made of them while bytes
//! flow.

mod handshake;
mod session;
mod tickets;

pub use self::handshake::{
    Acceptor, AcceptorPlan, CertificateFault, ClientCertificate, Connector, ConnectorPlan,
    Established, Handshake, HandshakeFault, State, Taken,
};
pub use self::session::{Awake, Keys12, Opened, Session, Suite};
pub use self::tickets::{TicketKeysError, Tickets};
