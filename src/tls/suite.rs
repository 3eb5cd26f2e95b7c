//! The cipher suites that a session can have, with what each needs.

use std::borrow::Cow;

use aws_lc_rs::aead;

/// A cipher suite: those of TLS 1.3, and those of TLS 1.2 with ECDHE and an AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // each is named as IANA names it
pub enum Suite {
    Aes128GcmSha256,
    Aes256GcmSha384,
    Chacha20Poly1305Sha256,
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305Sha256,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaChacha20Poly1305Sha256,
}

/// Each suite with its number and name (IANA, "TLS Cipher Suites"), in the order of [`Suite`].
const SUITES: [(Suite, u16, &str); 9] = [
    (Suite::Aes128GcmSha256, 0x1301, "TLS_AES_128_GCM_SHA256"),
    (Suite::Aes256GcmSha384, 0x1302, "TLS_AES_256_GCM_SHA384"),
    (Suite::Chacha20Poly1305Sha256, 0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (Suite::EcdheEcdsaAes128GcmSha256, 0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (Suite::EcdheEcdsaAes256GcmSha384, 0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (
        Suite::EcdheEcdsaChacha20Poly1305Sha256,
        0xcca9,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (Suite::EcdheRsaAes128GcmSha256, 0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (Suite::EcdheRsaAes256GcmSha384, 0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (Suite::EcdheRsaChacha20Poly1305Sha256, 0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// What encrypts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl Suite {
    /// The suite of this number; `None`: no session can have it.
    pub fn of_number(number: u16) -> Option<Suite> {
        SUITES.iter().find(|(_, known, _)| *known == number).map(|(suite, ..)| *suite)
    }

    /// The number by which hellos name it (IANA).
    pub fn number(self) -> u16 {
        SUITES[self as usize].1
    }

    /// Its name, as IANA spells it.
    pub fn name(self) -> &'static str {
        SUITES[self as usize].2
    }

    /// Its name as OpenSSL spells it, and with it most of what people and servers read.
    pub fn spoken_name(self) -> Cow<'static, str> {
        if self.is_tls13() {
            return self.name().into();
        }
        let name = self.name().trim_start_matches("TLS_").replace("_WITH_", "-");
        let name = name.replace("AES_", "AES").replace("POLY1305_SHA256", "POLY1305");
        name.replace('_', "-").into()
    }

    /// The version of TLS, as in "TLSv1.3".
    pub fn version(self) -> &'static str {
        if self.is_tls13() { "TLSv1.3" } else { "TLSv1.2" }
    }

    /// Whether it is one of TLS 1.3, else of TLS 1.2.
    pub fn is_tls13(self) -> bool {
        self as usize <= Suite::Chacha20Poly1305Sha256 as usize
    }

    /// The power of two of the records that one key may seal: those of 16 KiB keep the chance of
    /// an attacker below 2^-60 (draft-irtf-cfrg-aead-limits-08, 5.1.1). 64: as many as there are
    /// sequence numbers.
    pub fn limit_power(self) -> u8 {
        if self.cipher() == Cipher::Chacha20Poly1305 { 64 } else { 24 }
    }

    /// Its place in the list of suites, which a session's bytes have.
    pub(super) fn of_place(place: u8) -> Option<Suite> {
        SUITES.get(usize::from(place)).map(|(suite, ..)| *suite)
    }

    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self.cipher() {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    /// Bytes of a key.
    pub(super) fn key_bytes(self) -> usize {
        if self.cipher() == Cipher::Aes128Gcm { 16 } else { 32 }
    }

    /// Bytes that a session keeps for a direction: a traffic secret, or a key and its IV.
    pub(super) fn secret_bytes(self) -> usize {
        match self.is_tls13() {
            true if self.has_sha384() => 48,
            true => 32,
            false => self.key_bytes() + aead::NONCE_LEN,
        }
    }

    /// Bytes of the nonce that a record says (RFC 5288, 3).
    pub(super) fn explicit_bytes(self) -> usize {
        if self.is_tls13() || self.cipher() == Cipher::Chacha20Poly1305 { 0 } else { 8 }
    }

    /// Keys are made of secrets with SHA-384 (TLS 1.3), else with SHA-256.
    pub(super) fn has_sha384(self) -> bool {
        self.cipher() == Cipher::Aes256Gcm
    }

    fn cipher(self) -> Cipher {
        [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Chacha20Poly1305][self as usize % 3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_called_as_openssl_calls_them() {
        let names = SUITES.map(|(suite, ..)| suite.spoken_name());
        assert_eq!(
            names,
            [
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ]
        );
        assert_eq!(Suite::Aes128GcmSha256.version(), "TLSv1.3");
        assert_eq!(Suite::EcdheRsaAes128GcmSha256.version(), "TLSv1.2");
    }
}
