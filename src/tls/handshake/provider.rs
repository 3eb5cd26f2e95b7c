//! The cryptography of handshakes: rustls's own, which expands a key no sooner than it is used.
//!
//! A server that waits for its client's Finished knows two keys that it has no record for yet, and
//! AWS-LC takes 0.7 KB for each that is expanded. A client may never say it.

use std::sync::LazyLock;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite,
};

use crate::tls::keys::TAG_BYTES;

/// rustls's provider, with such suites of TLS 1.3. Those of TLS 1.2 have no keys while they wait
/// for a client.
pub(super) fn provider() -> CryptoProvider {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| default_provider().cipher_suites.into_iter().map(late).collect());
    CryptoProvider { cipher_suites: SUITES.clone(), ..default_provider() }
}

/// The same suite with keys that are expanded late. It is never freed: it is made once in a
/// process.
fn late(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(suite) = suite else { return suite };
    let CipherSuiteCommon { suite: number, hash_provider, confidentiality_limit } = suite.common;
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon { suite: number, hash_provider, confidentiality_limit },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: Box::leak(Box::new(Late(suite.aead_alg))),
        quic: None,
    })))
}

/// A cipher whose keys are expanded late.
struct Late(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Late {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(LateKey { cipher: self.0, key: Some((key, iv)), expanded: None })
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(LateKey { cipher: self.0, key: Some((key, iv)), expanded: None })
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// The key of a direction, until a record needs it, and what was made of it then.
struct LateKey<E> {
    cipher: &'static dyn Tls13AeadAlgorithm,
    key: Option<(AeadKey, Iv)>,
    expanded: Option<E>,
}

impl<E> LateKey<E> {
    fn expanded(&mut self, expand: fn(&dyn Tls13AeadAlgorithm, AeadKey, Iv) -> E) -> &mut E {
        if let Some((key, iv)) = self.key.take() {
            self.expanded = Some(expand(self.cipher, key, iv));
        }
        self.expanded.as_mut().expect("made of the key, which there was")
    }
}

impl MessageEncrypter for LateKey<Box<dyn MessageEncrypter>> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        self.expanded(|cipher, key, iv| cipher.encrypter(key, iv)).encrypt(message, sequence)
    }

    /// Each cipher of TLS 1.3 adds the type and a tag (RFC 8446, 5.2).
    fn encrypted_payload_len(&self, bytes: usize) -> usize {
        bytes + 1 + TAG_BYTES
    }
}

impl MessageDecrypter for LateKey<Box<dyn MessageDecrypter>> {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        self.expanded(|cipher, key, iv| cipher.decrypter(key, iv)).decrypt(message, sequence)
    }
}
