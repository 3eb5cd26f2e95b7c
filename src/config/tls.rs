//! `tls` of `[listener.NAME]` and `[upstream.NAME]`: where TLS ends, and where it begins again.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::address::host_name;
use crate::config::error::ConfigError;
use crate::config::file::{Scalar, Section, Value, quoted};
use crate::config::form::{AS_IT_STANDS, Choice, Form, Number, Optional, OrAuto, OrOff, Own, Word};
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::{keys, keys_by_hand};
use crate::config::text::{Written, list};
use crate::config::{Auto, Origin, Sniff, UpstreamKind};

pub(super) const LISTENER_TLS: SectionKeys = SectionKeys {
    section: "listener.NAME.tls",
    about: "TLS that ends here: clients speak it, and servers get what is in it. Without this \
            table a listener passes on what clients send, TLS or not. Certificates, keys and the \
            other files are read at the start and at every reload, by which new ones take the \
            place of old ones for new connections; a pair that does not match refuses the reload.",
    keys: &[ListenerTls::KEYS],
    later: &[],
};

pub(super) const CERTIFICATE: SectionKeys = SectionKeys {
    section: "listener.NAME.tls.certificates",
    about: "",
    keys: &[OF_CERTIFICATE],
    later: &[],
};

pub(super) const UPSTREAM_TLS: SectionKeys = SectionKeys {
    section: "upstream.NAME.tls",
    about: "TLS towards the servers of an upstream, which show certificates that are verified; \
            without this table they get what clients send. Its files are read at the start and at \
            every reload, as those of listeners are.",
    keys: &[UpstreamTls::KEYS],
    later: &[],
};

/// The tables as values of the keys of that name.
pub(super) const OF_LISTENER: Own<ListenerTls> = Own {
    values: "a table of [listener.NAME.tls]",
    read: read_listener,
    written: listener_written,
};
pub(super) const OF_UPSTREAM: Own<UpstreamTls> = Own {
    values: "a table of [upstream.NAME.tls]",
    read: read_upstream,
    written: upstream_written,
};

/// A certificate's file and its key's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePair {
    /// PEM: the certificate, and those that lead from it to one that clients know.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// The certificate of a client that asks for a name that none has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// The first of the file.
    First,
    /// None: the handshake ends.
    Refuse,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It must.
    Required,
    /// One that it shows is verified.
    Optional,
}

/// The authorities that servers' certificates are verified against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCa {
    /// Those that the host trusts.
    System,
    /// Those in this file.
    File(PathBuf),
    /// None: any certificate is taken.
    Off,
}

const UNKNOWN: Choice<UnknownName> =
    Choice { words: &[("first", UnknownName::First), ("refuse", UnknownName::Refuse)], later: &[] };

const VERSIONS: Choice<TlsVersion> =
    Choice { words: &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)], later: &[] };

const CLIENTS: Choice<ClientCertificate> = Choice {
    words: &[("required", ClientCertificate::Required), ("optional", ClientCertificate::Optional)],
    later: &[],
};

/// The most handshakes under way in a worker, each of about 7.5 KB: half a GiB.
const HANDSHAKES_MAX: u64 = 65_536;

/// The protocol names of RFC 7301 have one byte of length.
const PROTOCOL_MAX: usize = 255;

const PATH: Word<PathBuf> = Word {
    values: "an absolute path",
    accept: |word| word.starts_with('/').then(|| PathBuf::from(word)),
    show: |path| path.to_string_lossy(),
};

const CAS: Word<ServerCa> = Word {
    values: "\"system\", an absolute path or \"off\"",
    accept: |word| match word {
        "system" => Some(ServerCa::System),
        "off" => Some(ServerCa::Off),
        path => (PATH.accept)(path).map(ServerCa::File),
    },
    show: |ca| match ca {
        ServerCa::System => "system".into(),
        ServerCa::Off => "off".into(),
        ServerCa::File(path) => path.to_string_lossy(),
    },
};

const NAME: Word<String> = Word {
    values: "the name of a host, or an address",
    accept: |word| match word.parse::<IpAddr>() {
        Ok(ip) => Some(ip.to_string()),
        Err(_) => host_name(word),
    },
    show: |name| name.into(),
};

const PROTOCOLS: Own<Vec<String>> =
    Own { values: "a list of protocols", read: protocols, written: |names| list(names) };

