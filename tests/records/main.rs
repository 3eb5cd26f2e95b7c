//! Records of TLS as the gateway opens and seals them, against rustls as the peer.

mod closed;
mod peer;
mod refused;
mod talk;
mod tickets;
mod updates;
mod written;
