//! TLS of others' clients ends at the gateway, and begins again towards others' servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::browser::Browser;
use crate::nginx::Nginx;
use crate::program::{Daemon, folder, output, output_for, program};
use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home, program as own_program};
use crate::support::lineage::Lineage;
use crate::support::network::free_port;
use crate::support::server;
use crate::support::tls::{self, Authority};
use crate::support::wait_until;

const NAME: &str = "db.example.com";
/// What every server here answers a request with, many times over.
const WORDS: &str = "0123456789abcdef";
const TIMES: usize = 200_000;

/// A connection by Python that says what was agreed on, and what came: CA, PORT.
const PYTHON: &str = r#"
import socket, ssl, sys

context = ssl.create_default_context(cafile=sys.argv[1])
context.set_alpn_protocols(["http/1.1"])
plain = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 60)
with context.wrap_socket(plain, server_hostname="db.example.com") as tls:
    tls.sendall(b"GET /file HTTP/1.0\r\n\r\n")
    said = b""
    while piece := tls.recv(65536):
        said += piece
    agreed = tls.version(), tls.selected_alpn_protocol()
    tls.unwrap()
    body = said.split(b"\r\n\r\n", 1)[1]
    right = body == b"0123456789abcdef" * 200000
    print(*agreed, right)
"#;

/// An authority whose file others read.
struct Stage {
    home: Arc<Home>,
    authority: Authority,
}

impl Stage {
    fn new() -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        authority.write(&home, "ca.pem");
        Stage { home, authority }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A gateway where TLS ends.
    fn gateway(&self, tls: &str, rest: &str) -> Gateway {
        let pair = self.authority.issue(&[NAME], 2090).write(&self.home, "edge");
        tls::start(&self.home, &tls::edge(&[pair], tls, "", rest))
    }

    /// A gateway where TLS towards this server begins.
    fn towards(&self, address: SocketAddr) -> Gateway {
        let ca = self.file("ca.pem").display().to_string();
        let keys = format!("tls = {{ ca = {ca:?}, server_name = {NAME:?} }}\n");
        let config = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n".to_owned();
        Gateway::start(&(config + &upstream("app", &[address]) + &keys))
    }

    /// Nginx with a file, which is spoken to in TLS or not.
    fn nginx(&self, is_secure: bool) -> (Nginx, SocketAddr) {
        let port = free_port();
        self.authority.issue(&[NAME], 2090).write(&self.home, "server");
        std::fs::write(self.file("file"), WORDS.repeat(TIMES)).expect("it is written");
        let (certificate, key) = (self.file("server.pem"), self.file("server.key"));
        let secure = match is_secure {
            true => format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                certificate.display(),
                key.display()
            ),
            false => String::new(),
        };
        let listen = if is_secure { " ssl" } else { "" };
        let nginx = Nginx::start(
            &format!(
                "server {{ listen 127.0.0.1:{port}{listen}; {secure} root {}; \
                 location /small {{ return 200 \"small\"; }} }}",
                self.home.path().display()
            ),
            "",
        );
        let address = nginx.address(port);
        (nginx, address)
    }

    fn curl(&self, gateway: &Gateway, scheme: &str, path: &str, more: &[&str]) -> String {
        let mut command = program("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "60"]).args(more);
        command.arg("--cacert").arg(self.file("ca.pem"));
        let edge = gateway.address("edge");
        command.arg("--connect-to").arg(format!("{NAME}:{}:{edge}", edge.port()));
        output(command.arg(format!("{scheme}://{NAME}:{}/{path}", edge.port())))
    }
}

#[test]
fn clients_of_curl_and_python_speak_to_a_plain_nginx() {
    let stage = Stage::new();
    let (_nginx, address) = stage.nginx(false);
    let gateway = stage.gateway(", alpn = [\"http/1.1\"]", &upstream("app", &[address]));
    for more in [&[][..], &["--tlsv1.3"], &["--tlsv1.2", "--tls-max", "1.2"], &["--http1.1"]] {
        assert_eq!(stage.curl(&gateway, "https", "small", more), "small", "{more:?}");
        let file = stage.curl(&gateway, "https", "file", more);
        assert!(file == WORDS.repeat(TIMES), "{} bytes, {more:?}", file.len());
    }
    let mut command = program("python3");
    command.args(["-c", PYTHON]).arg(stage.file("ca.pem"));
    command.arg(gateway.address("edge").port().to_string());
    assert_eq!(output(&mut command), "TLSv1.3 http/1.1 True\n");
    gateway.stop();
}