/// At least one certificate; there is no default.
struct Certificates;

const OF_CERTIFICATE: &[Key] = keys_by_hand! {
    /// A PEM file: the certificate, and those that lead from it to one that clients know.
    "certificate" as "/etc/portcullis/edge.pem", NewConnections, "an absolute path";
    /// A PEM file: its private key, without a passphrase.
    "key" as "/etc/portcullis/edge.key", NewConnections, "an absolute path";
};

keys! {
    /// How TLS with clients ends.
    ListenerTls;

    /// Certificates with their keys, PEM files that the user of the gateway can read. A client gets
    /// the one whose names (subjectAltName) have the name that it asks for: as it stands before a
    /// wildcard, which stands for one label; of several the first whose kind of key it knows. A
    /// client that asks for no name gets the first.
    ///
    /// Add one for each name that clients complain about.
    "certificates" certificates: Vec<CertificatePair>
        as [{ certificate = "/etc/portcullis/edge.pem", key = "/etc/portcullis/edge.key" }],
        NewConnections, Certificates, WRITE_PAIR;

    /// The certificate of clients that ask for a name that none has. "first": the first one;
    /// "refuse": none, the handshake ends.
    ///
    /// Write "refuse" when scanners are to learn no name.
    "unknown_name" unknown_name: UnknownName = "first", NewConnections, UNKNOWN, AS_IT_STANDS;

    /// The oldest version of TLS that clients may speak. Those before 1.2 are refused in any case.
    ///
    /// Write "1.3" when all clients have it.
    "min_version" min_version: TlsVersion = "1.2", NewConnections, VERSIONS, AS_IT_STANDS;

    /// Protocols (ALPN) that the servers behind speak, the preferred one first. A client that
    /// offers none of them is refused, one that offers nothing is not. []: none is agreed on.
    ///
    /// Write ["h2", "http/1.1"] when browsers fall back to an old protocol.
    "alpn" alpn: Vec<String> = [], NewConnections, PROTOCOLS, "write [\"h2\", \"http/1.1\"]";

    /// A PEM file with certificates of authorities (CA) that clients' certificates are verified
    /// against. A client whose certificate none of them has issued, or is no longer valid, ends in
    /// the handshake, before a server hears of it. "off": clients are asked for no certificate.
    "client_ca" client_ca: Option<PathBuf> = "off", NewConnections,
        OrOff(PATH), "write it as in \"/etc/portcullis/clients-ca.pem\"";

    /// With client_ca: whether a client must have a certificate. "optional": those without come in,
    /// too.
    ///
    /// Write "optional" while clients get their certificates one by one.
    "client_certificate" client_certificate: ClientCertificate = "required", NewConnections,
        CLIENTS, AS_IT_STANDS;

    /// Keys of session tickets, by which clients that come back skip a part of the handshake.
    /// "auto": random ones of this process. A path: a file of keys of 80 bytes each, as nginx has
    /// them (ssl_session_ticket_key): the first seals, all open.
    ///
    /// Name a file when several gateways share an address and clients have certificates, whose
    /// check costs the most.
    "ticket_keys" ticket_keys: Auto<PathBuf> = "auto", NewConnections,
        OrAuto(PATH), "write it as in \"/etc/portcullis/tickets.key\"";

    /// Handshakes under way at once in each worker, about 7.5 KB each. More clients wait without a
    /// buffer.
    ///
    /// Raise it when a million clients come back at once from far away.
    "handshakes" handshakes: u32 = 1024, NewConnections,
        Number(1..=HANDSHAKES_MAX), "write the default, 1024";
}

