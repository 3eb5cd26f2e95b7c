//! TLS clients of others reach the server of the name that they ask for.

use std::process::Stdio;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::browser::Browser;
use crate::program::{output, output_for, program};
use crate::support::client;
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::http::{get, say_to};
use crate::support::wait_until;
use crate::tls::{Seen, Tls};

type Version = &'static rustls::SupportedProtocolVersion;

/// A connection by Python: CERTIFICATE or "", PORT, NAME or "", protocols.
const PYTHON: &str = r#"
import socket, ssl, sys

certificate, port, name, *protocols = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate or None)
if not certificate:
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if protocols:
    context.set_alpn_protocols(protocols)
plain = socket.create_connection(("127.0.0.1", int(port)), 60)
with context.wrap_socket(plain, server_hostname=name or None) as tls:
    tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
    while piece := tls.recv(4096):
        sys.stdout.write(piece.decode())
"#;

/// Three servers behind one address: `a` is the listener's own, `b` is that of one name, and `c` is
/// for other names, of clients that offer h2.
struct Stage {
    gateway: Gateway,
    servers: [Tls; 3],
}

impl Stage {
    fn new(keys: &str) -> Stage {
        let names = [('a', "other.test"), ('b', "db.example.com"), ('c', "*.example.com")];
        let servers = names.map(|(letter, name)| Tls::start(letter, name));
        let [a, b, c] = [0, 1, 2].map(|index| servers[index].address);
        let config = format!(
            "[gateway]\nworkers = 2\n[ring]\nbuffer_size = \"4KiB\"\n\
             [status]\nbind = \"127.0.0.1:0\"\n\
             [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"a\"\nsniff = \"tls\"\n{keys}\n\
             [[listener.edge.route]]\nserver_names = [\"db.example.com\"]\nupstream = \"b\"\n\
             [[listener.edge.route]]\nserver_names = [\"*.example.com\"]\nalpn = [\"h2\"]\n\
             upstream = \"c\"\n{}{}{}",
            upstream("a", &[a]),
            upstream("b", &[b]) + "connect = \"lazy\"\n",
            upstream("c", &[c]),
        );
        Stage { gateway: Gateway::start(&config), servers }
    }

    fn port(&self) -> String {
        self.gateway.address("edge").port().to_string()
    }

    /// The server with this letter.
    fn server(&self, letter: char) -> &Tls {
        &self.servers[letter as usize - 'a' as usize]
    }

    /// Asks by `openssl s_client`, which must find the certificate of the server with this letter.
    fn openssl(&self, letter: char, name: &str, more: &[&str]) -> Seen {
        let mut command = program("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-connect"]);
        command.arg(self.gateway.address("edge").to_string());
        command.arg("-CAfile").arg(self.server(letter).certificate());
        match name {
            "" => command.arg("-noservername"),
            name => command.args(["-servername", name, "-verify_hostname", name]),
        };
        Seen::read(&output_for(command.args(more), b"GET / HTTP/1.0\r\n\r\n"))
    }

    /// Asks by curl, which must find the certificate of the server with this letter.
    fn curl(&self, letter: char, name: &str, more: &[&str]) -> Seen {
        let mut command = program("curl");
        command.args(["--silent", "--show-error", "--max-time", "60"]).args(more);
        command.arg("--cacert").arg(self.server(letter).certificate());
        let (edge, port) = (self.gateway.address("edge"), self.port());
        command.arg("--connect-to").arg(format!("{name}:{port}:{edge}"));
        Seen::read(&output(command.arg(format!("https://{name}:{port}/"))))
    }

    /// Asks by Python, which must find the certificate of the server with this letter.
    fn python(&self, letter: char, name: &str, protocols: &[&str]) -> Seen {
        let mut command = program("python3");
        command.args(["-c", PYTHON]);
        match name {
            "" => command.arg(""),
            _ => command.arg(self.server(letter).certificate()),
        };
        Seen::read(&output(command.arg(self.port()).arg(name).args(protocols)))
    }
}

/// Asks by rustls, which must find the certificate of the server with this letter.
fn rustls(stage: &Stage, letter: char, name: &str, protocols: &[&str], version: Version) -> Seen {
    let mut roots = RootCertStore::empty();
    let file = stage.server(letter).certificate();
    roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a valid one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[version]).expect("versions that it has");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.as_bytes().to_vec()).collect();
    let name = name.to_owned().try_into().expect("a name");
    let conn = ClientConnection::new(Arc::new(config), name).expect("a client");
    let plain = client::connect(stage.gateway.address("edge"));
    let answer = say_to(StreamOwned::new(conn, plain), b"GET / HTTP/1.0\r\n\r\n");
    Seen::read(&answer.body)
}

fn expect(seen: Seen, letter: char, name: &str, more: &[&str]) {
    let asked = if name.is_empty() { "None" } else { name };
    assert_eq!((seen.letter, &*seen.name), (letter, asked), "{seen:?} {more:?}");
}

