//! Why TLS of a side failed: one word for logs, metrics and tests.

/// Declares the kinds with their words and what they mean.
macro_rules! faults {
    ($($name:ident, $word:literal, $said:literal;)+) => {
        /// What was wrong with a handshake, or with the records after it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum TlsFault {
            $(#[doc = concat!("It ", $said, ".")] $name,)+
        }

        impl TlsFault {
            /// Every fault, in the order of its number.
            pub const ALL: [TlsFault; [$($word),+].len()] = [$(TlsFault::$name),+];

            /// The word that stands in logs and metrics.
            pub fn word(self) -> &'static str {
                match self {
                    $(TlsFault::$name => $word,)+
                }
            }

            /// What was wrong, in words that follow a number of peers.
            pub fn said(self) -> &'static str {
                match self {
                    $(TlsFault::$name => $said,)+
                }
            }
        }
    };
}

faults! {
    NotTls, "not-tls", "said something that is not TLS";
    BadRecord, "bad-record", "sent a record that is malformed or does not open";
    TooLong, "too-long", "sent a longer record or handshake than TLS allows";
    BadMessage, "bad-message", "sent a message that breaks the protocol";
    NoSharedVersion, "no-shared-version", "offered no version of TLS that is spoken here";
    NoSharedCipher, "no-shared-cipher", "offered no cipher suite or group that is spoken here";
    NoSharedProtocol, "no-shared-protocol", "offered no protocol (ALPN) that is spoken here";
    UnknownName, "unknown-name", "asked for a name that no certificate is for";
    NoCertificate, "no-certificate", "showed no certificate, which is required";
    CertificateExpired, "certificate-expired", "showed a certificate that is not valid now";
    CertificateUnknown, "certificate-unknown", "showed a certificate of an authority unknown here";
    CertificateName, "certificate-name", "showed a certificate that is for other names";
    BadCertificate, "bad-certificate", "showed a certificate that does not hold";
    CertificateRefused, "certificate-refused", "refused our certificate, or to go on without one";
    PeerAlert, "peer-alert", "ended it by an alert of its own";
    Stalled, "stalled", "stopped in the middle of a handshake while others waited";
    Forged, "forged", "sent a record that was forged, damaged or repeated";
    Flood, "flood", "sent records without data in a row";
    Renegotiation, "renegotiation", "asked for a second handshake";
    CutOff, "cut-off", "ended its stream without close_notify";
    LateRecord, "late-record", "left a record unfinished";
    Other, "other", "could not be served for a reason of ours";
}