keys! {
    /// How TLS with servers begins.
    UpstreamTls;

    /// The name that servers are asked for, and that their certificates must have; an address is
    /// verified and not sent. Without it, it is the host's name where servers has one name alone.
    ///
    /// Set it where servers are addresses: they have no names.
    "server_name" server_name: Option<String> as "db.internal", NewConnections,
        Optional(NAME), "write the name in the servers' certificates, as in \"db.internal\"";

    /// The authorities (CA) that servers' certificates are verified against. "system": those that
    /// the host trusts (ca-certificates, or SSL_CERT_FILE); a path: those in a PEM file. "off": any
    /// certificate is taken, and anybody on the way can read and change everything. Each start
    /// warns of it.
    ///
    /// Name a file when servers have certificates of your own.
    "ca" ca: ServerCa = "system", NewConnections, CAS,
        "write \"system\" or a path as in \"/etc/portcullis/ca.pem\"";

    /// A PEM file: the certificate that servers see as ours, and those that lead from it to one
    /// that they know. "off": we have none.
    ///
    /// Set it, and key, when servers refuse whom they do not know.
    "certificate" certificate: Option<PathBuf> = "off", NewConnections,
        OrOff(PATH), "write it as in \"/etc/portcullis/client.pem\"";

    /// A PEM file: the private key of certificate, without a passphrase.
    "key" key: Option<PathBuf> = "off", NewConnections,
        OrOff(PATH), "write it as in \"/etc/portcullis/client.key\"";
}

const WRITE_PAIR: &str = "write [{ certificate = \"/etc/portcullis/edge.pem\", key = \
                          \"/etc/portcullis/edge.key\" }]";

impl Form<Vec<CertificatePair>> for Certificates {
    fn values(&self) -> String {
        "a list of { certificate = PATH, key = PATH }, at least one".to_owned()
    }

    fn accept(&self, _: &Scalar) -> Option<Vec<CertificatePair>> {
        None
    }

    fn written(&self, pairs: &Vec<CertificatePair>) -> Option<String> {
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let pairs = pairs.iter().map(|CertificatePair { certificate, key }| {
            format!("{{ certificate = {}, key = {} }}", path(certificate), path(key))
        });
        Some(format!("[{}]", pairs.collect::<Vec<_>>().join(", ")))
    }

    fn absent(&self) -> Option<Vec<CertificatePair>> {
        Some(Vec::new())
    }

    fn read(
        &self,
        value: &Value<'_>,
        remedy: &str,
        problems: &mut Vec<ConfigError>,
    ) -> Option<Vec<CertificatePair>> {
        let elements = value.elements().filter(|elements| !elements.is_empty());
        if elements.is_none() {
            problems.push(value.error(format!("must be {}", self.values()), remedy));
        }
        let mut pairs: Vec<CertificatePair> = Vec::new();
        for element in elements? {
            let Some(section) = element.section(&CERTIFICATE) else {
                problems.push(element.error("must be a table", "write { certificate = \"...\", "));
                continue;
            };
            section.check_keys(problems);
            let mut path = |key: &str| {
                if section.get(key).is_none() {
                    let rule = format!("has no {key}: a certificate and its key go together");
                    problems.push(section.error(rule, &format!("write {key} = \"/...\" in it")));
                }
                section.value(key, &PATH, "write it from / on", problems)
            };
            let (Some(certificate), Some(key)) = (path("certificate"), path("key")) else {
                continue;
            };
            if pairs.iter().any(|pair| pair.certificate == certificate) {
                problems.push(element.error("stands there twice", "remove one of the two"));
            }
            pairs.push(CertificatePair { certificate, key });
        }
        Some(pairs)
    }
}

impl UpstreamTls {
    /// The name that certificates of servers of this kind must have; `None`: there is none.
    pub(super) fn name<'a>(&'a self, kind: &'a UpstreamKind) -> Option<&'a str> {
        self.server_name.as_deref().or_else(|| only_host(kind))
    }
}

/// The host's name that all servers have in common.
fn only_host(kind: &UpstreamKind) -> Option<&str> {
    let UpstreamKind::Servers { set, origin: Origin::List, .. } = kind else { return None };
    let (first, others) = set.names.split_first()?;
    let is_only = set.servers.is_empty() && others.iter().all(|one| one.host == first.host);
    is_only.then_some(&*first.host)
}

