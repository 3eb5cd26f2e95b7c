//! How handshakes with the servers of an upstream begin.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption, WebPkiServerVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::desk::Desk;
use super::provider::provider;
use super::{Handshake, Peer, versions};

/// How handshakes with the servers of an upstream are done. All workers share it.
#[derive(Clone, Debug)]
pub struct ConnectorPlan {
    /// Authorities of server certificates; without them, any certificate is taken.
    pub roots: Option<Arc<RootCertStore>>,
    /// The certificate that is shown to servers that ask for one.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Protocols that are offered, in order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// Whether TLS 1.2 is refused.
    pub min_tls13: bool,
}

/// Begins handshakes with the servers of an upstream. One per worker and upstream: its handshakes
/// share a desk, so it and they belong to one thread.
pub struct Connector {
    config: Arc<ClientConfig>,
    desk: Arc<Desk>,
    /// Not to be shared between threads.
    one_thread: PhantomData<Cell<()>>,
}

impl Connector {
    /// Makes one of `plan`.
    ///
    /// # Errors
    /// When `roots` has no authority.
    pub fn new(plan: &ConnectorPlan) -> Result<Connector, Error> {
        let provider = Arc::new(provider());
        let desk = Arc::new(Desk::default());
        let verifier: Arc<dyn ServerCertVerifier> = match &plan.roots {
            None => Arc::new(AnyServer(provider.signature_verification_algorithms)),
            Some(roots) => {
                WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(plan.min_tls13))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &plan.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.clone()))),
        };
        config.alpn_protocols = plan.alpn.clone();
        config.resumption = Resumption::disabled();
        config.key_log = desk.clone();
        config.enable_secret_extraction = true;
        Ok(Connector { config: Arc::new(config), desk, one_thread: PhantomData })
    }

    /// A handshake with a server of this name, whose first words are there at once.
    ///
    /// # Errors
    /// Without random bytes.
    pub fn begin(&self, name: ServerName<'static>) -> Result<Handshake, Error> {
        let conn = ClientConnection::new(self.config.clone(), name)?;
        Ok(Handshake::new(Peer::Server(conn), self.desk.clone()))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// Takes any certificate, of whose key the server must have the secret half.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