#[test]
fn clients_of_openssl_reach_the_server_of_their_name() {
    let stage = Stage::new("");
    // A hello of 9 kB, more than two buffers hold.
    let many: Vec<String> = (0..1500).map(|number| format!("p{number}")).collect();
    let many = many.join(",") + ",h2";
    let cases: [(&str, &str, char); 6] = [
        ("db.example.com", "", 'b'),
        ("db.example.com", "h2,http/1.1", 'b'),
        ("www.example.com", "http/1.1,h2", 'c'),
        ("www.example.com", &many, 'c'),
        ("other.test", "h2", 'a'),
        ("", "", 'a'),
    ];
    for (name, protocols, letter) in cases {
        for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let mut more = vec![flag];
            if !protocols.is_empty() {
                more.extend(["-alpn", protocols]);
            }
            let seen = stage.openssl(letter, name, &more);
            assert_eq!(seen.version, version);
            let agreed = if protocols.contains("http/1.1") { "http/1.1" } else { "None" };
            assert_eq!(seen.protocol, agreed);
            expect(seen, letter, name, &more[..1]);
        }
    }
    stage.gateway.wait_for_ended(12);
    stage.gateway.stop().expect_closed(12);
}

#[test]
fn clients_of_curl_reach_the_server_of_their_name() {
    let stage = Stage::new("");
    let cases: [(&str, &[&str], char); 5] = [
        ("db.example.com", &[], 'b'),
        ("db.example.com", &["--tlsv1.2", "--tls-max", "1.2", "--no-alpn"], 'b'),
        // It offers h2 unless it is told otherwise.
        ("www.example.com", &[], 'c'),
        ("other.test", &[], 'a'),
        ("other.test", &["--http1.1"], 'a'),
    ];
    for (name, more, letter) in cases {
        expect(stage.curl(letter, name, more), letter, name, more);
    }
    // Without h2 the second route is not for it: the listener's own has another name.
    expect(stage.curl('a', "www.example.com", &["--http1.1", "-k"]), 'a', "www.example.com", &[]);
    stage.gateway.stop();
}

#[test]
fn clients_of_python_reach_the_server_of_their_name() {
    let stage = Stage::new("");
    let cases: [(&str, &[&str], char); 4] = [
        ("db.example.com", &[], 'b'),
        ("www.example.com", &["http/1.1", "h2"], 'c'),
        ("other.test", &["h2"], 'a'),
        ("", &[], 'a'),
    ];
    for (name, protocols, letter) in cases {
        expect(stage.python(letter, name, protocols), letter, name, protocols);
    }
    stage.gateway.stop();
}

#[test]
fn clients_of_rustls_reach_the_server_of_their_name() {
    let stage = Stage::new("");
    let cases: [(&str, &[&str], char); 4] = [
        ("db.example.com", &[], 'b'),
        ("www.example.com", &["h2", "http/1.1"], 'c'),
        ("www.example.com", &["http/1.1", "h2"], 'c'),
        ("other.test", &["h2", "http/1.1"], 'a'),
    ];
    for (name, protocols, letter) in cases {
        for (version, word) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
            let seen = rustls(&stage, letter, name, protocols, version);
            assert_eq!(seen.version, word);
            expect(seen, letter, name, protocols);
        }
    }
    stage.gateway.stop();
}

#[test]
fn a_browser_reaches_the_server_of_each_name() {
    let stage = Stage::new("");
    let flags = ["--host-resolver-rules=MAP * 127.0.0.1", "--ignore-certificate-errors"];
    let mut browser = Browser::start_with(&flags);
    // It offers h2 to all, and sends a hello of more than one segment.
    for (name, letter) in [("db.example.com", 'b'), ("www.example.com", 'c'), ("other.test", 'a')] {
        let url = format!("https://{name}:{}/", stage.port());
        browser.call("Page.navigate", json!({ "url": url }));
        let is_there = format!("location.hostname === '{name}' && !!document.body?.innerText");
        wait_until("the page", || browser.evaluate(&is_there) == true);
        let text = browser.evaluate("document.body.innerText");
        expect(Seen::read(text.as_str().expect("text")), letter, name, &[]);
    }
    stage.gateway.stop();
}

#[test]
fn a_client_of_an_unknown_name_is_reset_where_only_known_ones_are_served() {
    let stage = Stage::new("unmatched = \"refuse\"");
    expect(stage.openssl('b', "db.example.com", &[]), 'b', "db.example.com", &[]);
    for name in ["other.test", ""] {
        let mut command = program("openssl");
        command.args(["s_client", "-quiet", "-connect"]);
        command.arg(stage.gateway.address("edge").to_string());
        match name {
            "" => command.arg("-noservername"),
            name => command.args(["-servername", name]),
        };
        let refused = command.stdin(Stdio::null()).output().expect("an installed program runs");
        assert!(!refused.status.success(), "{name:?}: {refused:?}");
    }
    stage.gateway.wait_for_reason("bad-preamble", 2);
    let figures: serde_json::Value =
        serde_json::from_str(&get(stage.gateway.status(), "/status.json").body).expect("JSON");
    let counts = &figures["listeners"][0]["bad_preambles"];
    assert_eq!(counts["unknown-name"], 2, "{counts}");
    stage.gateway.stop();
}