fn protocols(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<Vec<String>> {
    let Some(elements) = value.elements() else {
        problems.push(value.error(format!("must be {}", PROTOCOLS.values), remedy));
        return None;
    };
    let mut names: Vec<String> = Vec::new();
    for element in elements {
        match protocol(&element, problems) {
            Some(name) if names.contains(&name) => {
                problems.push(element.error("stands there twice", "remove one of the two"));
            }
            name => names.extend(name),
        }
    }
    Some(names)
}

/// The name of a protocol as ALPN has it.
pub(super) fn protocol(value: &Value<'_>, problems: &mut Vec<ConfigError>) -> Option<String> {
    let text = value.read::<String>();
    let text = text.filter(|text| (1..=PROTOCOL_MAX).contains(&text.len()));
    if text.is_none() {
        problems.push(value.error("must be a protocol's name, 1 to 255 bytes", "write \"h2\""));
    }
    text
}

fn read_listener(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<ListenerTls> {
    let Some(section) = value.section(&LISTENER_TLS) else {
        problems.push(value.error(format!("must be {}", OF_LISTENER.values), remedy));
        return None;
    };
    section.check_keys(problems);
    if section.get("certificates").is_none() {
        problems.push(section.error("has no certificates", WRITE_PAIR));
    }
    let tls = ListenerTls::read(&section, problems);
    if let (Some(value), None) = (section.get("client_certificate"), &tls.client_ca) {
        let rule = "belongs to client_ca, and clients are asked for no certificate";
        let remedy = "write client_ca = \"/etc/portcullis/clients-ca.pem\" beside it, or remove it";
        problems.push(value.error(rule, remedy));
    }
    Some(tls)
}

fn read_upstream(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<UpstreamTls> {
    let Some(section) = value.section(&UPSTREAM_TLS) else {
        problems.push(value.error(format!("must be {}", OF_UPSTREAM.values), remedy));
        return None;
    };
    section.check_keys(problems);
    let tls = UpstreamTls::read(&section, problems);
    for (key, other, is_alone) in [
        ("certificate", "key", tls.key.is_none()),
        ("key", "certificate", tls.certificate.is_none()),
    ] {
        let has_it = if key == "key" { &tls.key } else { &tls.certificate };
        if let (Some(value), true, true) = (section.get(key), has_it.is_some(), is_alone) {
            let rule = format!("has no {other} beside it: the two go together");
            problems.push(value.error(rule, &format!("write {other} = \"/...\" beside it")));
        }
    }
    Some(tls)
}

/// Refuses what is read of clients twice.
pub(super) fn check_listener(section: &Section<'_>, sniff: Sniff, problems: &mut Vec<ConfigError>) {
    if section.get("tls").is_some() && sniff == Sniff::Tls {
        let rule = "has no effect where TLS ends: routes go by the name of the handshake itself";
        let remedy = "remove it, or the table tls where servers end TLS themselves";
        problems.extend(section.get("sniff").map(|value| value.error(rule, remedy)));
    }
}

/// Refuses TLS with nobody, and with servers whose name nobody knows.
pub(super) fn check_upstream(
    section: &Section<'_>,
    kind: &UpstreamKind,
    tls: Option<&UpstreamTls>,
    problems: &mut Vec<ConfigError>,
) {
    let (Some(value), Some(tls)) = (section.get("tls"), tls) else { return };
    let why = match kind {
        UpstreamKind::Builtin(_) => {
            let rule = "is for servers, and the gateway itself answers here";
            let remedy = "remove it, or write servers in place of builtin";
            return problems.push(value.error(rule, remedy));
        }
        UpstreamKind::Servers { origin: Origin::List, set, .. } if set.servers.is_empty() => {
            "servers have several names, and which is verified"
        }
        UpstreamKind::Servers { origin: Origin::List, .. } => "an address has no name to verify",
        UpstreamKind::Servers { .. } => "servers are known only later, and which name is verified",
    };
    if tls.ca != ServerCa::Off && tls.name(kind).is_none() {
        let rule = format!("has no server_name: {why}");
        let remedy = "write server_name = \"db.internal\" in it, the name in the servers' \
                      certificates";
        problems.push(value.error(rule, remedy));
    }
}

/// The table within a line.
fn listener_written(tls: &ListenerTls) -> String {
    let mut out = Written::new(LISTENER_TLS.section);
    tls.write(&mut out);
    // A file may have it only beside what it belongs to.
    out.values.retain(|(key, _)| key.name != "client_certificate" || tls.client_ca.is_some());
    in_a_line(&out)
}

fn upstream_written(tls: &UpstreamTls) -> String {
    let mut out = Written::new(UPSTREAM_TLS.section);
    tls.write(&mut out);
    in_a_line(&out)
}

fn in_a_line(table: &Written) -> String {
    let keys = table.values.iter().map(|(key, value)| format!("{} = {value}", key.name));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}
