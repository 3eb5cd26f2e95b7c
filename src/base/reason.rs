//! Why a connection ended: one word for logs, metrics and tests.

/// Why a connection ended. The first cause counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Both directions ended with FIN.
    Closed,
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
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Reason; 13] = [
        Reason::Closed,
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
    ];

    /// The word that stands in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Closed => "closed",
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
        }
    }
}
