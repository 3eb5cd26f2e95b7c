//! The choices about clients that a file makes by a word.

use std::time::Duration;

/// Who sends a PROXY header in front of what it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptProxy {
    /// Nobody.
    Off,
    /// Trusted peers; others are ordinary clients.
    FromTrusted,
    /// Trusted peers; others are reset.
    Required,
}

/// When a server is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectWhen {
    /// As its client arrives.
    Eager,
    /// At its client's first byte.
    Lazy,
}

/// Which PROXY header servers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendProxy {
    /// None.
    Off,
    /// A line of text.
    V1,
    /// A binary one.
    V2,
}

/// A field of a PROXY header that servers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// Those of the header that the client came with.
    Received,
    /// The name that the client's TLS hello asks for.
    Authority,
    /// The protocol agreed on with it, or else the first one that it offers.
    Alpn,
    /// How the client speaks TLS to the gateway, and its certificate's common name.
    Ssl,
    /// In that: its certificate.
    ClientCert,
    /// What no other connection has.
    UniqueId,
    /// A checksum of the header.
    Crc32c,
}

/// What is read of a client to find its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Nothing.
    Off,
    /// Its TLS hello.
    Tls,
    /// The first words of a PostgreSQL client, and then its TLS hello.
    Postgres,
}

/// Where clients go that no route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// To the listener's own upstream.
    Upstream,
    /// Nowhere: they are reset.
    Refuse,
}

/// So many new connections in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRate {
    /// How many, above zero.
    pub connections: u32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

/// What happens to a client beyond a limit of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAction {
    /// It is reset at once.
    Reset,
    /// It waits for its source to be within the limits, for a time.
    Wait,
    /// It is kept for a time, and reset.
    Tarpit,
}
