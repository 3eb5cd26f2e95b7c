//! Why a connection ended: one word for logs, metrics and tests.

/// Why a connection ended. The first cause counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Both directions ended with FIN, the client's first.
    ClosedByClient,
    /// Both directions ended with FIN, the server's first.
    ClosedByServer,
    /// The client sent RST, or vanished.
    ClientReset,
    /// The server sent RST, or vanished.
    UpstreamReset,
    /// The client was gone before a connect to a server was begun.
    ClientGone,
    /// No server answered; the client got RST.
    NoServer,
    /// The client did not send its first byte in time.
    FirstByteTimeout,
    /// No byte moved for too long.
    IdleTimeout,
    /// One direction had ended and no byte moved in the other for too long.
    HalfCloseTimeout,
    /// It was open for as long as a connection may be.
    MaxLifetime,
    /// A limit was reached and the listener's policy is to reset.
    Refused,
    /// A drain came to it.
    Drained,
    /// The gateway ended before a drain could come to it.
    Stopped,
    /// An operator ended it.
    Killed,
    /// It was idle at a limit, and made way for a client that waited.
    Evicted,
    /// No server had room for it within the upstream's time; the client got RST.
    QueueTimeout,
    /// What it said first is not as its listener asks for, or its peer may not say it; it got RST.
    BadPreamble,
    /// Its preamble was not there in time.
    PreambleTimeout,
    /// A rule of its listener keeps its address out; it got RST.
    Denied,
    /// Its source is at a limit of its listener's; it got RST.
    SourceLimit,
    /// A handshake of TLS failed, a record was wrong, or a stream ended without its end.
    BadTls,
    /// Bytes of it were in the hands of a successor that failed.
    LostWithSuccessor,
    /// It ended in a successor that failed afterwards, which alone knew why.
    EndedWithSuccessor,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Reason; 23] = [
        Reason::ClosedByClient,
        Reason::ClosedByServer,
        Reason::ClientReset,
        Reason::UpstreamReset,
        Reason::ClientGone,
        Reason::NoServer,
        Reason::FirstByteTimeout,
        Reason::IdleTimeout,
        Reason::HalfCloseTimeout,
        Reason::MaxLifetime,
        Reason::Refused,
        Reason::Drained,
        Reason::Stopped,
        Reason::Killed,
        Reason::Evicted,
        Reason::QueueTimeout,
        Reason::BadPreamble,
        Reason::PreambleTimeout,
        Reason::Denied,
        Reason::SourceLimit,
        Reason::BadTls,
        Reason::LostWithSuccessor,
        Reason::EndedWithSuccessor,
    ];

    /// The word that stands in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Reason::ClosedByClient => "closed-by-client",
            Reason::ClosedByServer => "closed-by-server",
            Reason::ClientReset => "client-reset",
            Reason::UpstreamReset => "upstream-reset",
            Reason::ClientGone => "client-gone",
            Reason::NoServer => "no-server",
            Reason::FirstByteTimeout => "first-byte-timeout",
            Reason::IdleTimeout => "idle-timeout",
            Reason::HalfCloseTimeout => "half-close-timeout",
            Reason::MaxLifetime => "max-lifetime",
            Reason::Refused => "refused",
            Reason::Drained => "drained",
            Reason::Stopped => "stopped",
            Reason::Killed => "killed",
            Reason::Evicted => "evicted",
            Reason::QueueTimeout => "queue-timeout",
            Reason::BadPreamble => "bad-preamble",
            Reason::PreambleTimeout => "preamble-timeout",
            Reason::Denied => "denied",
            Reason::SourceLimit => "source-limit",
            Reason::BadTls => "bad-tls",
            Reason::LostWithSuccessor => "lost-with-successor",
            Reason::EndedWithSuccessor => "ended-with-successor",
        }
    }
}
