//! Why a handshake failed, as a word and a sentence.

use std::fmt;

use crate::tls::fault::Alert;
use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFault {
    /// The first byte begins no record with a handshake message.
    NotTls,
    /// A record has a form or a length that none may have, or it does not open.
    BadRecord,
    /// A record has more than 16,640 bytes, or the handshake more than 64 KiB.
    TooLong,
    /// A message has a form, a place or a content that breaks the protocol.
    BadMessage,
    /// The peer has no version of TLS that is permitted here.
    NoSharedVersion,
    /// There is no cipher suite, key exchange or signature that both sides have.
    NoSharedCipher,
    /// None of the protocols that the client offers is served (ALPN).
    NoSharedProtocol,
    /// There is no certificate for the name that the client asks for.
    UnknownName,
    /// The client shows no certificate where one is required.
    NoClientCertificate,
    /// The client's certificate is refused.
    BadClientCertificate(CertificateFault),
    /// The server's certificate is refused.
    BadServerCertificate(CertificateFault),
    /// The peer ended the handshake by an alert with this code (RFC 8446, 6).
    PeerAlert(u8),
    /// All else, such as no random bytes.
    Other,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CertificateFault {
    /// Its last day is over.
    Expired,
    /// Its first day lies ahead.
    NotYetValid,
    /// Nobody that is trusted here has signed it.
    UnknownIssuer,
    /// It is for other names.
    WrongName,
    /// It may not be used on this side of a connection.
    WrongPurpose,
    /// All else: its form, its signature, its extensions.
    Other,
}

impl CertificateFault {
    const ALL: [CertificateFault; 6] = [
        CertificateFault::Expired,
        CertificateFault::NotYetValid,
        CertificateFault::UnknownIssuer,
        CertificateFault::WrongName,
        CertificateFault::WrongPurpose,
        CertificateFault::Other,
    ];

    fn of(error: &CertificateError) -> CertificateFault {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => CertificateFault::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => CertificateFault::NotYetValid,
            E::UnknownIssuer => CertificateFault::UnknownIssuer,
            E::NotValidForName | E::NotValidForNameContext { .. } => CertificateFault::WrongName,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => CertificateFault::WrongPurpose,
            _ => CertificateFault::Other,
        }
    }

    /// The end of a sentence that begins with the certificate.
    fn predicate(self) -> &'static str {
        match self {
            CertificateFault::Expired => "has expired",
            CertificateFault::NotYetValid => "is not valid yet",
            CertificateFault::UnknownIssuer => "is not signed by an authority that is trusted here",
            CertificateFault::WrongName => "is for other names",
            CertificateFault::WrongPurpose => "is not for this side of a connection",
            CertificateFault::Other => "is malformed or its signature is wrong",
        }
    }
}

impl HandshakeFault {
    /// Every fault once; an alert of the peer stands for all of them.
    pub fn every() -> impl Iterator<Item = HandshakeFault> {
        let plain = [
            HandshakeFault::NotTls,
            HandshakeFault::BadRecord,
            HandshakeFault::TooLong,
            HandshakeFault::BadMessage,
            HandshakeFault::NoSharedVersion,
            HandshakeFault::NoSharedCipher,
            HandshakeFault::NoSharedProtocol,
            HandshakeFault::UnknownName,
            HandshakeFault::NoClientCertificate,
            HandshakeFault::PeerAlert(0),
            HandshakeFault::Other,
        ];
        let kinds = CertificateFault::ALL.into_iter();
        let client = kinds.clone().map(HandshakeFault::BadClientCertificate);
        plain.into_iter().chain(client).chain(kinds.map(HandshakeFault::BadServerCertificate))
    }

