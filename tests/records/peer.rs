//! Handshakes of rustls with itself in memory. One end goes on as a session of the gateway, the
//! other as it is, or as one that sends any record.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use portcullis::tls::{Keys12, Session, Suite};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs as provider;
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, ContentType,
    DigitallySignedStruct, Error, ExtractedSecrets, KeyLog, ProtocolVersion, ServerConfig,
    ServerConnection, SignatureScheme, SupportedCipherSuite,
};

/// Which end of the connection is the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Server,
    Client,
}

pub(crate) const ENDS: [End; 2] = [End::Server, End::Client];

/// Numbers of suites: each kind of record.
const KINDS: [u16; 6] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9];

/// A suite of each version and AEAD.
pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    KINDS.into_iter().map(|number| Suite::of_number(number).expect("it is known"))
}

/// As rustls knows a suite.
fn known(suite: Suite) -> SupportedCipherSuite {
    let mut all = provider::ALL_CIPHER_SUITES.iter();
    *all.find(|known| u16::from(known.suite()) == suite.number()).expect("rustls has it")
}

/// A connection that has shaken hands.
pub(crate) struct Shaken {
    suite: Suite,
    client: ClientConnection,
    server: ServerConnection,
    log: Arc<Secrets>,
    /// What the server has sent behind the handshake.
    pub(crate) behind: Vec<u8>,
}

/// Secrets by label.
#[derive(Debug, Default)]
struct Secrets(Mutex<HashMap<String, Vec<u8>>>);

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0.lock().expect("no panic").insert(label.to_owned(), secret.to_owned());
    }
}

/// Shakes hands with this suite; the server sends so many tickets behind it.
pub(crate) fn shake(suite: Suite, tickets: usize) -> Shaken {
    let known = known(suite);
    let crypto = rustls::crypto::CryptoProvider {
        cipher_suites: vec![known],
        kx_groups: vec![provider::kx_group::X25519],
        ..provider::default_provider()
    };
    let (crypto, versions) = (Arc::new(crypto), [known.version()]);
    let log = Arc::new(Secrets::default());
    let server = ServerConfig::builder_with_provider(crypto.clone())
        .with_protocol_versions(&versions)
        .expect("a version of the suite");
    let mut server = server.with_no_client_auth().with_cert_resolver(Arc::new(OneKey));
    server.enable_secret_extraction = true;
    server.key_log = log.clone();
    server.send_tls13_tickets = tickets;
    let client =
        ClientConfig::builder_with_provider(crypto).with_protocol_versions(&versions).expect("it");
    let client = client.dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let mut client = client.with_no_client_auth();
    client.enable_secret_extraction = true;
    let name = ServerName::try_from("portcullis.test").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    let mut behind = Vec::new();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        take(&mut server, &bytes).expect("a handshake");
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        if client.is_handshaking() {
            take(&mut client, &bytes).expect("a handshake");
        } else {
            behind.extend(bytes);
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Shaken { suite, client, server, log, behind }
}

/// Has one end of rustls read these bytes.
pub(crate) fn take<D>(
    end: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    mut bytes: &[u8],
) -> Result<(), Error> {
    while !bytes.is_empty() {
        end.read_tls(&mut bytes).expect("memory");
        end.process_new_packets()?;
    }
    Ok(())
}

impl Shaken {
    /// The gateway's end as a session, the other one as it is.
    pub(crate) fn with_rustls(self, end: End) -> (Session, Connection) {
        let Shaken { suite, client, server, log, .. } = self;
        let (extracted, peer) = match end {
            End::Server => (server.dangerous_extract_secrets(), Connection::Client(client)),
            End::Client => (client.dangerous_extract_secrets(), Connection::Server(server)),
        };
        (session(suite, end, &extracted.expect("they were asked for"), &log), peer)
    }

    /// The gateway's end as a session, and a peer that sends any record.
    pub(crate) fn with_sender(self, end: End) -> (Session, Sender) {
        let Shaken { suite, client, server, log, .. } = self;
        let client = client.dangerous_extract_secrets().expect("they were asked for");
        let server = server.dangerous_extract_secrets().expect("they were asked for");
        let (own, peer) = match end {
            End::Server => (server, client),
            End::Client => (client, server),
        };
        let own = session(suite, end, &own, &log);
        // What the peer has sent behind the handshake, it never sent.
        let sequence = if suite.is_tls13() { 0 } else { peer.tx.0 };
        (own, Sender::new(suite, peer.tx.1, sequence))
    }

    /// The gateway's end twice, as a session and as rustls has it, and a peer that sends any
    /// record.
    #[allow(dead_code)] // of the fuzz target
    pub(crate) fn with_both_and_sender(self) -> (Session, ServerConnection, Sender) {
        let Shaken { suite, client, server, log, .. } = self;
        let client = client.dangerous_extract_secrets().expect("they were asked for");
        let own = ExtractedSecrets { tx: client.rx, rx: client.tx };
        let session = session(suite, End::Server, &own, &log);
        (session, server, Sender::new(suite, own.rx.1, own.rx.0))
    }
}

fn session(suite: Suite, end: End, extracted: &ExtractedSecrets, log: &Secrets) -> Session {
    let ((sent, write), (received, read)) = (&extracted.tx, &extracted.rx);
    let session = if suite.is_tls13() {
        let log = log.0.lock().expect("no panic");
        let [client, server] = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"]
            .map(|label| log.get(label).expect("it was logged").as_slice());
        match end {
            End::Server => Session::tls13(suite, (client, *received), (server, *sent)),
            End::Client => Session::tls13(suite, (server, *received), (client, *sent)),
        }
    } else {
        let keys = |secrets, sequence| {
            let (key, iv) = parts(secrets);
            Keys12 { key: key.as_ref(), iv: iv.as_ref().try_into().expect("12 bytes"), sequence }
        };
        Session::tls12(suite, keys(read, *received), keys(write, *sent))
    };
    if end == End::Client { session.of_client() } else { session }
}

fn parts(secrets: &ConnectionTrafficSecrets) -> (&AeadKey, &Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => unreachable!("no other suite is asked for"),
    }
}

