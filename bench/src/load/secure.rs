//! The flags by which the connections of a scenario speak TLS.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use portcullis::tls::ConnectorPlan;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::engine::Towards;

/// The value of a flag for a file that stands for none.
const OFF: &str = "off";

#[derive(Args, Clone, Debug)]
pub(crate) struct Secure {
    /// Connections speak TLS 1.3 or 1.2, in sessions as small as the gateway's. What they cost to
    /// open includes a full handshake: none is resumed
    #[arg(long)]
    tls: bool,
    /// PEM: authorities of the target's certificate; off: any certificate is taken
    #[arg(long, requires = "tls", value_name = "FILE|off", default_value = OFF)]
    tls_ca: String,
    /// The name that the target is asked for; its certificate must have it, unless any is taken
    #[arg(long, requires = "tls", value_name = "NAME", default_value = "localhost")]
    #[arg(value_parser = parse_name)]
    tls_name: ServerName<'static>,
    /// Protocols that the target is offered, the most wanted first (ALPN)
    #[arg(long, requires = "tls", value_name = "NAME,…", value_delimiter = ',')]
    tls_alpn: Vec<String>,
    /// TLS 1.2 is refused
    #[arg(long, requires = "tls")]
    tls13: bool,
}

fn parse_name(text: &str) -> Result<ServerName<'static>, String> {
    let wrong = |_| format!("{text:?} is no name of a host, and no address");
    ServerName::try_from(text.to_owned()).map_err(wrong)
}

impl Secure {
    /// How targets are spoken to, unless that is in plain.
    pub(super) fn towards(&self) -> io::Result<Option<Towards>> {
        if !self.tls {
            return Ok(None);
        }
        let roots = if self.tls_ca == OFF { None } else { Some(roots(self.tls_ca.as_ref())?) };
        let alpn = self.tls_alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let plan = ConnectorPlan { roots, identity: None, alpn, min_tls13: self.tls13 };
        Ok(Some(Towards { plan, name: self.tls_name.clone() }))
    }
}

/// The certificates of a file, each as an authority.
fn roots(path: &Path) -> io::Result<Arc<RootCertStore>> {
    let wrong = |error: &dyn std::fmt::Display| {
        let words = format!("--tls-ca {}: {error}", path.display());
        io::Error::new(ErrorKind::InvalidInput, words)
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"it has no certificate"));
    }
    Ok(Arc::new(roots))
}
