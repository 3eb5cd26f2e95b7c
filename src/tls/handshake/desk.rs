//! What rustls says by callbacks in the course of one call.
//!
//! Secrets, the choice of a certificate and the sealing of tickets reach the gateway by traits
//! that do not say whose handshake it is. So a handshake lays its notes on the desk before each
//! call of rustls, and takes them back after it: nothing stays there between two calls.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::KeyLog;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::tls::certificates::{Certificates, Digest};
use crate::tls::tickets::{TICKET_SECONDS, Tickets};

/// What one handshake has heard so far.
#[derive(Default)]
pub(super) struct Notes {
    /// The secret of what a client says in TLS 1.3; empty until there is one.
    pub client_secret: Zeroizing<Vec<u8>>,
    /// Of what a server says.
    pub server_secret: Zeroizing<Vec<u8>>,
    /// There is no certificate for the name that the client asks for.
    pub is_unknown_name: bool,
    /// The names of the certificate that the client was shown.
    shown: Option<Digest>,
}

/// Where the notes of the handshake lie that is in a call at present.
#[derive(Default)]
pub(super) struct Desk(Mutex<Notes>);

impl Desk {
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

const CLIENT_SECRET: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER_SECRET: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Desk {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let mut notes = self.notes();
        match label {
            CLIENT_SECRET => notes.client_secret = Zeroizing::new(secret.to_vec()),
            SERVER_SECRET => notes.server_secret = Zeroizing::new(secret.to_vec()),
            _ => {}
        }
    }

    fn will_log(&self, label: &str) -> bool {
        [CLIENT_SECRET, SERVER_SECRET].contains(&label)
    }
}

/// Certificates by name, whose choice is noted.
#[derive(Debug)]
pub(super) struct NotedCertificates {
    pub certificates: Arc<Certificates>,
    pub desk: Arc<Desk>,
}

impl ResolvesServerCert for NotedCertificates {
    /// Where there is none, rustls answers with the alert access_denied.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = self.certificates.find(hello.server_name(), hello.signature_schemes());
        let mut notes = self.desk.notes();
        notes.is_unknown_name = found.is_none();
        notes.shown = found.map(|entry| entry.names);
        found.map(|entry| entry.key.clone())
    }
}

/// Tickets that open only for the certificate names and the client authorities of their session.
///
/// rustls itself refuses a ticket under another SNI. That leaves clients without one, and two
/// listeners of one file of keys that trust different client authorities (CVE-2025-23419).
#[derive(Debug)]
pub(super) struct BoundTickets {
    pub tickets: Arc<Tickets>,
    /// A digest of how clients are asked who they are.
    pub clients: Digest,
    pub desk: Arc<Desk>,
}

impl BoundTickets {
    fn bound(&self) -> Option<[u8; 64]> {
        let shown = self.desk.notes().shown?;
        let mut bound = [0; 64];
        bound[..32].copy_from_slice(&self.clients);
        bound[32..].copy_from_slice(&shown);
        Some(bound)
    }
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(&self.bound()?, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(&self.bound()?, ticket)
    }
}