#[test]
fn a_browser_speaks_to_a_plain_nginx() {
    let stage = Stage::new();
    let (_nginx, address) = stage.nginx(false);
    let gateway = stage.gateway("", &upstream("app", &[address]));
    let flags = ["--host-resolver-rules=MAP * 127.0.0.1", "--ignore-certificate-errors"];
    let mut browser = Browser::start_with(&flags);
    let url = format!("https://{NAME}:{}/small", gateway.address("edge").port());
    for _ in 0..3 {
        browser.call("Page.navigate", json!({ "url": "about:blank" }));
        wait_until("no page", || browser.evaluate("location.href") == "about:blank");
        browser.call("Page.navigate", json!({ "url": url }));
        let is_there = format!("location.hostname === '{NAME}' && !!document.body?.innerText");
        wait_until("the page", || browser.evaluate(&is_there) == true);
    }
    gateway.stop();
}

#[test]
fn plain_clients_speak_to_an_nginx_of_tls() {
    let stage = Stage::new();
    let (_nginx, address) = stage.nginx(true);
    let gateway = stage.towards(address);
    for _ in 0..3 {
        assert_eq!(stage.curl(&gateway, "http", "small", &[]), "small");
        assert!(stage.curl(&gateway, "http", "file", &[]) == WORDS.repeat(TIMES));
    }
    gateway.stop();
}

/// A program of OpenSSL that one types at.
struct Typed {
    child: Child,
    input: ChildStdin,
    said: Arc<Mutex<String>>,
    heard: usize,
}

impl Typed {
    fn start(command: &mut Command) -> Typed {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("an installed program runs");
        let input = child.stdin.take().expect("stdin is piped");
        let said = Arc::new(Mutex::new(String::new()));
        let mut output = child.stdout.take().expect("stdout is piped");
        let mut errors = child.stderr.take().expect("stderr is piped");
        collect(said.clone(), move |bytes| output.read(bytes));
        collect(said.clone(), move |bytes| errors.read(bytes));
        Typed { child, input, said, heard: 0 }
    }

    /// Types a line.
    fn types(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).expect("it reads");
    }

    /// Waits until it says this, behind what was waited for before.
    fn hears(&mut self, words: &str) {
        let (said, from) = (self.said.clone(), self.heard);
        let find = || said.lock().expect("no panic")[from..].find(words);
        wait_until(words, || find().is_some());
        self.heard = from + find().expect("it was there") + words.len();
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(
    said: Arc<Mutex<String>>,
    mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize> + Send + 'static,
) {
    thread::spawn(move || {
        let mut bytes = [0; 1000];
        while let Ok(count @ 1..) = read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            said.lock().expect("no panic").push_str(&text);
        }
    });
}

#[test]
fn clients_of_openssl_change_keys_and_are_echoed() {
    let stage = Stage::new();
    let gateway = stage.gateway("", "[upstream.app]\nbuiltin = \"echo\"\n");
    let command = || {
        let mut command = program("openssl");
        command.args(["s_client", "-verify_return_error", "-servername", NAME]);
        command.args(["-verify_hostname", NAME, "-connect"]);
        command.arg(gateway.address("edge").to_string());
        command.arg("-CAfile").arg(stage.file("ca.pem"));
        command
    };
    let mut typed = Typed::start(command().arg("-tls1_3"));
    typed.hears("Verify return code: 0");
    for turn in 0..10 {
        // A request for the other side's new key, and an own one alone.
        typed.types(if turn % 2 == 0 { "K" } else { "k" });
        typed.hears("KEYUPDATE");
        typed.types(&format!("hello {turn}"));
        typed.hears(&format!("hello {turn}\n"));
    }
    drop(typed);
    for version in ["-tls1_2", "-tls1_3"] {
        // The end of its input is close_notify, and the rest of the echo comes before the answer.
        let mut command = command();
        command.args([version, "-quiet", "-no_ign_eof"]);
        output_for(&mut command, b"some words\n");
    }
    gateway.wait_for_ended(3);
    gateway.stop();
}

