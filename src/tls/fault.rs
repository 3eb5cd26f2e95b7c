//! What a peer does wrong in its records, and the alerts that answer it.

/// An alert by its code (RFC 8446, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert(pub u8);

impl Alert {
    /// The direction ends here; nothing is wrong.
    pub const CLOSE_NOTIFY: Alert = Alert(0);
    /// TLS 1.2 only, where it is a warning (RFC 5246, 7.2.2).
    pub(super) const NO_RENEGOTIATION: Alert = Alert(100);
    /// Nothing is wrong with the session: TLS 1.3 lets a peer say it before it closes.
    pub(super) const USER_CANCELED: Alert = Alert(90);

    /// Whether it is about the certificate of the side that gets it, which in TLS 1.3 may hear so
    /// after the handshake: bad_certificate to unknown_ca, access_denied, certificate_required.
    pub(super) fn is_about_certificate(self) -> bool {
        matches!(self.0, 42..=46 | 48 | 49 | 116)
    }
}

/// Why a session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record, or what is in it, is longer than TLS allows.
    Oversize,
    /// No record begins here: of an unknown type, or of no TLS.
    NotRecord,
    /// The tag does not fit: forged, damaged, repeated, out of order or of another session.
    Forged,
    /// Too many records in a row that carry no data.
    EmptyFlood,
    /// Too many KeyUpdates in a row without data.
    UpdateFlood,
    /// A handshake in TLS 1.2 after the handshake.
    Renegotiation,
    /// A message that has no place here.
    Unexpected,
    /// A message whose length or form is wrong.
    Malformed,
    /// A message with a value that is not allowed.
    Illegal,
    /// The peer ends the session with this alert.
    Alerted(Alert),
    /// A key was used for as many records as there are sequence numbers.
    Exhausted,
}

impl Fault {
    /// A word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Oversize => "oversize",
            Fault::NotRecord => "not-record",
            Fault::Forged => "forged",
            Fault::EmptyFlood => "empty-flood",
            Fault::UpdateFlood => "update-flood",
            Fault::Renegotiation => "renegotiation",
            Fault::Unexpected => "unexpected",
            Fault::Malformed => "malformed",
            Fault::Illegal => "illegal",
            Fault::Alerted(_) => "alerted",
            Fault::Exhausted => "exhausted",
        }
    }

    /// The alert that tells the peer; `None`: the session ended by an alert of the peer's, which
    /// gets no answer (RFC 8446, 6.2).
    pub fn alert(self) -> Option<Alert> {
        match self {
            Fault::EmptyFlood | Fault::UpdateFlood | Fault::Unexpected => Some(Alert(10)),
            Fault::Forged => Some(Alert(20)),
            Fault::Oversize => Some(Alert(22)),
            Fault::Illegal => Some(Alert(47)),
            Fault::NotRecord | Fault::Malformed => Some(Alert(50)),
            Fault::Exhausted => Some(Alert(80)),
            Fault::Renegotiation => Some(Alert::NO_RENEGOTIATION),
            Fault::Alerted(_) => None,
        }
    }
}
