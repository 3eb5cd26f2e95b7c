//! Certificates and configs of TLS, made once for all runs. All lengths are the same each time: an
//! Ed25519 key signs in 64 bytes, and the serial number is given.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use data_encoding::BASE64;
use portcullis::config::{Config, ListenerTls, UpstreamTls};
use portcullis::tls::{ListenerMaterials, Loaded, UpstreamMaterials};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, date_time_ymd};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// The name in the certificate of both ends.
pub const NAME: &str = "sim.example.com";

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Nothing,
    /// Those without one are let in.
    Optional,
    Required,
}

impl Ask {
    pub const ALL: [Ask; 3] = [Ask::Nothing, Ask::Optional, Ask::Required];
}

/// What a listener has of files, and its config.
pub struct OfListener {
    pub config: ListenerTls,
    pub loaded: Arc<ListenerMaterials>,
}

pub struct Material {
    /// By what they ask for.
    pub listeners: [OfListener; 3],
    pub pool: UpstreamTls,
    pub of_pool: Arc<UpstreamMaterials>,
    /// By what they speak.
    clients: [ClientConfig; 4],
    servers: [Arc<ServerConfig>; 4],
}

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// TLS 1.2, else 1.3.
    pub twelve: bool,
    /// A client shows its certificate to who asks for it; a server asks for one.
    pub certificate: bool,
}

impl Dialect {
    /// What is spoken where nothing else is drawn.
    pub const PLAIN: Dialect = Dialect { twelve: false, certificate: false };

    const ALL: [Dialect; 4] = [
        Dialect::PLAIN,
        Dialect { twelve: true, certificate: false },
        Dialect { twelve: false, certificate: true },
        Dialect { twelve: true, certificate: true },
    ];

    fn place(self) -> usize {
        usize::from(self.twelve) + 2 * usize::from(self.certificate)
    }

    fn version(self) -> &'static SupportedProtocolVersion {
        if self.twelve { &TLS12 } else { &TLS13 }
    }
}

pub fn get() -> &'static Material {
    static MATERIAL: OnceLock<Material> = OnceLock::new();
    MATERIAL.get_or_init(make)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn make() -> Material {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
    params.serial_number = Some(1_u64.into());
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (pem_path, key_path) = (path("sim.pem"), path("sim.key"));
    fs::write(&pem_path, pem("CERTIFICATE", &certificate)).expect("it is written");
    fs::write(&key_path, pem("PRIVATE KEY", &key.serialize_der())).expect("it is written");
    let listeners = Ask::ALL.map(|ask| {
        let asks = match ask {
            Ask::Nothing => String::new(),
            Ask::Optional => {
                format!("client_ca = {pem_path:?}\nclient_certificate = \"optional\"\n")
            }
            Ask::Required => format!("client_ca = {pem_path:?}\n"),
        };
        format!(
            "[listener.{ask:?}]\nbind = [\"127.0.0.1:{}\"]\nupstream = \"app\"\n\
             [listener.{ask:?}.tls]\n\
             certificates = [{{ certificate = {pem_path:?}, key = {key_path:?} }}]\n\
             handshakes = 3\n{asks}",
            7000 + ask as u16
        )
    });
    let text = format!(
        "{}[upstream.app]\nservers = [\"127.0.0.1:9000\"]\n\
         [upstream.app.tls]\nserver_name = {NAME:?}\nca = {pem_path:?}\n\
         certificate = {pem_path:?}\nkey = {key_path:?}\n",
        listeners.concat()
    );
    let config = Config::parse(&text, "sim.toml", &|_| None);
    let mut config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let mut loaded = Loaded::load(&config, SystemTime::now()).expect("files of ours");
    let provider = ring::default_provider();
    let provider = CryptoProvider { kx_groups: vec![ring::kx_group::X25519], ..provider };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is well formed");
    let own = Own { certificate, key, provider: Arc::new(provider), roots: Arc::new(roots) };
    let listeners = Ask::ALL.map(|ask| {
        let name = format!("{ask:?}");
        let its = config.listeners.iter().find(|listener| listener.name == name);
        OfListener {
            config: its.and_then(|its| its.tls.clone()).expect("it was written"),
            loaded: loaded.listeners.remove(&name).expect("it was loaded"),
        }
    });
    Material {
        listeners,
        pool: config.upstreams.remove(0).tls.expect("it was written"),
        of_pool: loaded.upstreams.remove("app").expect("it was loaded"),
        clients: Dialect::ALL.map(|dialect| own.client(dialect)),
        servers: Dialect::ALL.map(|dialect| Arc::new(own.server(dialect))),
    }
}

impl Material {
    /// A client that keeps its sessions here, if it keeps any. It resumes those of clients that
    /// speak as it does.
    pub fn client(&self, dialect: Dialect, sessions: Resumption) -> ClientConfig {
        let mut config = self.clients[dialect.place()].clone();
        config.resumption = sessions;
        config
    }

    pub fn server(&self, dialect: Dialect) -> Arc<ServerConfig> {
        self.servers[dialect.place()].clone()
    }
}

/// The only certificate, which is its own authority.
struct Own {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
}

impl Own {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key")
    }

    fn client(&self, dialect: Dialect) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[dialect.version()])
            .expect("it has suites")
            .with_root_certificates(self.roots.clone());
        let chain = vec![self.certificate.clone()];
        match dialect.certificate {
            true => builder.with_client_auth_cert(chain, self.key()).expect("they match"),
            false => builder.with_no_client_auth(),
        }
    }

    fn server(&self, dialect: Dialect) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[dialect.version()])
            .expect("it has suites");
        let (roots, provider) = (self.roots.clone(), self.provider.clone());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let builder = match dialect.certificate {
            true => builder.with_client_cert_verifier(verifier.build().expect("an authority")),
            false => builder.with_no_client_auth(),
        };
        let chain = vec![self.certificate.clone()];
        builder.with_single_cert(chain, self.key()).expect("they match")
    }
}
