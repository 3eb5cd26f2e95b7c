//! Scenarios speak TLS to a gateway of which TLS ends, in sessions that are worth a check.

mod runs;
mod support;

use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, DnType, KeyPair};
use runs::portcullis;
use support::{Ended, Run, bench, free_address};
use tempfile::TempDir;

/// A gateway that echoes in TLS, and what is its own.
struct Gateway {
    folder: TempDir,
    address: String,
    _run: Run,
}

/// Writes NAME.pem, which signs itself; the key of it.
fn certificate(folder: &Path, name: &str) -> KeyPair {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    let made = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.pem")), made.pem()).expect("a file");
    key
}

impl Gateway {
    fn start() -> Gateway {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        let key = certificate(folder.path(), "localhost");
        certificate(folder.path(), "other");
        std::fs::write(file("key.pem"), key.serialize_pem()).expect("a file");
        let address = free_address();
        let config = format!(
            "[gateway]\nmax_connections = 200\nworkers = 1\ndrain_timeout = \"1s\"\n\
             [listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
             [listener.edge.tls]\nalpn = [\"one\"]\n\
             certificates = [{{ certificate = \"{}\", key = \"{}\" }}]\n\
             [upstream.app]\nbuiltin = \"echo\"\n\
             [ring]\nbuffer_size = \"64KiB\"\n\
             [admin]\nsocket = \"off\"\n[status]\nbind = \"off\"\n",
            file("localhost.pem").display(),
            file("key.pem").display(),
        );
        std::fs::write(file("gateway.toml"), config).expect("a file");
        let mut command = Command::new(portcullis());
        command.arg("run").arg("--config").arg(file("gateway.toml"));
        let run = Run::begin(command);
        runs::wait_until("it listens", || std::net::TcpStream::connect(&address).is_ok());
        Gateway { folder, address, _run: run }
    }

    fn ask(&self, scenario: &str, more: &[&str]) -> Ended {
        let common = [scenario, "--target", &self.address, "--threads", "1", "--max-lag", "1m"];
        Run::begin(bench(&[&common[..], &["--tls"], more].concat())).end()
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

#[track_caller]
fn expect_good(ended: &Ended) {
    assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
    assert_eq!(ended.result()["good"], true, "{ended:?}");
    assert_eq!(ended.result()["asked"]["tls"], true, "{ended:?}");
}

#[test]
fn connections_are_held_warmed_and_asked_twice_in_tls() {
    let gateway = Gateway::start();
    let hold = ["--connections", "50", "--hold", "1s", "--warm", "32KiB", "--settle", "1s"];
    let ended = gateway.ask("hold", &[&hold[..], &["--again", "--linger", "0s"]].concat());
    expect_good(&ended);
    for count in ["opened", "warmed", "checked", "checked_again", "closed_clean"] {
        assert_eq!(ended.result()["counts"][count], 50, "{count}: {ended:?}");
    }
}

#[test]
fn messages_bulk_and_short_lives_go_through_sessions() {
    let gateway = Gateway::start();
    let ca = gateway.file("localhost.pem");
    let verified = ["--tls-ca", &ca, "--tls-name", "localhost", "--tls13", "--tls-alpn", "one"];
    for (scenario, flags) in [
        ("pingpong", &["--connections", "8", "--bytes", "40KiB"][..]),
        ("bulk", &["--connections", "2"]),
        // What a buffer of either end holds is more than a record, and peers do not keep up.
        ("slow", &["--connections", "4"]),
        ("churn", &["--connections", "4"]),
        ("churn", &["--connections", "4", "--silent"]),
    ] {
        let ended = gateway.ask(scenario, &[flags, &["--seconds", "1"], &verified].concat());
        expect_good(&ended);
    }
    let ended = gateway.ask("halfclose", &["--count", "20", "--bytes", "100kB"]);
    expect_good(&ended);
    assert_eq!(ended.result()["counts"]["half_closed"], 20, "{ended:?}");
}

#[test]
fn a_certificate_that_is_not_trusted_is_one_failure_that_says_so() {
    let gateway = Gateway::start();
    let (ca, other) = (gateway.file("localhost.pem"), gateway.file("other.pem"));
    let hold = ["--connections", "5", "--hold", "0s", "--linger", "0s", "--tls-ca"];
    for (flags, because) in [
        (&[other.as_str()][..], "is not signed by an authority that is trusted here"),
        (&[&ca, "--tls-name", "elsewhere.test"], "is for other names"),
    ] {
        let ended = gateway.ask("hold", &[&hold[..], flags].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let failures = ended.result()["failures"].take();
        let name = format!("open: no TLS: the server's certificate {because}");
        assert_eq!(failures, serde_json::json!({ name: 5 }), "{ended:?}");
    }
}

#[test]
fn a_target_in_plain_and_a_file_without_a_certificate_are_named() {
    let address = support::server(support::echo).to_string();
    let hold = ["hold", "--connections", "2", "--hold", "0s", "--linger", "0s", "--tls"];
    let ended = Run::begin(bench(&[&hold[..], &["--target", &address]].concat())).end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.output.contains("open: no TLS: "), "{ended:?}");
    let files = tempfile::NamedTempFile::new().expect("a file");
    let path = files.path().display().to_string();
    let flags = ["--target", &address, "--tls-ca", &path];
    let ended = Run::begin(bench(&[&hold[..], &flags].concat())).end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.errors.contains("it has no certificate"), "{ended:?}");
}
