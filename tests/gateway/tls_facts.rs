//! Who a client is by its certificate, and how it speaks TLS: told to servers, lists and logs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use data_encoding::BASE64;
use portcullis::wire::{Decoded, proxy_header};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::client;
use crate::support::command::{ask_json, rows};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home, program};
use crate::support::lineage::Lineage;
use crate::support::server::{self, Server};
use crate::support::wait_until;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The files of a listener whose clients need a certificate, and the configs of two clients: one
/// that has a certificate for "amy", and one that has none.
struct Stage {
    home: Arc<Home>,
    der: CertificateDer<'static>,
    amy: Arc<ClientConfig>,
    nobody: Arc<ClientConfig>,
}

impl Stage {
    fn new() -> Stage {
        let home = Home::new();
        let write = |name: &str, label: &str, der: &[u8]| {
            std::fs::write(home.path().join(name), pem(label, der)).expect("it is written");
        };
        let key = KeyPair::generate().expect("a key");
        let edge = params("edge").self_signed(&key).expect("a certificate");
        write("edge.pem", "CERTIFICATE", edge.der());
        write("edge.key", "PRIVATE KEY", &key.serialize_der());
        let (mut of_ca, key) = (params("clients"), KeyPair::generate().expect("a key"));
        of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = of_ca.self_signed(&key).expect("a certificate");
        write("ca.pem", "CERTIFICATE", ca.der());
        let issuer = Issuer::from_params(&of_ca, &key);
        let key = KeyPair::generate().expect("a key");
        let amy = params("amy").signed_by(&key, &issuer).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(edge.der().clone()).expect("it is one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .expect("there are some")
                .with_root_certificates(roots.clone())
        };
        let der = amy.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let shows = builder().with_client_auth_cert(vec![der.clone()], key);
        let mut shows = shows.expect("they belong together");
        shows.alpn_protocols = vec![b"h3".to_vec(), b"h2".to_vec()];
        let nobody = Arc::new(builder().with_no_client_auth());
        Stage { home, der, amy: Arc::new(shows), nobody }
    }

