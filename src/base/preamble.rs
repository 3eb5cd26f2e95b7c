//! Why a client was refused for what it said first: one word for logs, metrics and tests.

/// What was wrong with what a client said first, or with who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PreambleFault {
    /// The peer is in none of the networks that send a header.
    UntrustedPeer,
    /// The peer's address could not be found out.
    UnknownPeer,
    /// The first bytes are no PROXY header.
    NoHeader,
    /// A header of version 1 is not as it must be.
    BadLine,
    /// A binary header has another version than 2, or another command than LOCAL and PROXY.
    BadVersion,
    /// It has an address family or transport that there is none of.
    BadFamily,
    /// It is shorter than its addresses.
    BadLength,
    /// It is longer than any that is taken.
    TooLong,
    /// A field behind its addresses does not end with it, or is not as it must be.
    BadField,
    /// Its checksum is not that of its bytes.
    BadChecksum,
    /// The first bytes are no TLS ClientHello.
    NotTls,
    /// A TLS ClientHello is not as it must be.
    BadHello,
    /// Bytes follow a request for encryption, and nobody has answered it.
    EarlyBytes,
    /// It asks for a name that no route is for, and nobody else is served.
    UnknownName,
}

impl PreambleFault {
    /// Every fault, in the order of its number.
    pub const ALL: [PreambleFault; 14] = [
        PreambleFault::UntrustedPeer,
        PreambleFault::UnknownPeer,
        PreambleFault::NoHeader,
        PreambleFault::BadLine,
        PreambleFault::BadVersion,
        PreambleFault::BadFamily,
        PreambleFault::BadLength,
        PreambleFault::TooLong,
        PreambleFault::BadField,
        PreambleFault::BadChecksum,
        PreambleFault::NotTls,
        PreambleFault::BadHello,
        PreambleFault::EarlyBytes,
        PreambleFault::UnknownName,
    ];

    /// The word that stands in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            PreambleFault::UntrustedPeer => "untrusted-peer",
            PreambleFault::UnknownPeer => "unknown-peer",
            PreambleFault::NoHeader => "no-header",
            PreambleFault::BadLine => "bad-line",
            PreambleFault::BadVersion => "bad-version",
            PreambleFault::BadFamily => "bad-family",
            PreambleFault::BadLength => "bad-length",
            PreambleFault::TooLong => "too-long",
            PreambleFault::BadField => "bad-field",
            PreambleFault::BadChecksum => "bad-checksum",
            PreambleFault::NotTls => "not-tls",
            PreambleFault::BadHello => "bad-hello",
            PreambleFault::EarlyBytes => "early-bytes",
            PreambleFault::UnknownName => "unknown-name",
        }
    }

    /// What was wrong, in words that follow a number of clients.
    pub fn said(self) -> &'static str {
        match self {
            PreambleFault::UntrustedPeer => "came from a peer that is not in proxy_trusted",
            PreambleFault::UnknownPeer => "came from a peer whose address could not be found out",
            PreambleFault::NoHeader => "sent something else than a PROXY header first",
            PreambleFault::BadLine => "sent a line that begins as a PROXY header and is none",
            PreambleFault::BadVersion => "sent a header of an unknown version or command",
            PreambleFault::BadFamily => "sent a header with an unknown address family",
            PreambleFault::BadLength => "sent a header that is shorter than its addresses",
            PreambleFault::TooLong => "sent more than a preamble may have",
            PreambleFault::BadField => "sent a header with a malformed field",
            PreambleFault::BadChecksum => "sent a header with a wrong checksum",
            PreambleFault::NotTls => "sent something else than a TLS ClientHello first",
            PreambleFault::BadHello => "sent a malformed TLS ClientHello",
            PreambleFault::EarlyBytes => "sent bytes behind its SSLRequest before the answer",
            PreambleFault::UnknownName => "asked for a name that no route is for",
        }
    }
}
