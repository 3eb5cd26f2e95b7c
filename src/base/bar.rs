//! Why a client's address kept it out: one word for logs, metrics and tests.

/// What kept a client out by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bar {
    /// It is in a network that is denied.
    Denied,
    /// It is in none that is allowed.
    NotAllowed,
    /// Its source has as many connections as it may.
    Connections,
    /// Its source's connections come too fast.
    Rate,
}

impl Bar {
    /// Every one, in the order of its number.
    pub const ALL: [Bar; 4] = [Bar::Denied, Bar::NotAllowed, Bar::Connections, Bar::Rate];

    /// The word that stands in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Bar::Denied => "denied",
            Bar::NotAllowed => "not-allowed",
            Bar::Connections => "connections",
            Bar::Rate => "rate",
        }
    }

    /// What kept them out, in words that follow a number of clients.
    pub fn said(self) -> &'static str {
        match self {
            Bar::Denied => "by deny",
            Bar::NotAllowed => "in no network of allow",
            Bar::Connections => "beyond per_source.max_connections",
            Bar::Rate => "beyond per_source.rate",
        }
    }
}