/// Sends any record under the keys of an end, sealed by rustls.
pub(crate) struct Sender {
    suite: Suite,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Sender {
    fn new(suite: Suite, secrets: ConnectionTrafficSecrets, sequence: u64) -> Sender {
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => unreachable!("no other suite is asked for"),
        };
        let encrypter = match known(suite) {
            SupportedCipherSuite::Tls13(known) => known.aead_alg.encrypter(key, iv),
            SupportedCipherSuite::Tls12(known) => {
                let fixed_bytes = known.aead_alg.key_block_shape().fixed_iv_len;
                let (fixed, explicit) = iv.as_ref().split_at(fixed_bytes);
                known.aead_alg.encrypter(key, fixed, explicit)
            }
        };
        let mut sender = Sender { suite, encrypter, sequence: 0 };
        // AWS-LC takes the first nonce that it sees for that of the first record.
        (0..sequence).for_each(|_| drop(sender.record(0, &[])));
        sender
    }

    /// The next record, of this type and content.
    pub(crate) fn record(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let message = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let record = self.encrypter.encrypt(message, self.sequence - 1);
        record.expect("rustls seals it").encode()
    }

    /// The next record of TLS 1.3, with so many bytes of padding, at least one.
    pub(crate) fn padded(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        assert!(self.suite.is_tls13() && padding > 0);
        // rustls puts the type behind what it takes for the content: the last byte of padding.
        let padded = [content, &[kind], &vec![0; padding - 1]].concat();
        self.record(0, &padded)
    }
}

/// Takes every server for the one it asks for.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256]
    }
}

/// Has a key of the kind that the client asks for. Nobody looks at the certificate.
#[derive(Debug)]
struct OneKey;

impl ResolvesServerCert for OneKey {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let of_rsa = hello.cipher_suites().iter().any(|suite| {
            Suite::of_number(u16::from(*suite)).is_some_and(|suite| suite.name().contains("_RSA_"))
        });
        Some(if of_rsa { RSA.clone() } else { ECDSA.clone() })
    }
}

static ECDSA: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
    certified(key.expect("chance").as_ref())
});

static RSA: LazyLock<Arc<CertifiedKey>> = LazyLock::new(|| {
    let key = rsa::KeyPair::generate(KeySize::Rsa2048).expect("chance");
    certified(AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("a key").as_ref())
});

fn certified(key: &[u8]) -> Arc<CertifiedKey> {
    let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let key = provider::sign::any_supported_type(&key).expect("a key");
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(vec![0x30, 0])], key))
}
