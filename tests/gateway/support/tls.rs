//! TLS of tests: an authority and its certificates as files, clients and servers by rustls.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::client::{self, Ending};
use super::gateway::{Gateway, Home, program};
use super::http::get;
use super::pattern::Pattern;
use super::server::Server;

/// The far end of a gateway that ends TLS.
pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;
/// The far end of a gateway that begins TLS.
pub(crate) type SecureServer = StreamOwned<ServerConnection, TcpStream>;

/// The versions that the gateway speaks.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// One that signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate and its key.
pub(crate) struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random bytes");
        // Each has a name of its own.
        let name = BASE64.encode(&key.public_key_raw()[..24]);
        params.distinguished_name.push(DnType::CommonName, name);
        let der = params.self_signed(&key).expect("a plain certificate").der().clone();
        Authority { issuer: Issuer::new(params, key), der }
    }

    /// A certificate with these names that is valid up to the first day of a year.
    pub(crate) fn issue(&self, names: &[&str], until: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "test");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("random bytes");
        let certificate = params.signed_by(&key, &self.issuer).expect("a plain certificate");
        Pair { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("it is an authority");
        Arc::new(roots)
    }

    /// Writes its certificate into a file; says where that is, as TOML has it.
    pub(crate) fn write(&self, home: &Home, name: &str) -> String {
        write(home, name, &pem("CERTIFICATE", &self.der))
    }
}

impl Pair {
    /// Writes NAME.pem and NAME.key; says which they are, as TOML has it.
    pub(crate) fn write(&self, home: &Home, name: &str) -> String {
        let chain: String = self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let certificate = write(home, &format!("{name}.pem"), &chain);
        let key = write(home, &format!("{name}.key"), &pem("PRIVATE KEY", &self.key));
        format!("certificate = {certificate}, key = {key}")
    }

    /// The certificate itself.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.chain[0].clone()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.clone()).expect("a key in PKCS #8")
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn write(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).expect("it is written");
    format!("{:?}", path.display().to_string())
}

/// What a client or a server of these tests speaks.
pub(crate) struct Wish<'a> {
    pub(crate) version: Option<&'static SupportedProtocolVersion>,
    pub(crate) suite: Option<SupportedCipherSuite>,
    pub(crate) alpn: &'a [&'a str],
    pub(crate) says_name: bool,
    /// The certificate that the client shows.
    pub(crate) identity: Option<&'a Pair>,
    /// The authority of the clients that a server wants certificates of.
    pub(crate) clients: Option<&'a Authority>,
}

/// What a client or a server speaks of whom nothing else is asked.
pub(crate) const ANY: Wish<'static> =
    Wish { version: None, suite: None, alpn: &[], says_name: true, identity: None, clients: None };

impl Wish<'_> {
    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        self.version.map_or(VERSIONS.to_vec(), |version| vec![version])
    }

    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = default_provider();
        if let Some(suite) = self.suite {
            provider.cipher_suites = vec![suite];
        }
        Arc::new(provider)
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self, authority: &Authority) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&self.versions())
            .expect("its suites have it")
            .with_root_certificates(authority.roots());
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(pair.chain.clone(), pair.key())
                .expect("the key is the certificate's"),
        };
        config.alpn_protocols = self.protocols();
        config.enable_sni = self.says_name;
        Arc::new(config)
    }

    /// A server with this certificate.
    pub(crate) fn server(&self, pair: &Pair) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(self.provider())
            .with_protocol_versions(&self.versions())
            .expect("its suites have it");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(authority.roots(), self.provider());
                builder.with_client_cert_verifier(verifier.build().expect("an authority"))
            }
        };
        let config = builder.with_single_cert(pair.chain.clone(), pair.key());
        let mut config = config.expect("the key is the certificate's");
        config.alpn_protocols = self.protocols();
        Arc::new(config)
    }
}

/// Connects; nothing is said yet.
pub(crate) fn connect(config: &Arc<ClientConfig>, name: &str, address: SocketAddr) -> Client {
    over(config, name, client::connect(address))
}

/// The same over a stream that is connected.
pub(crate) fn over(config: &Arc<ClientConfig>, name: &str, stream: TcpStream) -> Client {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    StreamOwned::new(ClientConnection::new(config.clone(), name).expect("a config"), stream)
}

/// Connects and shakes hands.
pub(crate) fn shaken(config: &Arc<ClientConfig>, name: &str, address: SocketAddr) -> Client {
    let mut client = connect(config, name, address);
    shake(&mut client).unwrap_or_else(|error| panic!("a handshake with {address}: {error}"));
    client
}

/// A client that says hello, and nothing more by itself.
pub(crate) fn says_hello(authority: &Authority, address: SocketAddr) -> Client {
    let mut client = connect(&ANY.client(authority), "a.example", address);
    let bytes = words(&mut client);
    client.sock.write_all(&bytes).expect("it is sent");
    client
}

/// Shakes hands, as far as a client can know.
pub(crate) fn shake(client: &mut Client) -> io::Result<()> {
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(())
}

/// The server's end of a connection.
pub(crate) fn serve(config: &Arc<ServerConfig>, stream: TcpStream) -> SecureServer {
    StreamOwned::new(ServerConnection::new(config.clone()).expect("a config"), stream)
}

