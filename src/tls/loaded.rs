//! All files that TLS of a config names, read at one moment: at the start, and at every reload.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime::format_rfc3339_seconds;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificates::{CertificateFacts, Certificates, Entry};
use super::pem::{self, Fault};
use super::tickets::Tickets;
use super::{AcceptorPlan, ConnectorPlan};
use crate::config::{
    self, Auto, CertificatePair, ClientCertificate, Config, ListenerTls, ServerCa, TlsVersion,
    Upstream, UpstreamTls,
};

/// How often a pair is read that changes meanwhile.
const READS: usize = 3;

/// Where systems keep the certificates that they trust: Debian, Fedora and RHEL, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What handshakes are made of, by the names of listeners and upstreams that have TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// By listener.
    pub listeners: BTreeMap<String, Arc<ListenerMaterials>>,
    /// By upstream.
    pub upstreams: BTreeMap<String, Arc<UpstreamMaterials>>,
    /// What is allowed, and people should know.
    pub warnings: Vec<String>,
}

/// What handshakes with clients of a listener are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerMaterials {
    /// The certificates, by name.
    pub certificates: Arc<Certificates>,
    /// The authorities of clients; `None`: they are asked for no certificate.
    pub client_ca: Option<ClientCa>,
    /// The bytes of the file of ticket keys; `None`: they are random.
    pub ticket_keys: Option<TicketKeys>,
    /// Seal and open the tickets. Random ones are of this moment: a listener keeps its own.
    pub tickets: TicketsMade,
    /// In order of preference; none: none is agreed on.
    pub alpn: Vec<Vec<u8>>,
    /// Whether TLS 1.2 is refused.
    pub min_tls13: bool,
    /// The most handshakes under way in a worker.
    pub handshakes: u32,
}

/// What handshakes with the servers of an upstream are made of.
#[derive(Clone, Debug)]
pub struct UpstreamMaterials {
    /// The authorities of servers; `None`: nothing is verified.
    pub roots: Option<Arc<RootCertStore>>,
    /// Our certificate and its key; `None`: we have none.
    pub identity: Option<Arc<CertifiedKey>>,
    /// The name that is asked for, and verified; there is one where anything is verified.
    pub server_name: Option<ServerName<'static>>,
}

/// The authorities that clients' certificates are verified against.
#[derive(Clone, Debug)]
pub struct ClientCa {
    /// Their certificates.
    pub roots: Arc<RootCertStore>,
    /// Whether a client must have a certificate.
    pub is_required: bool,
}

impl PartialEq for ClientCa {
    fn eq(&self, other: &ClientCa) -> bool {
        (&self.roots.roots, self.is_required) == (&other.roots.roots, other.is_required)
    }
}

impl Eq for ClientCa {}

impl PartialEq for UpstreamMaterials {
    fn eq(&self, other: &UpstreamMaterials) -> bool {
        let roots = |it: &UpstreamMaterials| it.roots.as_ref().map(|roots| roots.roots.clone());
        let chain = |it: &UpstreamMaterials| it.identity.as_ref().map(|key| key.cert.clone());
        self.server_name == other.server_name
            && chain(self) == chain(other)
            && roots(self) == roots(other)
    }
}

impl Eq for UpstreamMaterials {}

/// Keys of session tickets as a file has them. They are gone from memory when they are dropped, and
/// nothing shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKeys(Zeroizing<Vec<u8>>);

impl Deref for TicketKeys {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Tickets with their keys. All are equal: what tells them apart are the bytes of a file.
#[derive(Clone, Debug)]
pub struct TicketsMade(pub Arc<Tickets>);

impl PartialEq for TicketsMade {
    fn eq(&self, _: &TicketsMade) -> bool {
        true
    }
}

impl Eq for TicketsMade {}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TicketKeys({} bytes)", self.0.len())
    }
}

/// Why files of the config are of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The table that names them, as in `listener.edge.tls`.
    pub table: String,
    /// The files, as their keys have them.
    pub files: String,
    /// What is wrong.
    pub says: String,
    /// The remedy.
    pub remedy: String,
    /// They are not there, or this user may not read them: elsewhere they may be right.
    pub is_unreadable: bool,
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadError { table, files, says, remedy, .. } = self;
        write!(out, "{table}: {files}: {says}; {remedy}")
    }
}

