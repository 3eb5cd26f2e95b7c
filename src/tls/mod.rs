//! TLS of clients and towards servers: handshakes by rustls, records by a layer of our own.
//!
//! What a session keeps between two records is 80 to 120 bytes; keys are made of them while bytes
//! flow.

mod certificates;
mod loaded;
mod pem;
#[cfg(test)]
mod tests;

pub use certificates::{CertificateFacts, Certificates};
pub use loaded::{ClientCa, ListenerMaterials, LoadError, Loaded, TicketKeys, UpstreamMaterials};
