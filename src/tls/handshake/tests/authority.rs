//! Authorities, and the certificates that they sign.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::UnknownName;
use crate::tls::certificates::{Certificates, Entry};

/// One that signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// What a certificate says.
#[derive(Clone)]
pub(super) struct Wanted<'a> {
    pub names: &'a [&'a str],
    pub common_name: &'a str,
    /// The years in which it begins and ends.
    pub years: (i32, i32),
}

impl<'a> Wanted<'a> {
    pub(super) fn of(names: &'a [&'a str]) -> Wanted<'a> {
        Wanted { names, common_name: "", years: (2020, 4000) }
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("random bytes");
        let der = params.self_signed(&key).expect("a plain certificate").der().clone();
        Authority { issuer: Issuer::new(params, key), der }
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("it is an authority");
        Arc::new(roots)
    }

    /// One certificate for each, the first for clients that ask for no name; a client that asks
    /// for another is refused.
    pub(super) fn certificates(&self, names: &[&[&str]]) -> Arc<Certificates> {
        let entry = |names: &&[&str]| {
            let certified = self.issue(&Wanted::of(names));
            Entry::new(Path::new("edge.pem"), certified).expect("a sound certificate")
        };
        Arc::new(Certificates::new(names.iter().map(entry).collect(), UnknownName::Refuse))
    }

    pub(super) fn issue(&self, wanted: &Wanted<'_>) -> Arc<CertifiedKey> {
        let names: Vec<String> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !wanted.common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, wanted.common_name);
        }
        params.not_before = date_time_ymd(wanted.years.0, 1, 1);
        params.not_after = date_time_ymd(wanted.years.1, 1, 1);
        let key = KeyPair::generate().expect("random bytes");
        let certificate = params.signed_by(&key, &self.issuer).expect("a plain certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key in PKCS #8");
        let key = any_ecdsa_type(&key).expect("rcgen makes ECDSA keys");
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}
