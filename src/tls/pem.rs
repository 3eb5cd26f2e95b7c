//! PEM files (RFC 7468): certificates and private keys, each file read whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use zeroize::Zeroizing;

/// A file of certificates or of a key is smaller; the bundle of a whole system has 250 KiB.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// What is wrong with a file, which the caller names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) says: String,
    pub(super) remedy: &'static str,
    /// It is not there, or this user may not read it.
    pub(super) is_unreadable: bool,
}

impl Fault {
    fn new(says: impl Into<String>, remedy: &'static str) -> Fault {
        Fault { says: says.into(), remedy, is_unreadable: false }
    }
}

/// The bytes of a file, gone from memory when they are dropped.
pub(super) fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |error: io::Error| Fault {
        says: format!("cannot be read: {error}"),
        remedy: "name a file that the gateway's user can read",
        is_unreadable: true,
    };
    let what = std::fs::metadata(path).map_err(unreadable)?;
    if !what.is_file() {
        return Err(Fault::new("is no file", "name a file"));
    }
    if what.len() > FILE_MAX_BYTES {
        let says = format!("is larger than {FILE_MAX_BYTES} bytes");
        return Err(Fault::new(says, "name a file of certificates or of a key"));
    }
    // With all of its room from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(what.len() as usize + 1));
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The certificates of a file, at least one, in its order.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let remedy = "write it as PEM: -----BEGIN CERTIFICATE-----";
    let lines: Vec<usize> =
        sections(bytes).filter(|(_, label)| label == "CERTIFICATE").map(|(line, _)| line).collect();
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let line = lines.get(found.len()).copied().unwrap_or(1);
        let certificate = certificate
            .map_err(|error| Fault::new(format!("line {line}: is no PEM: {error}"), remedy))?;
        if let Err(error) = x509_parser::parse_x509_certificate(&certificate) {
            let says = format!("line {line}: is no certificate: {error}");
            return Err(Fault::new(says, "have it made or copied again"));
        }
        found.push(certificate);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let has_key = sections(bytes).any(|(_, label)| label.ends_with("PRIVATE KEY"));
    Err(match has_key {
        true => Fault::new("has a private key and no certificate", "name the certificate's file"),
        false => Fault::new("has no certificate", remedy),
    })
}

/// The only private key of a file.
pub(super) fn key(bytes: &[u8]) -> Result<Arc<dyn SigningKey>, Fault> {
    let keys: Vec<(usize, String)> =
        sections(bytes).filter(|(_, label)| label.ends_with("PRIVATE KEY")).collect();
    let line = match &keys[..] {
        [] => {
            let remedy = "write it as PEM: -----BEGIN PRIVATE KEY-----";
            return Err(Fault::new("has no private key", remedy));
        }
        [(line, _)] => *line,
        [_, (line, _), ..] => {
            let says = format!("line {line}: is one private key more than one");
            return Err(Fault::new(says, "leave the one that belongs to the certificate"));
        }
    };
    // The second is the older form, in a header within the section (RFC 1421).
    if keys[0].1.starts_with("ENCRYPTED") || contains(bytes, b"Proc-Type: 4,ENCRYPTED") {
        let says = format!("line {line}: the key has a passphrase, and nobody is there to type it");
        return Err(Fault::new(says, "store it without: openssl pkey -in KEY -out NEW"));
    }
    // The error is not shown: nothing of a key is.
    let no_pem = |_| {
        let says = format!("line {line}: the key is no PEM");
        Fault::new(says, "have it made or copied again")
    };
    let key = PrivateKeyDer::from_pem_slice(bytes).map(Zeroizing::new).map_err(no_pem)?;
    rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|_| {
        let says = format!("line {line}: is no RSA, ECDSA or Ed25519 key that TLS can use");
        Fault::new(says, "have one made of these kinds: openssl genpkey -algorithm ed25519")
    })
}

/// Where sections begin: the line, counted from 1, and the label.
fn sections(bytes: &[u8]) -> impl Iterator<Item = (usize, String)> {
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    lines.filter_map(|(text, line)| {
        let label = text.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        Some((line, String::from_utf8_lossy(label).into_owned()))
    })
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
