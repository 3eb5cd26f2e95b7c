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
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name in the certificate of both ends.
pub const NAME: &str = "sim.example.com";

pub struct Material {
    pub listener: ListenerTls,
    pub of_listener: Arc<ListenerMaterials>,
    pub pool: UpstreamTls,
    pub of_pool: Arc<UpstreamMaterials>,
    pub client: Arc<ClientConfig>,
    pub server: Arc<ServerConfig>,
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
    let text = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
         [listener.edge.tls]\n\
         certificates = [{{ certificate = {pem_path:?}, key = {key_path:?} }}]\n\
         handshakes = 3\n[upstream.app]\nservers = [\"127.0.0.1:9000\"]\n\
         [upstream.app.tls]\nserver_name = {NAME:?}\nca = {pem_path:?}\n"
    );
    let config = Config::parse(&text, "sim.toml", &|_| None);
    let mut config = config.unwrap_or_else(|errors| panic!("{errors}"));
    let mut loaded = Loaded::load(&config, SystemTime::now()).expect("files of ours");
    let provider = ring::default_provider();
    let provider = CryptoProvider { kx_groups: vec![ring::kx_group::X25519], ..provider };
    let provider = Arc::new(provider);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is well formed");
    Material {
        listener: config.listeners.remove(0).tls.expect("it was written"),
        of_listener: loaded.listeners.remove("edge").expect("it was loaded"),
        pool: config.upstreams.remove(0).tls.expect("it was written"),
        of_pool: loaded.upstreams.remove("app").expect("it was loaded"),
        client: Arc::new(client(provider.clone(), roots)),
        server: Arc::new(server(provider, certificate, &key)),
    }
}

fn client(provider: Arc<CryptoProvider>, roots: RootCertStore) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("it has suites");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

fn server(
    provider: Arc<CryptoProvider>,
    certificate: CertificateDer<'static>,
    key: &KeyPair,
) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("it has suites");
    let builder = builder.with_no_client_auth();
    builder.with_single_cert(vec![certificate], key).expect("they match")
}
