//! Authorities, and the certificates that they sign.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

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

/// Certificates by name, and the one for clients that name none or another.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    pub by_name: Vec<(&'static str, Arc<CertifiedKey>)>,
    pub fallback: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let known = self.by_name.iter().find(|(known, _)| *known == name);
        known.map(|(_, certified)| certified.clone()).or_else(|| self.fallback.clone())
    }
}
