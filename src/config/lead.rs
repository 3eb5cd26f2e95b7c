//! A server as the file names it, for errors about where it leads.

use std::net::SocketAddr;

use crate::config::file::Value;

/// A server's address where the file has it.
pub(super) struct Lead<'a> {
    /// Index of its upstream.
    pub(super) upstream: usize,
    pub(super) address: SocketAddr,
    pub(super) value: Value<'a>,
}