    /// Its name in metrics and logs.
    pub fn word(self) -> &'static str {
        use CertificateFault as Kind;
        use HandshakeFault as Fault;
        match self {
            Fault::NotTls => "not-tls",
            Fault::BadRecord => "bad-record",
            Fault::TooLong => "too-long",
            Fault::BadMessage => "bad-message",
            Fault::NoSharedVersion => "no-shared-version",
            Fault::NoSharedCipher => "no-shared-cipher",
            Fault::NoSharedProtocol => "no-shared-protocol",
            Fault::UnknownName => "unknown-name",
            Fault::NoClientCertificate => "no-client-certificate",
            Fault::BadClientCertificate(Kind::Expired) => "client-certificate-expired",
            Fault::BadClientCertificate(Kind::NotYetValid) => "client-certificate-not-yet-valid",
            Fault::BadClientCertificate(Kind::UnknownIssuer) => "client-certificate-unknown-issuer",
            Fault::BadClientCertificate(Kind::WrongName) => "client-certificate-wrong-name",
            Fault::BadClientCertificate(Kind::WrongPurpose) => "client-certificate-wrong-purpose",
            Fault::BadClientCertificate(Kind::Other) => "bad-client-certificate",
            Fault::BadServerCertificate(Kind::Expired) => "server-certificate-expired",
            Fault::BadServerCertificate(Kind::NotYetValid) => "server-certificate-not-yet-valid",
            Fault::BadServerCertificate(Kind::UnknownIssuer) => "server-certificate-unknown-issuer",
            Fault::BadServerCertificate(Kind::WrongName) => "server-certificate-wrong-name",
            Fault::BadServerCertificate(Kind::WrongPurpose) => "server-certificate-wrong-purpose",
            Fault::BadServerCertificate(Kind::Other) => "bad-server-certificate",
            Fault::PeerAlert(_) => "peer-alert",
            Fault::Other => "other",
        }
    }

    /// The alert that says it, where rustls says none (RFC 8446, 6.2): unexpected_message,
    /// record_overflow, decode_error, unrecognized_name.
    pub(super) fn alert(self) -> Option<Alert> {
        match self {
            HandshakeFault::BadMessage => Some(Alert(10)),
            HandshakeFault::TooLong => Some(Alert(22)),
            HandshakeFault::BadRecord => Some(Alert(50)),
            HandshakeFault::UnknownName => Some(Alert(112)),
            _ => None,
        }
    }

    /// The fault of what rustls says about a client, or about a server.
    pub(super) fn of(error: &Error, is_client: bool) -> HandshakeFault {
        let certificate = if is_client {
            HandshakeFault::BadClientCertificate
        } else {
            HandshakeFault::BadServerCertificate
        };
        match error {
            Error::InvalidCertificate(error) => certificate(CertificateFault::of(error)),
            Error::NoCertificatesPresented if is_client => HandshakeFault::NoClientCertificate,
            Error::NoCertificatesPresented | Error::UnsupportedNameType => {
                certificate(CertificateFault::Other)
            }
            Error::AlertReceived(alert) => HandshakeFault::PeerAlert(u8::from(*alert)),
            Error::NoApplicationProtocol => HandshakeFault::NoSharedProtocol,
            Error::PeerIncompatible(reason) => Self::of_incompatible(reason),
            Error::PeerSentOversizedRecord => HandshakeFault::TooLong,
            Error::InvalidMessage(
                InvalidMessage::MessageTooLarge
                | InvalidMessage::HandshakePayloadTooLarge
                | InvalidMessage::CertificatePayloadTooLarge,
            ) => HandshakeFault::TooLong,
            Error::DecryptError
            | Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::InvalidEmptyPayload
                | InvalidMessage::UnknownProtocolVersion,
            ) => HandshakeFault::BadRecord,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_) => HandshakeFault::BadMessage,
            _ => HandshakeFault::Other,
        }
    }

    fn of_incompatible(reason: &PeerIncompatible) -> HandshakeFault {
        match reason {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => HandshakeFault::NoSharedVersion,
            _ => HandshakeFault::NoSharedCipher,
        }
    }
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use HandshakeFault as Fault;
        f.write_str(match self {
            Fault::NotTls => "the peer does not speak TLS",
            Fault::BadRecord => "a record of the peer is malformed or does not open",
            Fault::TooLong => "a record or the handshake of the peer is too long",
            Fault::BadMessage => "a message of the peer breaks the protocol",
            Fault::NoSharedVersion => "the peer has no version of TLS that is permitted here",
            Fault::NoSharedCipher => {
                "both sides have no cipher, key exchange or signature in common"
            }
            Fault::NoSharedProtocol => "the client offers no protocol that is served (ALPN)",
            Fault::UnknownName => "there is no certificate for the name that the client asks for",
            Fault::NoClientCertificate => "the client shows no certificate, and one is required",
            Fault::BadClientCertificate(kind) => {
                return write!(f, "the client's certificate {}", kind.predicate());
            }
            Fault::BadServerCertificate(kind) => {
                return write!(f, "the server's certificate {}", kind.predicate());
            }
            Fault::PeerAlert(code) => {
                return write!(f, "the peer ended the handshake with alert {code}");
            }
            Fault::Other => "the handshake failed for a reason of our own",
        })
    }
}

impl std::error::Error for HandshakeFault {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_fault_has_a_word_and_a_sentence_of_its_own() {
        let words: Vec<&str> = HandshakeFault::every().map(HandshakeFault::word).collect();
        let sentences: HashSet<String> = HandshakeFault::every().map(|it| it.to_string()).collect();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        assert_eq!(sentences.len(), words.len());
        for word in words {
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{word}");
        }
    }
}