impl std::error::Error for LoadError {}

impl Loaded {
    /// Reads every file that TLS of `config` names. This blocks, as files do. `now` is
    /// for warnings of certificates that are no longer or not yet valid.
    ///
    /// # Errors
    /// Everything that is wrong with the files: those of a pair that does not match are both named.
    pub fn load(config: &Config, now: SystemTime) -> Result<Loaded, Vec<LoadError>> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut reading = Reading { now: now as i64, ..Reading::default() };
        let mut loaded = Loaded::default();
        for config::Listener { name, tls, .. } in &config.listeners {
            reading.table = format!("listener.{name}.tls");
            let tls = tls.as_ref().and_then(|tls| reading.listener(tls));
            loaded.listeners.extend(tls.map(|tls| (name.clone(), Arc::new(tls))));
        }
        for upstream in &config.upstreams {
            reading.table = format!("upstream.{}.tls", upstream.name);
            let tls = upstream.tls.as_ref().and_then(|tls| reading.upstream(upstream, tls));
            loaded.upstreams.extend(tls.map(|tls| (upstream.name.clone(), Arc::new(tls))));
        }
        match reading.errors.is_empty() {
            true => Ok(Loaded { warnings: reading.warnings, ..loaded }),
            false => Err(reading.errors),
        }
    }
}

impl Loaded {
    /// Whether TLS is spoken to anybody.
    pub fn is_any(&self) -> bool {
        !self.listeners.is_empty() || !self.upstreams.is_empty()
    }
}

impl UpstreamMaterials {
    /// For handshakes with its servers.
    pub fn plan(&self) -> ConnectorPlan {
        ConnectorPlan {
            roots: self.roots.clone(),
            identity: self.identity.clone(),
            alpn: Vec::new(),
            min_tls13: false,
        }
    }
}

impl ListenerMaterials {
    /// For handshakes with its clients, whose tickets these are.
    pub fn plan(&self, tickets: &TicketsMade) -> AcceptorPlan {
        let client_ca = self.client_ca.as_ref().map(|ca| (ca.roots.clone(), ca.is_required));
        AcceptorPlan {
            certificates: self.certificates.clone(),
            min_tls13: self.min_tls13,
            alpn: self.alpn.clone(),
            client_ca,
            tickets: Some(tickets.0.clone()),
        }
    }