#[test]
fn servers_of_openssl_change_keys() {
    let (stage, port) = (Stage::new(), free_port());
    stage.authority.issue(&[NAME], 2090).write(&stage.home, "server");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = program("openssl");
        command.args(["s_server", version, "-accept", &port.to_string()]);
        command.arg("-cert").arg(stage.file("server.pem"));
        let mut typed = Typed::start(command.arg("-key").arg(stage.file("server.key")));
        typed.hears("ACCEPT");
        let gateway = stage.towards((Ipv4Addr::LOCALHOST, port).into());
        let mut stream = client::connect(gateway.address("edge"));
        for turn in 0..10 {
            stream.write_all(format!("question {turn}\n").as_bytes()).expect("it is sent");
            typed.hears(&format!("question {turn}\n"));
            if version == "-tls1_3" {
                typed.types(if turn % 2 == 0 { "K" } else { "k" });
                // It reads what is typed first, line by line only if that comes so.
                stream.write_all(format!("poke {turn}\n").as_bytes()).expect("it is sent");
                typed.hears(&format!("poke {turn}\n"));
            }
            let answer = format!("answer {turn}\n");
            typed.types(&answer[..answer.len() - 1]);
            let mut bytes = vec![0; answer.len()];
            stream.read_exact(&mut bytes).expect("an answer");
            assert_eq!(bytes, answer.as_bytes());
        }
        // It answers close_notify by the same.
        server::finish(&stream);
        typed.hears("DONE");
        assert_eq!(client::ending(&stream), Ending::Fin);
        gateway.stop();
    }
}

#[test]
fn clients_and_servers_of_openssl_go_on_over_upgrades() {
    for version in ["-tls1_2", "-tls1_3"] {
        let (stage, port) = (Stage::new(), free_port());
        stage.authority.issue(&[NAME], 2090).write(&stage.home, "server");
        let mut command = program("openssl");
        command.args(["s_server", version, "-accept", &port.to_string()]);
        command.arg("-cert").arg(stage.file("server.pem"));
        let mut server = Typed::start(command.arg("-key").arg(stage.file("server.key")));
        server.hears("ACCEPT");
        let pair = stage.authority.issue(&[NAME], 2090).write(&stage.home, "edge");
        let app = upstream("app", &[(Ipv4Addr::LOCALHOST, port).into()]);
        let config = tls::edge(&[pair], "", "", &(app + "tls = { ca = \"off\" }\n"));
        let lineage = Lineage::start_with(stage.home.clone(), own_program(None), &config);
        let mut command = program("openssl");
        command.args(["s_client", version, "-verify_return_error", "-servername", NAME]);
        command.arg("-connect").arg(lineage.first.address("edge").to_string());
        let mut client = Typed::start(command.arg("-CAfile").arg(stage.file("ca.pem")));
        client.hears("Verify return code: 0");
        for turn in 0..6 {
            if version == "-tls1_3" {
                client.types(if turn % 2 == 0 { "K" } else { "k" });
                client.hears("KEYUPDATE");
            }
            client.types(&format!("question {turn}"));
            server.hears(&format!("question {turn}\n"));
            server.types(&format!("answer {turn}"));
            client.hears(&format!("answer {turn}\n"));
            if turn % 2 == 0 {
                lineage.upgrade(&[]);
            }
        }
        // The end of its input is close_notify, which the server answers by the same.
        client.types("Q");
        server.hears("DONE");
    }
}

#[test]
fn a_server_of_openssl_that_wants_a_certificate_gets_ours() {
    let (stage, port) = (Stage::new(), free_port());
    stage.authority.issue(&[NAME], 2090).write(&stage.home, "server");
    let own = stage.authority.issue(&["gateway"], 2090).write(&stage.home, "own");
    let mut command = program("openssl");
    command.args(["s_server", "-www", "-Verify", "1", "-verify_return_error", "-accept"]);
    command.arg(port.to_string()).arg("-CAfile").arg(stage.file("ca.pem"));
    command.arg("-cert").arg(stage.file("server.pem")).arg("-key").arg(stage.file("server.key"));
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    command.stderr(Stdio::null());
    let _daemon = Daemon::start(&mut command, folder("s_server"), address);
    let ca = stage.file("ca.pem").display().to_string();
    let keys = format!("tls = {{ ca = {ca:?}, server_name = {NAME:?}, {own} }}\n");
    let config = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n".to_owned();
    let gateway = Gateway::start(&(config + &upstream("app", &[address]) + &keys));
    let page = stage.curl(&gateway, "http", "", &["--http1.0"]);
    assert!(page.contains("Client certificate"), "{page}");
    gateway.stop();
}
