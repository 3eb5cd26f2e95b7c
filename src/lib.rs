//! Portcullis: an io_uring TCP gateway for very large numbers of open connections.

pub mod base;
pub mod budget;
pub mod conn;
pub mod metrics;
pub mod config;
pub mod ring;
pub mod upstream;
pub mod worker;