/// Echoes until the client has said that it ends; says how it ended.
pub(crate) fn echo_secure(mut tls: SecureServer) -> Ended {
    let mut buffer = vec![0; 16_384];
    loop {
        match tls.read(&mut buffer) {
            Ok(0) => {
                tls.conn.send_close_notify();
                let _ = tls.flush();
                return Ended::Clean;
            }
            Ok(bytes) => {
                if let Err(error) = tls.write_all(&buffer[..bytes]).and_then(|()| tls.flush()) {
                    return Ended::of(&error);
                }
            }
            Err(error) => return Ended::of(&error),
        }
    }
}

/// Sends a pattern to something that echoes, and compares what comes back. No more than 64 KiB are
/// on their way.
pub(crate) fn echo(client: &mut Client, seed: u64, bytes: usize) {
    let (mut out, mut back) = (Pattern::new(seed), Pattern::new(seed));
    let mut left = bytes;
    while left > 0 {
        let mut piece = vec![0; left.min(65_536)];
        out.fill(&mut piece);
        client.write_all(&piece).expect("it is sent");
        client.flush().expect("it is sent");
        client.read_exact(&mut piece).expect("it comes back");
        back.check(&piece).expect("the same bytes");
        left -= piece.len();
    }
}

/// Says close_notify, and nothing of the socket.
pub(crate) fn finish(client: &mut Client) {
    client.conn.send_close_notify();
    client.flush().expect("it is sent");
}

/// How the other end of a session finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By close_notify.
    Clean,
    /// By a FIN without it.
    CutOff,
    Reset,
    Alert(AlertDescription),
    /// What it said is wrong.
    Bad,
}

impl Ended {
    pub(crate) fn of(error: &io::Error) -> Ended {
        match error.kind() {
            ErrorKind::UnexpectedEof => Ended::CutOff,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ended::Reset,
            ErrorKind::InvalidData => {
                let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
                match error {
                    Some(Error::AlertReceived(alert)) => Ended::Alert(*alert),
                    _ => Ended::Bad,
                }
            }
            _ => panic!("no ending: {error}"),
        }
    }
}

/// How a session ends that brings no byte.
pub(crate) fn ending(client: &mut impl Read) -> Ended {
    match client.read(&mut [0]) {
        Ok(0) => Ended::Clean,
        Ok(_) => panic!("a byte where an ending was due"),
        Err(error) => Ended::of(&error),
    }
}

/// Starts a gateway with the files of this home, and waits until it accepts.
pub(crate) fn start(home: &Arc<Home>, config: &str) -> Gateway {
    let gateway = Gateway::launch_in(home.clone(), program(None), Some(config));
    gateway.wait_for_line("ready with");
    gateway
}

/// The sum of a metric over all of its samples that have these labels.
pub(crate) fn metric(gateway: &Gateway, name: &str, labels: &str) -> u64 {
    let text = get(gateway.status(), "/metrics").body;
    let is_its = |line: &&str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
        rest.is_some_and(|rest| rest.contains(labels))
    };
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    let values: Vec<f64> = text.lines().filter(is_its).filter_map(value).collect();
    assert!(!values.is_empty(), "no sample of {name} {labels}: {text}");
    values.iter().sum::<f64>() as u64
}

/// Shakes hands, and says what `say` writes in one piece with the last words of that.
pub(crate) fn finish_handshake_with(
    client: &mut Client,
    say: impl FnOnce(&mut ClientConnection) -> io::Result<()>,
) {
    while client.conn.is_handshaking() {
        while client.conn.wants_write() {
            client.conn.write_tls(&mut client.sock).expect("it is sent");
        }
        assert!(client.conn.read_tls(&mut client.sock).expect("an answer") > 0, "an end");
        client.conn.process_new_packets().expect("a handshake");
    }
    say(&mut client.conn).expect("memory takes it");
    let words = words(client);
    client.sock.write_all(&words).expect("it is sent");
}

/// What a client would send now.
pub(crate) fn words(client: &mut Client) -> Vec<u8> {
    let mut words = Vec::new();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut words).expect("memory takes it");
    }
    words
}

/// A config whose listener `edge` has these certificates, more keys of its `tls`, which begin with
/// a comma, and more of its own; behind that, other sections.
pub(crate) fn edge(certificates: &[String], tls: &str, keys: &str, rest: &str) -> String {
    let all: Vec<_> = certificates.iter().map(|one| format!("{{ {one} }}")).collect();
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 4000\n[status]\nbind = \"127.0.0.1:0\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         tls = {{ certificates = [{}]{tls} }}\n{keys}\n{rest}",
        all.join(", ")
    )
}

/// A server that sends back what it hears, and says how each of its clients ended.
pub(crate) fn echo_to_the_end() -> Server<Ending> {
    Server::start(|mut stream: TcpStream| {
        let mut buffer = [0; 1000];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ending::Fin,
                Ok(bytes) => stream.write_all(&buffer[..bytes]).expect("it is sent"),
                Err(_) => return Ending::Reset,
            }
        }
    })
}
