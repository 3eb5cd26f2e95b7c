//! Why a client was refused and why a connect failed: one word each, for metrics.

use crate::base::{Bar, Errno, PreambleFault, Reason, SELF_CONNECT, TlsFault};

/// Why something happened: what a number is counted by.
pub trait Cause: 'static {
    /// A word for each cause, in the order of its number.
    fn words() -> impl Iterator<Item = &'static str>;
}

impl Cause for Reason {
    fn words() -> impl Iterator<Item = &'static str> {
        Reason::ALL.into_iter().map(Reason::word)
    }
}

impl Cause for Refusal {
    fn words() -> impl Iterator<Item = &'static str> {
        Refusal::ALL.into_iter().map(Refusal::word)
    }
}

impl Cause for PreambleFault {
    fn words() -> impl Iterator<Item = &'static str> {
        PreambleFault::ALL.into_iter().map(PreambleFault::word)
    }
}

impl Cause for TlsFault {
    fn words() -> impl Iterator<Item = &'static str> {
        TlsFault::ALL.into_iter().map(TlsFault::word)
    }
}

impl Cause for Bar {
    fn words() -> impl Iterator<Item = &'static str> {
        Bar::ALL.into_iter().map(Bar::word)
    }
}

impl Cause for ConnectFailure {
    fn words() -> impl Iterator<Item = &'static str> {
        ConnectFailure::ALL.into_iter().map(ConnectFailure::word)
    }
}

/// How many kinds of refusals there are.
pub const REFUSALS: usize = Refusal::ALL.len();

/// Why a client that had connected was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// The gateway's limit was reached and the listener's policy is to reset.
    GatewayLimit,
    /// The listener's own limit was reached and its policy is to reset.
    ListenerLimit,
    /// It was still in the accept queue when the gateway's time to drain was over.
    DrainEnd,
}

impl Refusal {
    /// Every kind, in the order of its number.
    pub const ALL: [Refusal; 3] =
        [Refusal::GatewayLimit, Refusal::ListenerLimit, Refusal::DrainEnd];

    /// The word that stands in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::GatewayLimit => "gateway-limit",
            Refusal::ListenerLimit => "listener-limit",
            Refusal::DrainEnd => "drain-end",
        }
    }
}

/// How many kinds of failures of a connect there are.
pub const CONNECT_FAILURES: usize = ConnectFailure::ALL.len();

/// Why an attempt to connect to a server did not bring a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectFailure {
    /// No socket listens there.
    Refused,
    /// The server reset the handshake.
    Reset,
    /// No answer in time.
    TimedOut,
    /// No way leads there.
    Unreachable,
    /// Every source port towards it is taken.
    NoPort,
    /// The source address is not one of this host.
    NoAddress,
    /// The kernel had no file, memory or watch for the socket: not the server's fault, tried again.
    Pressure,
    /// The connection ended meanwhile: not the server's fault.
    Abandoned,
    /// The kernel connected the socket to itself: nobody listens on the server's port.
    SelfConnect,
    /// It did not agree to TLS as its client has asked for it, or its handshake failed.
    NoTls,
    /// Any other error.
    Other,
}

impl ConnectFailure {
    /// Every kind, in the order of its number.
    pub const ALL: [ConnectFailure; 11] = [
        ConnectFailure::Refused,
        ConnectFailure::Reset,
        ConnectFailure::TimedOut,
        ConnectFailure::Unreachable,
        ConnectFailure::NoPort,
        ConnectFailure::NoAddress,
        ConnectFailure::Pressure,
        ConnectFailure::Abandoned,
        ConnectFailure::SelfConnect,
        ConnectFailure::NoTls,
        ConnectFailure::Other,
    ];

    /// The kind of an error of the kernel.
    pub fn of(error: Errno) -> ConnectFailure {
        match error {
            Errno::ECONNREFUSED => ConnectFailure::Refused,
            Errno::ECONNRESET => ConnectFailure::Reset,
            Errno::ETIMEDOUT => ConnectFailure::TimedOut,
            Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN => {
                ConnectFailure::Unreachable
            }
            Errno::EADDRNOTAVAIL => ConnectFailure::NoPort,
            SELF_CONNECT => ConnectFailure::SelfConnect,
            Errno::ENFILE | Errno::EMFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::ENOSPC => {
                ConnectFailure::Pressure
            }
            _ => ConnectFailure::Other,
        }
    }

    /// The word that stands in metrics.
    pub fn word(self) -> &'static str {
        match self {
            ConnectFailure::Refused => "refused",
            ConnectFailure::Reset => "reset",
            ConnectFailure::TimedOut => "timed-out",
            ConnectFailure::Unreachable => "unreachable",
            ConnectFailure::NoPort => "no-port",
            ConnectFailure::NoAddress => "no-address",
            ConnectFailure::Pressure => "pressure",
            ConnectFailure::Abandoned => "abandoned",
            ConnectFailure::SelfConnect => "self-connect",
            ConnectFailure::NoTls => "no-tls",
            ConnectFailure::Other => "other",
        }
    }
}