    /// The first name of each certificate, and its last second: what a change of them shows.
    pub fn words(&self) -> String {
        let words = self
            .certificates
            .facts()
            .map(|one| format!("{} until {}", one.title(), date(one.not_after)));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// What is found while the files are read.
#[derive(Default)]
struct Reading {
    table: String,
    now: i64,
    errors: Vec<LoadError>,
    warnings: Vec<String>,
}

impl Reading {
    fn listener(&mut self, tls: &ListenerTls) -> Option<ListenerMaterials> {
        let mut entries = Vec::new();
        for CertificatePair { certificate, key } in &tls.certificates {
            let entry = self.pair(certificate, key);
            let is_nameless = |entry: &Entry| entry.facts.names.is_empty();
            if !entries.is_empty() && entry.as_ref().is_some_and(is_nameless) {
                let says = "has no name of a host (subjectAltName), so that no client gets it";
                let remedy = "have it made with its names, or write it first";
                self.error::<()>(file("certificate", certificate), (says.into(), remedy, false));
            }
            entries.extend(entry);
        }
        let client_ca = tls.client_ca.as_deref().map(|path| self.roots("client_ca", path));
        let ticket_keys = match &tls.ticket_keys {
            Auto::Auto => None,
            Auto::Fixed(path) => Some(
                pem::bytes(path)
                    .map_err(|fault| self.fault::<()>(file("ticket_keys", path), fault)),
            ),
        };
        let tickets = self.tickets(&tls.ticket_keys, ticket_keys.as_ref());
        if entries.len() < tls.certificates.len() {
            return None;
        }
        let is_required = tls.client_certificate == ClientCertificate::Required;
        Some(ListenerMaterials {
            certificates: Arc::new(Certificates::new(entries, tls.unknown_name)),
            client_ca: match client_ca {
                Some(roots) => Some(ClientCa { roots: Arc::new(roots?), is_required }),
                None => None,
            },
            ticket_keys: ticket_keys.transpose().ok()?.map(TicketKeys),
            tickets: TicketsMade(Arc::new(tickets?)),
            alpn: tls.alpn.iter().map(|name| name.clone().into_bytes()).collect(),
            min_tls13: tls.min_version == TlsVersion::V13,
            handshakes: tls.handshakes,
        })
    }

    fn tickets<E>(
        &mut self,
        from: &Auto<PathBuf>,
        bytes: Option<&Result<Zeroizing<Vec<u8>>, E>>,
    ) -> Option<Tickets> {
        let now = self.now.max(0) as u64;
        let (files, made) = match (from, bytes) {
            (Auto::Fixed(path), Some(bytes)) => {
                (file("ticket_keys", path), Tickets::from_keys(bytes.as_ref().ok()?, now))
            }
            _ => ("ticket_keys = \"auto\"".to_owned(), Tickets::random(now)),
        };
        match made {
            Ok(tickets) => Some(tickets),
            Err(error) => {
                let remedy = "write keys of 80 bytes each, as `openssl rand 80` makes one";
                self.error(files, (error.to_string(), remedy, false))
            }
        }
    }

    fn upstream(&mut self, upstream: &Upstream, tls: &UpstreamTls) -> Option<UpstreamMaterials> {
        let identity = match (&tls.certificate, &tls.key) {
            (Some(certificate), Some(key)) => Some(self.pair(certificate, key)),
            _ => None,
        };
        let roots = match &tls.ca {
            ServerCa::System => Some(self.system()),
            ServerCa::File(path) => Some(self.roots("ca", path)),
            ServerCa::Off => {
                let table = &self.table;
                self.warnings.push(format!(
                    "{table}.ca = \"off\": no certificate of a server is verified, and anybody \
                     on the way can read and change everything; write \"system\" or a file"
                ));
                None
            }
        };
        let name = upstream.tls_name().map(|name| ServerName::try_from(name.to_owned()));
        if let Some(Err(_)) = name {
            let files = format!("server_name = {:?}", upstream.tls_name().unwrap_or_default());
            let says = "is no name that TLS can ask for".to_owned();
            self.error::<()>(files, (says, "write the name in the servers' certificates", false));
        }
        Some(UpstreamMaterials {
            roots: match roots {
                Some(roots) => Some(Arc::new(roots?)),
                None => None,
            },
            identity: match identity {
                Some(entry) => Some(entry?.key),
                None => None,
            },
            server_name: name.transpose().ok()?,
        })
    }

    /// A certificate and its key.
    fn pair(&mut self, certificate: &Path, key: &Path) -> Option<Entry> {
        let (of_certificate, of_key) = (file("certificate", certificate), file("key", key));
        let (chain, key) = match steady(certificate, key) {
            Ok(both) => both,
            Err(Half::Certificate(fault)) => return self.fault(of_certificate, fault),
            Err(Half::Key(fault)) => return self.fault(of_key, fault),
        };
        let chain = pem::certificates(&chain);
        let chain = chain.map_err(|fault| self.fault::<()>(of_certificate.clone(), fault));
        let key = pem::key(&key).map_err(|fault| self.fault::<()>(of_key.clone(), fault));
        let (Ok(chain), Ok(key)) = (chain, key) else { return None };
        let both = CertifiedKey::new(chain, key);
        let mismatch = rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch);
        match both.keys_match() {
            Err(error) if error == mismatch => {
                let says = "the key is not the certificate's, which is the first in its file";
                let remedy = "write the two that belong together, or copy both again: one of them \
                              may be old";
                return self.error(
                    format!("{of_certificate}, {of_key}"),
                    (says.to_owned(), remedy, false),
                );
            }
            Err(rustls::Error::InconsistentKeys(_)) | Ok(()) => {}
            Err(error) => {
                let says = format!("TLS cannot use it: {error}");
                return self.error(of_certificate, (says, "have it made again", false));
            }
        }
        let Some(entry) = Entry::new(certificate, Arc::new(both)) else {
            let says = "its names cannot be read".to_owned();
            return self.error(of_certificate, (says, "have it made or copied again", false));
        };
        self.judge_days(&of_certificate, &entry.facts);
        Some(entry)
    }

    fn judge_days(&mut self, of_certificate: &str, facts: &CertificateFacts) {
        let (table, title) = (&self.table, facts.title());
        let warning = if facts.not_after < self.now {
            format!("expired on {}; clients refuse it: renew it", date(facts.not_after))
        } else if facts.not_before > self.now {
            let from = date(facts.not_before);
            format!("is valid from {from} on; clients refuse it: look at the clock of this host")
        } else {
            return;
        };
        self.warnings.push(format!("{table}: {of_certificate} ({title}) {warning}"));
    }

    /// The certificates of a file as those of authorities.
    fn roots(&mut self, key: &str, path: &Path) -> Option<RootCertStore> {
        let bytes = pem::bytes(path);
        let certificates = match bytes.and_then(|bytes| pem::certificates(&bytes)) {
            Ok(certificates) => certificates,
            Err(fault) => return self.fault(file(key, path), fault),
        };
        let mut roots = RootCertStore::empty();
        for (nth, certificate) in certificates.into_iter().enumerate() {
            if let Err(error) = roots.add(certificate) {
                let says = format!("certificate {} of it is no authority's: {error}", nth + 1);
                return self.error(file(key, path), (says, "take it out of the file", false));
            }
        }
        Some(roots)
    }

    /// The certificates that the host trusts. One that is of no use is no reason to trust none.
    fn system(&mut self) -> Option<RootCertStore> {
        let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
        let found = || SYSTEM.iter().map(Path::new).find(|path| path.is_file());
        let Some(path) = named.as_deref().map(Path::new).or_else(found) else {
            let says = format!("this host has none of {}", SYSTEM.join(", "));
            let remedy = "install ca-certificates, set SSL_CERT_FILE, or name a file";
            return self.error("ca = \"system\"".to_owned(), (says, remedy, true));
        };
        let files = format!("ca = \"system\" ({})", path.display());
        let certificates = match pem::bytes(path).and_then(|bytes| pem::certificates(&bytes)) {
            Ok(certificates) => certificates,
            Err(fault) => return self.fault(files, fault),
        };
        let mut roots = RootCertStore::empty();
        let (used, _) = roots.add_parsable_certificates(certificates);
        if used == 0 {
            let says = "no certificate of it is of use".to_owned();
            return self.error(files, (says, "install ca-certificates again", false));
        }
        Some(roots)
    }

    fn fault<T>(&mut self, files: String, fault: Fault) -> Option<T> {
        let Fault { says, remedy, is_unreadable } = fault;
        self.error(files, (says, remedy, is_unreadable))
    }

    fn error<T>(
        &mut self,
        files: String,
        (says, remedy, is_unreadable): (String, &str, bool),
    ) -> Option<T> {
        let (table, remedy) = (self.table.clone(), remedy.to_owned());
        self.errors.push(LoadError { table, files, says, remedy, is_unreadable });
        None
    }
}

/// The half of a pair that cannot be read.
enum Half {
    Certificate(Fault),
    Key(Fault),
}

type Both = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Both files of a pair as they were at one moment: the certificate did not change while its key
/// was read. Where it does so again and again, the check that they match decides.
fn steady(certificate: &Path, key: &Path) -> Result<Both, Half> {
    let mut before = pem::bytes(certificate).map_err(Half::Certificate)?;
    let mut key_bytes = Zeroizing::default();
    for _ in 0..READS {
        key_bytes = pem::bytes(key).map_err(Half::Key)?;
        let after = pem::bytes(certificate).map_err(Half::Certificate)?;
        if after == before {
            break;
        }
        before = after;
    }
    Ok((before, key_bytes))
}

/// A key of the config and the file that it names.
fn file(key: &str, path: &Path) -> String {
    format!("{key} = \"{}\"", path.display())
}

/// A second since 1970 as people write it.
fn date(seconds: i64) -> String {
    // What comes after the year 9999 has no such form.
    let seconds = seconds.clamp(0, 253_402_300_799) as u64;
    format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}
