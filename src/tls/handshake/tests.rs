//! Handshakes in memory, with rustls at the other end.

mod accept;
mod authority;
mod clients;
mod connect;
mod hostile;
mod peer;
mod resume;
