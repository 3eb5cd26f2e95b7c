//! Portcullis: an io_uring TCP gateway for very large numbers of open connections.

pub mod base;
pub mod conn;
pub mod ring;
