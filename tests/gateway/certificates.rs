//! Files of certificates and keys: checked before a start, read again by a reload.

use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::support::command::{ask, ask_json, command, tell};
use crate::support::gateway::{Gateway, Home};
use crate::support::http::get;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// Makes `edge.pem` and `edge.key`, valid up to the first day of a year.
fn make_pair(home: &Home, until: i32) {
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    for (name, label, der) in [
        ("edge.pem", "CERTIFICATE", certificate.der().to_vec()),
        ("edge.key", "PRIVATE KEY", key.serialize_der()),
    ] {
        std::fs::write(home.path().join(name), pem(label, &der)).expect("it is written");
    }
}

fn config(home: &Home) -> String {
    let path = |name: &str| home.path().join(name).display().to_string();
    format!(
        "[gateway]\nmax_connections = 100\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.edge.tls]\ncertificates = [{{ certificate = {:?}, key = {:?} }}]\n\
         [upstream.app]\nbuiltin = \"echo\"\n\
         [status]\nbind = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n",
        path("edge.pem"),
        path("edge.key")
    )
}

/// Puts another key beside the certificate.
fn mix(home: &Home) {
    let certificate = std::fs::read(home.path().join("edge.pem")).expect("it is there");
    make_pair(home, 2088);
    std::fs::write(home.path().join("edge.pem"), certificate).expect("it is written");
}

fn names_both(words: &str, home: &Home) {
    for name in ["edge.pem", "edge.key"] {
        let path = home.path().join(name).display().to_string();
        assert!(words.contains(&path), "{path}: {words}");
    }
    assert!(words.contains("the key is not the certificate's"), "{words}");
}

fn checked(path: &Path) -> (Option<i32>, String) {
    let said = command(&["check", "--config", &path.display().to_string()]);
    (said.code, said.complaint)
}

#[test]
fn a_check_names_both_files_of_a_pair_that_does_not_match() {
    let home = Home::new();
    make_pair(&home, 2090);
    let path = home.write("tls.toml", &config(&home));
    assert_eq!(checked(&path), (Some(0), String::new()));
    mix(&home);
    let (code, complaint) = checked(&path);
    assert_eq!(code, Some(2));
    assert!(complaint.starts_with(&format!("{}: listener.edge.tls: ", path.display())));
    names_both(&complaint, &home);
    // Another host may have it.
    std::fs::remove_file(home.path().join("edge.key")).expect("it was there");
    let (code, complaint) = checked(&path);
    assert_eq!(code, Some(0));
    assert!(complaint.contains("warning: a start on this host fails: listener.edge.tls: key = "));
    make_pair(&home, 2001);
    let (code, complaint) = checked(&path);
    assert_eq!(code, Some(0));
    assert!(complaint.contains("warning: listener.edge.tls: certificate = "), "{complaint}");
    assert!(complaint.contains("(a.example) expired on 2001-01-01T00:00:00Z"), "{complaint}");
}

#[test]
fn a_start_is_refused_by_a_pair_that_does_not_match() {
    let home = Home::new();
    make_pair(&home, 2090);
    mix(&home);
    let program = crate::support::gateway::program(None);
    let gateway = Gateway::launch_in(Arc::clone(&home), program, Some(&config(&home)));
    let (status, lines) = gateway.ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    names_both(&lines.join("\n"), &home);
}

#[test]
fn a_reload_takes_renewed_certificates_and_refuses_a_mixed_pair() {
    let home = Home::new();
    make_pair(&home, 2090);
    let program = crate::support::gateway::program(None);
    let gateway = Gateway::launch_in(Arc::clone(&home), program, Some(&config(&home)));
    gateway.wait_for_line("ready with");
    assert!(tell(&gateway, &["reload"]).contains("nothing differs"), "no file has changed");

    make_pair(&home, 2091);
    let answer = ask_json(&gateway, &["reload"]);
    let change = &answer["changes"][0];
    assert_eq!(change["key"], "listener.edge.tls", "{answer}");
    assert_eq!(change["before"], "a.example until 2090-01-01T00:00:00Z");
    assert_eq!(change["after"], "a.example until 2091-01-01T00:00:00Z");
    assert_eq!((&change["takes"], &answer["applied"]), (&"new-connections".into(), &true.into()));

    let file = home.path().join("edge.pem").display().to_string();
    let sample = format!(
        "portcullis_certificate_expiry_timestamp_seconds\
         {{listener=\"edge\",certificate=\"{file}\"}} 3818448000"
    );
    let metrics = get(gateway.status(), "/metrics").body;
    assert!(metrics.contains(&sample), "{sample}: {metrics}");

    mix(&home);
    for arguments in [&["reload"][..], &["reload", "--dry-run"], &["reload", "--allow-partial"]] {
        let said = ask(&gateway, arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        names_both(&said.answer, &home);
        assert!(!said.answer.contains("--allow-partial"), "it would not help: {said:?}");
    }
    make_pair(&home, 2091);
    assert_eq!(ask_json(&gateway, &["reload"])["generation"], 3, "the mixed pair made none");
    let dump = tell(&gateway, &["dump"]);
    assert!(dump.contains("edge.key"), "its path is shown");
    let key = std::fs::read_to_string(home.path().join("edge.key")).expect("it is there");
    let secret = key.lines().nth(1).expect("a line of the key");
    assert!(!dump.contains(secret) && !gateway.lines().iter().any(|line| line.contains(secret)));
    gateway.stop();
}
