//! Certificates of a listener by the names in them: which one a client gets.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::x509::X509Name;

use crate::config::UnknownName;

/// Certificates with their keys, and who gets which. It never changes.
#[derive(PartialEq, Eq)]
pub struct Certificates {
    entries: Vec<Entry>,
    /// By name in lower case: places in `entries`.
    exact: HashMap<String, Vec<usize>>,
    /// The same by what follows "*.".
    wildcards: HashMap<String, Vec<usize>>,
    unknown: UnknownName,
}

/// A certificate as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Where it was read.
    pub file: PathBuf,
    /// The names of hosts in it (subjectAltName), in lower case. The common name of the subject is
    /// none of them: clients do not look at it (RFC 9525, section 2).
    pub names: Vec<String>,
    /// Its subject, whole.
    pub subject: String,
    /// The common name of its issuer, or the whole where there is none.
    pub issuer: String,
    /// It is valid from this second since 1970 on.
    pub not_before: i64,
    /// And up to this one.
    pub not_after: i64,
}

/// A certificate with its key.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: CertificateFacts,
    /// A digest of its names, equal in the certificate that renews it; of all of it where it has
    /// none.
    pub(super) names: Digest,
}

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// The same certificates are the same: each of them has its key.
impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (&self.key.cert, &self.facts) == (&other.key.cert, &other.facts)
    }
}

impl Eq for Entry {}

impl Entry {
    /// One that was read from `file`; `None`: its certificate is malformed.
    pub(super) fn new(file: &Path, key: Arc<CertifiedKey>) -> Option<Entry> {
        let der = &**key.cert.first()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let names = certificate.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).ok()?;
        let names = digest(&[names.map_or(der, |names| names.value)]);
        let facts = CertificateFacts::of(file, &certificate)?;
        Some(Entry { key, facts, names })
    }
}

/// Without the keys.
impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.facts()).finish()
    }
}

impl Certificates {
    /// # Panics
    /// Without an entry.
    pub(super) fn new(entries: Vec<Entry>, unknown: UnknownName) -> Certificates {
        assert!(!entries.is_empty(), "a listener with TLS has a certificate");
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for (place, entry) in entries.iter().enumerate() {
            for name in &entry.facts.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut wildcards, suffix),
                    None => (&mut exact, &**name),
                };
                names.entry(name.to_owned()).or_insert_with(Vec::new).push(place);
            }
        }
        Certificates { entries, exact, wildcards, unknown }
    }

    /// What people know of each, in the order of the config.
    pub fn facts(&self) -> impl Iterator<Item = &CertificateFacts> {
        self.entries.iter().map(|entry| &entry.facts)
    }

    /// The certificate for a client that asks for this name and knows these kinds of signatures;
    /// `None`: it is refused, for which RFC 6066 has the alert unrecognized_name. Of several with
    /// the name it is the first whose key can sign for the client.
    pub(super) fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Entry> {
        let places = match name {
            Some(name) => self.places(name),
            None => &[],
        };
        let signs = |place: &&usize| self.entries[**place].key.key.choose_scheme(schemes).is_some();
        let found = places.iter().find(signs).or(places.first()).copied();
        match (found, name, self.unknown) {
            (Some(place), ..) => Some(&self.entries[place]),
            (None, Some(_), UnknownName::Refuse) => None,
            (None, ..) => Some(&self.entries[0]),
        }
    }

    /// The certificates that have a name: as it stands, or else with a wildcard for its first
    /// label.
    fn places(&self, name: &str) -> &[usize] {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let by_wildcard =
            || self.wildcards.get(name.split_once('.').filter(|(first, _)| !first.is_empty())?.1);
        self.exact.get(&name).or_else(by_wildcard).map_or(&[], |places| &**places)
    }
}

impl CertificateFacts {
    /// What a certificate says of itself; `None`: its names are malformed.
    fn of(file: &Path, certificate: &X509Certificate<'_>) -> Option<CertificateFacts> {
        let names = certificate.subject_alternative_name().ok()?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let host = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        let validity = certificate.validity();
        Some(CertificateFacts {
            file: file.to_owned(),
            names: names.iter().filter_map(host).collect(),
            subject: certificate.subject().to_string(),
            issuer: common_name(certificate.issuer()),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Its first name, or its subject where it has none.
    pub fn title(&self) -> &str {
        self.names.first().unwrap_or(&self.subject)
    }
}

fn common_name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|it| it.as_str().ok());
    common.map_or_else(|| name.to_string(), str::to_owned)
}

/// The digest of `parts`, each with its length.
pub(super) fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
