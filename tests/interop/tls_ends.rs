//! TLS of others' clients ends at the gateway, and begins again towards others' servers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use serde_json::json;

use crate::browser::Browser;
use crate::program::{Daemon, folder, output, output_for, program};
use crate::stage::{NAME, Stage, TIMES, WORDS};
use crate::support::client::{self, Ending};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, program as own_program};
use crate::support::lineage::Lineage;
use crate::support::network::free_port;
use crate::support::server;
use crate::support::tls;
use crate::support::wait_until;
use crate::typed::Typed;

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
