//! How the handshakes of a listener's clients begin.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{
    NoServerSessionStorage, ServerConfig, ServerConnection, WebPkiClientVerifier,
};
use rustls::{Error, RootCertStore};

use super::desk::{BoundTickets, Desk, NotedCertificates};
use super::provider::provider;
use super::{Handshake, Peer, versions};
use crate::tls::certificates::{Certificates, Digest, digest};
use crate::tls::suite::Suite;
use crate::tls::tickets::Tickets;

/// How the handshakes of a listener's clients are done. All workers share it.
#[derive(Clone, Debug)]
pub struct AcceptorPlan {
    /// Certificates by name; a name without one is [`super::HandshakeFault::UnknownName`].
    pub certificates: Arc<Certificates>,
    /// Whether TLS 1.2 is refused.
    pub min_tls13: bool,
    /// Protocols in order of preference. A client that offers none of them is refused; one that
    /// offers nothing is not.
    pub alpn: Vec<Vec<u8>>,
    /// Authorities of client certificates, and whether a client must show one.
    pub client_ca: Option<(Arc<RootCertStore>, bool)>,
    /// Keys of tickets; without them, no session is resumed.
    pub tickets: Option<Arc<Tickets>>,
}

/// Begins the handshakes of a listener's clients. One per worker and listener: its handshakes share
/// a desk, so it and they belong to one thread.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    desk: Arc<Desk>,
    /// Not to be shared between threads.
    one_thread: PhantomData<Cell<()>>,
}

/// AES-128 comes first, whatever a client prefers: it is not known to be weaker, a session wakes in
/// half of the time that its SHA-256 takes, and its secrets are shorter.
fn provider_with_aes_128_first() -> CryptoProvider {
    let mut provider = provider();
    provider.cipher_suites.sort_by_key(|suite| {
        let suite = Suite::of_number(u16::from(suite.suite()));
        !suite.is_some_and(|suite| suite.name().contains("AES_128_GCM"))
    });
    provider
}

impl Acceptor {
    /// Makes one of `plan`.
    ///
    /// # Errors
    /// When `client_ca` has no authority.
    pub fn new(plan: &AcceptorPlan) -> Result<Acceptor, Error> {
        let provider = Arc::new(provider_with_aes_128_first());
        let desk = Arc::new(Desk::default());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions(plan.min_tls13))?;
        let builder = match &plan.client_ca {
            None => builder.with_no_client_auth(),
            Some((roots, is_required)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
                let verifier =
                    if *is_required { verifier } else { verifier.allow_unauthenticated() };
                let verifier =
                    verifier.build().map_err(|error| Error::General(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(NotedCertificates {
            certificates: plan.certificates.clone(),
            desk: desk.clone(),
        }));
        config.ignore_client_order = true;
        config.alpn_protocols = plan.alpn.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        if let Some(tickets) = plan.tickets.clone() {
            let clients = clients(plan.client_ca.as_ref());
            config.ticketer = Arc::new(BoundTickets { tickets, clients, desk: desk.clone() });
            config.send_tls13_tickets = 1;
        }
        config.key_log = desk.clone();
        config.enable_secret_extraction = true;
        Ok(Acceptor { config: Arc::new(config), desk, one_thread: PhantomData })
    }

    /// A handshake with a client that has said nothing yet.
    ///
    /// # Panics
    /// Never: rustls refuses a config here only for the size of its records, which is its own.
    pub fn begin(&self) -> Handshake {
        let conn =
            ServerConnection::new(self.config.clone()).expect("records of rustls's own size");
        Handshake::new(Peer::Client(conn), self.desk.clone())
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}

/// A digest of how clients are asked who they are: a session is resumed only where its client
/// would be trusted in a full handshake too.
fn clients(client_ca: Option<&(Arc<RootCertStore>, bool)>) -> Digest {
    let Some((roots, is_required)) = client_ca else { return digest(&[]) };
    let root = |root: &rustls::pki_types::TrustAnchor<'_>| {
        let constraints = root.name_constraints.as_ref().map_or(&[][..], |it| it.as_ref());
        digest(&[&root.subject, &root.subject_public_key_info, constraints])
    };
    let mut roots: Vec<Digest> = roots.roots.iter().map(root).collect();
    roots.sort_unstable();
    digest(&[&[u8::from(*is_required)], &roots.concat()])
}
