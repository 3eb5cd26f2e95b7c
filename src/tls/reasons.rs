//! The words under which faults of handshakes and records are counted.

use super::fault::{Alert, Fault};
use super::handshake::{CertificateFault, HandshakeFault};
use crate::base::TlsFault;

impl From<HandshakeFault> for TlsFault {
    fn from(fault: HandshakeFault) -> TlsFault {
        match fault {
            HandshakeFault::NotTls => TlsFault::NotTls,
            HandshakeFault::BadRecord => TlsFault::BadRecord,
            HandshakeFault::TooLong => TlsFault::TooLong,
            HandshakeFault::BadMessage => TlsFault::BadMessage,
            HandshakeFault::NoSharedVersion => TlsFault::NoSharedVersion,
            HandshakeFault::NoSharedCipher => TlsFault::NoSharedCipher,
            HandshakeFault::NoSharedProtocol => TlsFault::NoSharedProtocol,
            HandshakeFault::UnknownName => TlsFault::UnknownName,
            HandshakeFault::NoClientCertificate => TlsFault::NoCertificate,
            HandshakeFault::BadClientCertificate(kind)
            | HandshakeFault::BadServerCertificate(kind) => match kind {
                CertificateFault::Expired | CertificateFault::NotYetValid => {
                    TlsFault::CertificateExpired
                }
                CertificateFault::UnknownIssuer => TlsFault::CertificateUnknown,
                CertificateFault::WrongName => TlsFault::CertificateName,
                CertificateFault::WrongPurpose | CertificateFault::Other => {
                    TlsFault::BadCertificate
                }
            },
            HandshakeFault::PeerAlert(code) => alerted(Alert(code)),
            HandshakeFault::Other => TlsFault::Other,
        }
    }
}

impl From<Fault> for TlsFault {
    fn from(fault: Fault) -> TlsFault {
        match fault {
            Fault::Oversize => TlsFault::TooLong,
            Fault::NotRecord => TlsFault::BadRecord,
            Fault::Forged => TlsFault::Forged,
            Fault::EmptyFlood | Fault::UpdateFlood => TlsFault::Flood,
            Fault::Renegotiation => TlsFault::Renegotiation,
            Fault::Unexpected | Fault::Malformed | Fault::Illegal => TlsFault::BadMessage,
            Fault::Alerted(alert) => alerted(alert),
            Fault::Exhausted => TlsFault::Other,
        }
    }
}

fn alerted(alert: Alert) -> TlsFault {
    match alert.is_about_certificate() {
        true => TlsFault::CertificateRefused,
        false => TlsFault::PeerAlert,
    }
}
