//! Portcullis: an io_uring TCP gateway for very large numbers of open connections.
//!
#![doc = include_str!("architecture.md")]

pub mod access_log;
pub mod api;
pub mod base;
pub mod budget;
pub mod checks;
pub mod cli;
pub mod client;
pub mod config;
pub mod conn;
pub mod control;
pub mod courier;
pub mod discovery;
pub mod doctor;
pub mod gateway;
pub mod host;
pub mod listener;
pub mod metrics;
pub mod query;
pub mod ring;
pub mod source;
pub mod summary;
pub mod tls;
pub mod top;
pub mod topology;
pub mod upstream;
pub mod wire;
pub mod worker;
