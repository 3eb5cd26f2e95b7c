//! A session's keys: a stand-in for the record layer, with what the handshakes' tests need of it.

use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305};
use aws_lc_rs::aead::{LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite(u16);

impl Suite {
    /// The suite of this number.
    pub fn of_number(number: u16) -> Option<Suite> {
        let known = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9, 0xc02f, 0xc030, 0xcca8];
        known.contains(&number).then_some(Suite(number))
    }

    fn is_tls13(self) -> bool {
        self.0 >> 8 == 0x13
    }

    fn parts(self) -> (&'static Algorithm, hkdf::Algorithm) {
        match self.0 {
            0x1301 | 0xc02b | 0xc02f => (&AES_128_GCM, HKDF_SHA256),
            0x1302 | 0xc02c | 0xc030 => (&AES_256_GCM, HKDF_SHA384),
            _ => (&CHACHA20_POLY1305, HKDF_SHA256),
        }
    }

    fn explicit_bytes(self) -> usize {
        if self.is_tls13() || self.parts().0 == &CHACHA20_POLY1305 { 0 } else { 8 }
    }
}

/// The keys of one direction of TLS 1.2.
pub struct Keys12<'a> {
    /// 16 or 32 bytes.
    pub key: &'a [u8],
    /// As rustls extracts it.
    pub iv: &'a [u8; 12],
    /// Of the next record.
    pub sequence: u64,
}

/// Both directions of a connection.
pub struct Session {
    suite: Suite,
    read: Direction,
    write: Direction,
}

/// A secret of TLS 1.3, or a key and an IV of 1.2.
struct Direction {
    secret: Vec<u8>,
    iv: Option<[u8; 12]>,
    sequence: u64,
}

/// Expanded keys, of which the stand-in keeps none.
#[derive(Default)]
pub struct Awake;

/// What was in a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// Data, and where it lies.
    Data(Range<usize>),
    /// All else.
    Nothing,
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Direction {
    fn key_and_nonce(&self, suite: Suite) -> (LessSafeKey, [u8; 12]) {
        let (aead, hash) = suite.parts();
        let (mut key, mut nonce) = (self.secret.clone(), self.iv.unwrap_or_default());
        if suite.is_tls13() {
            let expand = |label: &[u8], bytes: &mut [u8]| {
                let label = [b"tls13 ", label].concat();
                let head = [0, bytes.len() as u8, label.len() as u8];
                let info = [&head[..], &label, &[0]];
                let prk = Prk::new_less_safe(hash, &self.secret);
                let expanded = prk.expand(&info, Bytes(bytes.len())).expect("it is short");
                expanded.fill(bytes).expect("of this length");
            };
            key.truncate(aead.key_len());
            expand(b"key", &mut key);
            expand(b"iv", &mut nonce);
        }
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        (LessSafeKey::new(UnboundKey::new(aead, &key).expect("a key of its size")), nonce)
    }

    fn aad(&self, suite: Suite, kind: u8, plain: usize, sealed: usize) -> Vec<u8> {
        let [_, _, _, _, _, _, high, low] =
            (if suite.is_tls13() { sealed } else { plain } as u64).to_be_bytes();
        let sequence = self.sequence.to_be_bytes();
        let front = if suite.is_tls13() { &[][..] } else { &sequence };
        [front, &[kind, 3, 3, high, low]].concat()
    }
}

impl Session {
    /// Of the secrets of both directions, each with the number of its next record.
    pub fn tls13(suite: Suite, read: (&[u8], u64), write: (&[u8], u64)) -> Session {
        let of = |(secret, sequence): (&[u8], u64)| {
            let secret = secret.to_vec();
            Direction { secret, iv: None, sequence }
        };
        Session { suite, read: of(read), write: of(write) }
    }

    /// Of the keys of both directions.
    pub fn tls12(suite: Suite, read: Keys12<'_>, write: Keys12<'_>) -> Session {
        let of = |keys: Keys12<'_>| {
            let secret = keys.key.to_vec();
            Direction { secret, iv: Some(*keys.iv), sequence: keys.sequence }
        };
        Session { suite, read: of(read), write: of(write) }
    }

    /// The same session as a client's.
    pub fn of_client(self) -> Session {
        self
    }

    /// Whether it is of TLS 1.3.
    pub fn is_tls13(&self) -> bool {
        self.suite.is_tls13()
    }

    /// Opens a record in place.
    pub fn open(&mut self, _: &mut Awake, record: &mut [u8]) -> Result<Opened, ()> {
        let explicit = self.suite.explicit_bytes();
        let (key, mut nonce) = self.read.key_and_nonce(self.suite);
        nonce[12 - explicit..].copy_from_slice(&record[5..5 + explicit]);
        let plain = record.len() - 5 - explicit - 16;
        let aad = self.read.aad(self.suite, record[0], plain, record.len() - 5);
        let body = &mut record[5 + explicit..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.open_in_place(nonce, Aad::from(aad), body).map_err(|_| ())?;
        self.read.sequence += 1;
        let from = 5 + explicit;
        match (self.suite.is_tls13(), record[from + plain - 1], record[0]) {
            (true, 23, _) => Ok(Opened::Data(from..from + plain - 1)),
            (false, _, 23) => Ok(Opened::Data(from..from + plain)),
            _ => Ok(Opened::Nothing),
        }
    }

    /// Seals bytes in place.
    pub fn seal(&mut self, _: &mut Awake, memory: &mut [u8], plain: Range<usize>) -> Range<usize> {
        let explicit = self.suite.explicit_bytes();
        let (key, nonce) = self.write.key_and_nonce(self.suite);
        let mut body = memory[plain.clone()].to_vec();
        body.extend(self.suite.is_tls13().then_some(23));
        let sealed = explicit + body.len() + 16;
        let aad = self.write.aad(self.suite, 23, body.len(), sealed);
        let of_nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(of_nonce, Aad::from(aad), &mut body).expect("it is short");
        self.write.sequence += 1;
        let start = plain.start - 5 - explicit;
        let head = [23, 3, 3, (sealed >> 8) as u8, sealed as u8];
        let record = [&head, &nonce[12 - explicit..], &body[..]].concat();
        memory[start..start + record.len()].copy_from_slice(&record);
        start..start + record.len()
    }
}
