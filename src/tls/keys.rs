//! Keys, expanded from what a session keeps.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384};
use zeroize::Zeroize;

use super::suite::Suite;

/// Bytes of a tag: each of the ciphers has the same.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes of the longest secret: the hash of SHA-384.
pub(super) const SECRET_MAX: usize = 48;
/// Bytes of the longest description of what is made of a secret.
const INFO_MAX: usize = 24;

/// The expanded keys of a session, about 1.3 KiB with what they have on the heap.
///
/// [`Awake::default`] has none; each direction is expanded on its first use. It may be dropped
/// before any record, and must not be used with another session.
#[derive(Debug, Default)]
pub struct Awake {
    pub(super) read: Option<Key>,
    pub(super) write: Option<Key>,
}

/// The key of one direction.
#[derive(Debug)]
pub(super) struct Key {
    aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
}

impl Drop for Key {
    fn drop(&mut self) {
        self.iv.zeroize(); // the rest is wiped by AWS-LC
    }
}

impl Key {
    /// Of a traffic secret (TLS 1.3), or of a key with its IV behind it (TLS 1.2).
    pub(super) fn of(suite: Suite, secret: &[u8]) -> Key {
        let (mut key, mut iv) = ([0; 32], [0; NONCE_LEN]);
        let key_bytes = suite.key_bytes();
        if suite.is_tls13() {
            let labels = [(&b"key"[..], &mut key[..key_bytes]), (b"iv", &mut iv)];
            expand(suite, secret, labels);
        } else {
            key[..key_bytes].copy_from_slice(&secret[..key_bytes]);
            iv.copy_from_slice(&secret[key_bytes..]);
        }
        let unbound = UnboundKey::new(suite.aead(), &key[..key_bytes]).expect("a key of its size");
        key.zeroize();
        Key { aead: LessSafeKey::new(unbound), iv }
    }

    /// The nonce of a record (RFC 8446, 5.3; RFC 7905, 2).
    pub(super) fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let low = nonce[4..].iter_mut().zip(sequence.to_be_bytes());
        low.for_each(|(byte, of_sequence)| *byte ^= of_sequence);
        nonce
    }

    /// The nonce of a record that says a part of it itself (RFC 5288, 3).
    pub(super) fn nonce_with(&self, explicit: &[u8]) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(explicit);
        nonce
    }

    /// Opens in place what has its tag behind it. `None`: the tag does not fit.
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        about: &[u8],
        sealed: &mut [u8],
    ) -> Option<usize> {
        let bytes = sealed.len().checked_sub(TAG_BYTES)?;
        let (text, tag) = sealed.split_at_mut(bytes);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.aead.open_in_place_separate_tag(nonce, Aad::from(about), tag, text).ok()?;
        Some(bytes)
    }

    /// Seals `text` in place; `tag` gets what proves it.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        about: &[u8],
        text: &mut [u8],
        tag: &mut [u8],
    ) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.aead.seal_in_place_scatter(nonce, Aad::from(about), text, &[], tag);
        sealed.expect("less than a cipher takes, and room for the tag");
    }
}

/// The secret that comes after this one (RFC 8446, 7.2), in its place.
pub(super) fn step(suite: Suite, secret: &mut [u8]) {
    let mut next = [0; SECRET_MAX];
    let next = &mut next[..secret.len()];
    expand(suite, secret, [(b"traffic upd", &mut *next)]);
    secret.copy_from_slice(next);
    next.zeroize();
}

/// What each label makes of a secret, with the suite's hash.
fn expand<const N: usize>(suite: Suite, secret: &[u8], labels: [(&[u8], &mut [u8]); N]) {
    if suite.has_sha384() {
        expand_by::<Hmac<Sha384>, N>(secret, labels);
    } else {
        expand_by::<Hmac<Sha256>, N>(secret, labels);
    }
}

fn expand_by<H: Mac + KeyInit + Clone, const N: usize>(
    secret: &[u8],
    labels: [(&[u8], &mut [u8]); N],
) {
    let secret = <H as KeyInit>::new_from_slice(secret).expect("any length is a key's");
    labels.into_iter().for_each(|(label, out)| expand_label(secret.clone(), label, out));
}

/// HKDF-Expand-Label without a context (RFC 8446, 7.1), for what one hash is enough for: the
/// first block of HKDF-Expand (RFC 5869, 2.3) is the HMAC of the description and a 1.
fn expand_label(mut secret: impl Mac, label: &[u8], out: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    let mut info = [0; INFO_MAX];
    let end = 3 + PREFIX.len() + label.len();
    info[1] = u8::try_from(out.len()).expect("a hash at most");
    info[2] = u8::try_from(PREFIX.len() + label.len()).expect("a short label");
    info[3..3 + PREFIX.len()].copy_from_slice(PREFIX);
    info[3 + PREFIX.len()..end].copy_from_slice(label);
    info[end + 1] = 1; // behind an empty context
    secret.update(&info[..end + 2]);
    let mut block = secret.finalize().into_bytes();
    out.copy_from_slice(&block[..out.len()]);
    block.zeroize();
}