    fn config(&self, tls: &str, app: &str) -> String {
        let path = |name: &str| self.home.path().join(name).display().to_string();
        format!(
            "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
             [listener.edge.tls]\ncertificates = [{{ certificate = {:?}, key = {:?} }}]\n\
             client_ca = {:?}\nalpn = [\"h2\"]\n{tls}\n{app}\n[access_log]\npath = {:?}\n",
            path("edge.pem"),
            path("edge.key"),
            path("ca.pem"),
            path("access.log"),
        )
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(config: &Arc<ClientConfig>, gateway: &Gateway) -> Client {
    let name = "a.example".try_into().expect("a name");
    let conn = ClientConnection::new(config.clone(), name).expect("a session");
    StreamOwned::new(conn, client::connect(gateway.address("edge")))
}

/// A server that reads a header, echoes five bytes, and says what fields the header had.
fn told_echo() -> Server<Vec<(u8, Vec<u8>)>> {
    Server::start(|mut stream: TcpStream| {
        let mut bytes = Vec::new();
        let fields = loop {
            if let Decoded::Done { facts, .. } = proxy_header(&bytes) {
                break facts.fields.to_vec();
            }
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole header");
            bytes.push(byte[0]);
        };
        let mut said = [0; 5];
        stream.read_exact(&mut said).expect("it speaks");
        stream.write_all(&said).expect("it listens");
        // Until it is gone.
        let _ = stream.read(&mut said);
        each(&fields)
    })
}

/// Types and values of fields.
fn each(mut fields: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [kind, high, low, rest @ ..] = fields {
        let (value, behind) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        all.push((*kind, value.to_vec()));
        fields = behind;
    }
    all
}

#[test]
fn a_server_is_told_who_its_client_is_and_so_are_lists_and_logs() {
    let (stage, server) = (Stage::new(), told_echo());
    let tlvs = "send_proxy_tlvs = [\"authority\", \"alpn\", \"ssl\", \"client-cert\"]";
    let app = upstream("app", &[server.address]) + "send_proxy = \"v2\"\n" + tlvs;
    let gateway = Gateway::start(&stage.config("", &app));
    // The second session is the first one, resumed: what it shows was shown then.
    for (shown, turn) in [(7, "full"), (5, "resumed")] {
        let mut client = connect(&stage.amy, &gateway);
        client.write_all(b"hello").expect("a session");
        client.read_exact(&mut [0; 5]).expect("an echo");
        let known = ask_json(&gateway, &["conns"]);
        let tls = &rows(&known)[0]["tls"];
        assert_eq!((&tls["client_name"], &tls["version"]), (&"amy".into(), &"TLSv1.3".into()));
        assert_eq!(tls["server_name"], "a.example", "{tls}");
        let suite = client.conn.negotiated_cipher_suite().expect("one").suite();
        let cipher = tls["cipher"].as_str().expect("a name").replace("TLS_", "TLS13_");
        assert_eq!(suite.as_str(), Some(&*cipher));
        drop(client);
        let fields = server.outcomes(1).remove(0);
        assert_eq!(fields[0], (1, b"h2".to_vec()), "{turn}: the protocol agreed on");
        assert_eq!(fields[1], (2, b"a.example".to_vec()), "{turn}");
        let (0x20, value) = &fields[2] else { panic!("{turn}: {fields:?}") };
        assert_eq!(value[..5], [shown, 0, 0, 0, 0], "{turn}");
        let expected = [
            (0x21, b"TLSv1.3".to_vec()),
            (0x22, b"amy".to_vec()),
            (0x23, tls["cipher"].as_str().expect("a name").as_bytes().to_vec()),
            (0x28, stage.der.to_vec()),
        ];
        assert_eq!(each(&value[5..]), expected, "{turn}");
    }
    wait_until("both lines in the access log", || {
        let path = stage.home.path().join("access.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let named = " tls_name=a.example client_name=amy ";
        text.lines().filter(|line| line.contains(named) && line.contains(" ended ")).count() == 2
    });
    gateway.stop();
}

#[test]
fn a_client_without_a_certificate_comes_in_where_it_may_and_none_was_verified() {
    let (stage, server) = (Stage::new(), told_echo());
    let tlvs = "send_proxy_tlvs = [\"ssl\"]";
    let app = upstream("app", &[server.address]) + "send_proxy = \"v2\"\n" + tlvs;
    let gateway = Gateway::start(&stage.config("client_certificate = \"optional\"", &app));
    for (config, shown) in [(&stage.nobody, [1, 0, 0, 0, 1]), (&stage.amy, [7, 0, 0, 0, 0])] {
        let mut client = connect(config, &gateway);
        client.write_all(b"hello").expect("a session");
        client.read_exact(&mut [0; 5]).expect("an echo");
        let known = ask_json(&gateway, &["conns"]);
        let has_name = rows(&known)[0]["tls"]["client_name"].is_string();
        assert_eq!(has_name, shown[0] == 7, "{known}");
        drop(client);
        let fields = server.outcomes(1).remove(0);
        let [(0x20, value)] = &fields[..] else { panic!("{fields:?}") };
        assert_eq!(value[..5], shown);
        assert!(each(&value[5..]).iter().all(|(kind, _)| *kind != 0x28), "nobody asked for it");
    }
    gateway.stop();
}

#[test]
fn what_is_known_of_a_client_moves_with_it() {
    let (stage, server) = (Stage::new(), server::echo());
    let config = stage.config("", &upstream("app", &[server.address]));
    let lineage = Lineage::start_with(stage.home.clone(), program(None), &config);
    let mut client = connect(&stage.amy, &lineage.first);
    let mut ask = || {
        client.write_all(b"hello").expect("a session");
        client.read_exact(&mut [0; 5]).expect("an echo");
        let said = lineage.ask(&["conns", "--json"]);
        let known: serde_json::Value = serde_json::from_str(&said.answer).expect("JSON");
        rows(&known)[0]["tls"].clone()
    };
    let before = ask();
    assert_eq!(
        (&before["client_name"], &before["server_name"]),
        (&"amy".into(), &"a.example".into())
    );
    for _ in 0..2 {
        lineage.upgrade(&[]);
        assert_eq!(ask(), before);
    }
    drop(client);
    wait_until("the line in the access log", || {
        let text = std::fs::read_to_string(stage.home.path().join("access.log"));
        let named = " tls_name=a.example client_name=amy ";
        let text = text.unwrap_or_default();
        text.lines().any(|line| line.contains(named) && line.contains(" ended "))
    });
}

fn dump_filter(gateway: &Gateway) -> String {
    let path = format!("/proc/{}/coredump_filter", gateway.pid());
    std::fs::read_to_string(path).expect("the kernel says it").trim().to_owned()
}

#[test]
fn core_dumps_of_a_gateway_with_keys_have_none_of_its_memory() {
    let stage = Stage::new();
    let app = "[upstream.app]\nbuiltin = \"echo\"";
    let plain = format!("[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{app}\n");
    let gateway = Gateway::start(&plain);
    let before = dump_filter(&gateway);
    let later = Gateway::start(&stage.config("", app));
    assert_eq!(dump_filter(&later), if before == "00000033" { "00000010" } else { &*before });
    assert_eq!(dump_filter(&gateway), before, "without keys it is as it was");
}

#[test]
fn a_server_whose_handshake_fails_says_why_in_its_last_error() {
    let server = Server::start(|mut stream: TcpStream| {
        stream.write_all(b"220 hello\r\n").expect("it listens");
        // Until it is gone.
        let _ = stream.read(&mut [0; 4096]);
    });
    let app = upstream("app", &[server.address]);
    let text = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{app}\
         [upstream.app.tls]\nca = \"off\"\n"
    );
    let gateway = Gateway::start(&text);
    let client = client::connect(gateway.address("edge"));
    gateway.wait_for_reason("no-server", 1);
    let status = ask_json(&gateway, &["status"]);
    let server = &status["upstreams"][0]["servers"][0];
    assert_eq!(server["last_error"], "TLS failed: it said something that is not TLS", "{server}");
    assert_eq!(server["failed"]["no-tls"], 1, "{server}");
    drop(client);
    gateway.stop();
}
