//! What clients say before their servers hear of them, and what their servers then hear first, as
//! bytes: pure decoders and encoders.
//!
//! A decoder judges all bytes that came so far. Once it has given an answer other than
//! [`Decoded::More`], more bytes behind these change nothing of it. [`postgres()`] alone has one
//! answer that they change.

mod encode;
pub mod handover;
mod hello;
mod names;
mod postgres;
mod proxy_v1;
mod proxy_v2;

use std::net::SocketAddr;

pub use encode::{
    Certificate, DER_MAX, Fields, Ssl, UNIQUE_ID_MAX, proxy_binary, proxy_line, proxy_local,
    proxy_ssl,
};
pub use hello::{HELLO_MAX, Hello, client_hello};
pub use names::{Entry, Names, Pattern, PatternFault};
pub use postgres::{PostgresStart, SSL_REQUEST, postgres};

use crate::base::PreambleFault;

/// Bytes of the longest PROXY header that is taken.
pub const HEADER_MAX: usize = proxy_v2::HEADER_MAX;

/// What the bytes so far come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<F> {
    /// They are a begin: so many more are needed at least.
    More(usize),
    /// They begin in another way.
    NotMine,
    /// They begin as they must, and go on as they may not.
    Bad(PreambleFault),
    /// All of it is there.
    Done {
        /// Bytes that are the gateway's alone; what follows is the server's.
        used: usize,
        /// What it says.
        facts: F,
    },
}

/// What a PROXY header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// Whose connection it is; `None`: its sender's own, or one of which it knows no addresses.
    pub ends: Option<Ends>,
    /// The fields behind the addresses, each a type, a length in two bytes, and a value.
    pub fields: &'a [u8],
}

/// The ends of the connection that a header is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected.
    pub destination: SocketAddr,
}

/// Judges the first bytes of a connection as a PROXY header of version 1 or 2.
pub fn proxy_header(bytes: &[u8]) -> Decoded<Facts<'_>> {
    match proxy_v2::decode(bytes) {
        Decoded::More(_) if bytes.is_empty() => proxy_v1::decode(bytes),
        Decoded::NotMine => proxy_v1::decode(bytes),
        decoded => decoded,
    }
}

/// How many bytes of `wanted` these bytes lack; `None`: they are not a part of it.
fn lacking(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let there = bytes.len().min(wanted.len());
    (bytes[..there] == wanted[..there]).then(|| wanted.len() - there)
}

#[cfg(test)]
mod tests;
