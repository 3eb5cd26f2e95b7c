//! rustls as the other end of a handshake, and as the reader of what its session seals.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{Connection, Error, RootCertStore, SupportedProtocolVersion};

use super::super::{Established, Handshake, HandshakeFault, State};
use crate::tls::{Awake, Opened};

/// Versions of TLS, as rustls takes them.
pub(super) type Versions = &'static [&'static SupportedProtocolVersion];
pub(super) const NEW: Versions = &[&TLS13];
pub(super) const OLD: Versions = &[&TLS12];

/// Rounds of words that no handshake needs all of.
const ROUNDS: usize = 16;

/// How a handshake ended.
pub(super) struct Outcome {
    pub established: Result<Box<Established>, HandshakeFault>,
    /// Bytes of the peer behind the handshake.
    pub rest: Vec<u8>,
    /// What rustls says at the other end.
    pub peer_error: Option<Error>,
}

impl Outcome {
    pub(super) fn expect(self) -> (Established, Vec<u8>) {
        let error = self.peer_error;
        let established = self.established.unwrap_or_else(|fault| panic!("{fault}: {error:?}"));
        (*established, self.rest)
    }

    pub(super) fn fault(&self) -> Option<HandshakeFault> {
        self.established.as_ref().err().copied()
    }
}

/// Lets both ends speak until the handshake is over, with the peer's words in pieces of at most
/// `piece_bytes`, and has the peer hear the last words.
pub(super) fn shake(
    handshake: &mut Handshake,
    peer: &mut Connection,
    piece_bytes: usize,
) -> Outcome {
    let mut outcome = None;
    let mut peer_error = hear(peer, &handshake.words());
    for _ in 0..ROUNDS {
        let mut words = said(peer);
        while !words.is_empty() && outcome.is_none() {
            let piece = &words[..piece_bytes.min(words.len())];
            let taken = handshake.take(piece);
            match taken.state {
                State::More => assert_eq!(taken.used_bytes, piece.len(), "more takes all"),
                State::Done(established) => outcome = Some(Ok(established)),
                State::Failed(fault) => outcome = Some(Err(fault)),
            }
            words.drain(..taken.used_bytes);
        }
        peer_error = peer_error.or_else(|| hear(peer, &handshake.words()));
        if let Some(established) = outcome {
            return Outcome { established, rest: words, peer_error };
        }
    }
    panic!("no end after {ROUNDS} rounds: {peer_error:?}");
}

/// All that rustls has to say.
pub(super) fn said(peer: &mut Connection) -> Vec<u8> {
    let mut words = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut words).expect("memory takes it");
    }
    words
}

/// Has rustls hear `words`.
pub(super) fn hear(peer: &mut Connection, mut words: &[u8]) -> Option<Error> {
    while !words.is_empty() {
        peer.read_tls(&mut words).expect("memory gives it");
        if let Err(error) = peer.process_new_packets() {
            return Some(error);
        }
    }
    None
}

/// Bytes go both ways between a session and rustls, `rest` first.
pub(super) fn bytes_pass(established: Established, mut rest: Vec<u8>, peer: &mut Connection) {
    let (mut session, mut awake) = (established.session, Awake::default());
    for number in 0..3 {
        let text = format!("ping {number}");
        peer.writer().write_all(text.as_bytes()).expect("memory takes it");
        rest.extend(said(peer));
        let mut heard = Vec::new();
        while let Some(head) = rest.first_chunk::<5>() {
            let bytes = 5 + usize::from(u16::from_be_bytes([head[3], head[4]]));
            let mut record: Vec<u8> = rest.drain(..bytes).collect();
            if let Opened::Data(range) = session.open(&mut awake, &mut record).expect("it opens") {
                heard.extend_from_slice(&record[range]);
            }
        }
        assert_eq!(heard, text.as_bytes());

        let answer = format!("pong {number}");
        let mut memory = [&[0; 64], answer.as_bytes(), &[0; 64]].concat();
        let sealed = session.seal(&mut awake, &mut memory, 64..64 + answer.len());
        assert_eq!(hear(peer, &memory[sealed]), None);
        let mut heard = vec![0; answer.len()];
        peer.reader().read_exact(&mut heard).expect("the answer is there");
        assert_eq!(heard, answer.as_bytes());
    }
}

/// What a client is like.
#[derive(Clone)]
pub(super) struct Client {
    pub roots: Arc<RootCertStore>,
    pub provider: CryptoProvider,
    pub versions: Versions,
    pub alpn: Vec<Vec<u8>>,
    pub identity: Option<Arc<CertifiedKey>>,
    pub says_name: bool,
}

impl Client {
    pub(super) fn new(roots: Arc<RootCertStore>) -> Client {
        Client {
            roots,
            provider: default_provider(),
            versions: rustls::ALL_VERSIONS,
            alpn: Vec::new(),
            identity: None,
            says_name: true,
        }
    }

    /// Its config, which also keeps the tickets that it gets.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(self.versions)
            .expect("they have suites")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.clone()))),
        };
        config.alpn_protocols = self.alpn.clone();
        config.enable_sni = self.says_name;
        Arc::new(config)
    }

    pub(super) fn connect(&self, name: &'static str) -> Connection {
        connect(&self.config(), name)
    }
}

pub(super) fn connect(config: &Arc<ClientConfig>, name: &'static str) -> Connection {
    let name = ServerName::try_from(name).expect("it is a name");
    Connection::Client(ClientConnection::new(config.clone(), name).expect("random bytes"))
}
