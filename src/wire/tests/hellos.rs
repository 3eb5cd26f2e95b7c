//! ClientHellos, built and captured.

/// Builds a ClientHello, right as it stands; a test changes what is to be wrong.
#[derive(Clone)]
pub(super) struct Builder {
    /// Of the session, the suites and the compressions.
    pub(super) session: Vec<u8>,
    pub(super) suites: Vec<u8>,
    pub(super) compressions: Vec<u8>,
    /// `None`: the message ends before them.
    pub(super) extensions: Option<Vec<Vec<u8>>>,
}

impl Builder {
    /// A hello with these extensions.
    pub(super) fn with(extensions: &[Vec<u8>]) -> Builder {
        Builder {
            session: vec![7; 32],
            // A value that means nothing (GREASE, RFC 8701), and two suites.
            suites: vec![0x1a, 0x1a, 0x13, 0x01, 0xc0, 0x2f],
            compressions: vec![0],
            extensions: Some(extensions.to_vec()),
        }
    }

    /// The message.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut body = [&[3, 3][..], &[9; 32]].concat();
        body.extend(sized::<1>(&self.session));
        body.extend(sized::<2>(&self.suites));
        body.extend(sized::<1>(&self.compressions));
        if let Some(extensions) = &self.extensions {
            body.extend(sized::<2>(&extensions.concat()));
        }
        [&[1][..], &sized::<3>(&body)].concat()
    }

    /// The message in as few records as carry it.
    pub(super) fn records(&self) -> Vec<u8> {
        in_records(&self.message(), 1 << 14)
    }
}

/// A message in records that carry so many bytes each.
pub(super) fn in_records(message: &[u8], bytes: usize) -> Vec<u8> {
    message.chunks(bytes).flat_map(|piece| record(22, piece)).collect()
}

pub(super) fn record(kind: u8, piece: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &sized::<2>(piece)].concat()
}

/// Bytes behind their number, which takes `LENGTH` bytes.
pub(super) fn sized<const LENGTH: usize>(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    [&length[4 - LENGTH..], bytes].concat()
}

pub(super) fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized::<2>(value)].concat()
}

/// The extension with these names of hosts.
pub(super) fn names(names: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> =
        names.iter().map(|name| [&[0][..], &sized::<2>(name)].concat()).collect();
    extension(0, &sized::<2>(&entries.concat()))
}

/// The extension with these protocols.
pub(super) fn protocols(protocols: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = protocols.iter().map(|protocol| sized::<1>(protocol)).collect();
    extension(16, &sized::<2>(&entries.concat()))
}

/// An extension that means nothing (GREASE).
pub(super) fn grease() -> Vec<u8> {
    extension(0x3a3a, &[0])
}

/// The share of a key of so many bytes.
pub(super) fn key_share(bytes: usize) -> Vec<u8> {
    let share = [&[0x11, 0xec][..], &sized::<2>(&vec![5; bytes])].concat();
    extension(51, &sized::<2>(&share))
}

/// A ClientHello that was captured: the bytes of one client, in hexadecimal digits.
pub(super) fn captured(digits: &str) -> Vec<u8> {
    let digits = digits.trim().as_bytes();
    data_encoding::HEXLOWER.decode(digits).expect("hexadecimal digits")
}

/// `openssl s_client` 3.0, with a name and the protocol of PostgreSQL.
pub(super) const OPENSSL: &str = include_str!("openssl-3.0-s_client.hex");
/// curl 7.88 with OpenSSL 3.0.
pub(super) const CURL: &str = include_str!("curl-7.88.hex");
/// rustls 0.23 with aws-lc-rs: the share of an ML-KEM key makes it long.
pub(super) const RUSTLS: &str = include_str!("rustls-0.23.hex");
/// The client of Java 17, without protocols.
pub(super) const JAVA: &str = include_str!("java-17.hex");
