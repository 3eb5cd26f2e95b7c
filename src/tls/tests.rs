//! Certificates made for each test, in files of its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::SignatureScheme;
use tempfile::TempDir;

use super::{ListenerMaterials, LoadError, Loaded};
use crate::config::Config;

/// The kinds of signatures that clients of these tests know.
const ECDSA: [SignatureScheme; 1] = [SignatureScheme::ECDSA_NISTP256_SHA256];
const ED25519: [SignatureScheme; 1] = [SignatureScheme::ED25519];

/// Files of a test.
struct Files(TempDir);

/// 1 July 2026.
fn summer() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_782_864_000)
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines = BASE64.encode(der);
    let lines: Vec<&str> =
        lines.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn params(names: &[&str], years: (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "test");
    params
}

impl Files {
    fn new() -> Files {
        Files(TempDir::new().expect("a directory"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("it is written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("it is there")
    }

    /// NAME.pem and NAME.key.
    fn pair_of(&self, name: &str, params: CertificateParams, key: &KeyPair) {
        let certificate = params.self_signed(key).expect("a certificate");
        self.write(&format!("{name}.pem"), &pem("CERTIFICATE", certificate.der()));
        self.write(&format!("{name}.key"), &pem("PRIVATE KEY", &key.serialize_der()));
    }

    fn pair(&self, name: &str, names: &[&str]) {
        self.pair_of(name, params(names, (2020, 2090)), &KeyPair::generate().expect("a key"));
    }

    /// A listener with the pairs of these names, and other keys of its table.
    fn listener(&self, pairs: &[&str], keys: &str) -> Config {
        let pair = |name: &&str| {
            let (certificate, key) =
                (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
            format!("{{ certificate = {certificate:?}, key = {key:?} }}")
        };
        let pairs: Vec<String> = pairs.iter().map(pair).collect();
        config(&format!("[listener.edge.tls]\ncertificates = [{}]\n{keys}\n", pairs.join(", ")), "")
    }

    fn load(&self, pairs: &[&str], keys: &str) -> Loaded {
        loaded(&self.listener(pairs, keys))
    }

    /// The only thing that is wrong.
    fn error(&self, pairs: &[&str], keys: &str) -> LoadError {
        error(&self.listener(pairs, keys))
    }
}

fn config(listener: &str, upstream: &str) -> Config {
    let text = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n{listener}\
         [upstream.app]\nservers = [\"127.0.0.1:9000\"]\n{upstream}"
    );
    Config::parse(&text, "test.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn loaded(config: &Config) -> Loaded {
    let loaded = Loaded::load(config, summer());
    loaded.unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn error(config: &Config) -> LoadError {
    let errors = Loaded::load(config, summer()).expect_err("something is wrong");
    let [one] = &errors[..] else { panic!("{errors:?}") };
    one.clone()
}

fn edge(loaded: &Loaded) -> &ListenerMaterials {
    &loaded.listeners["edge"]
}

/// The file of the certificate that a client gets.
fn chosen(of: &ListenerMaterials, name: Option<&str>, schemes: &[SignatureScheme]) -> String {
    let Some(found) = of.certificates.find(name, schemes) else { return "refused".to_owned() };
    let key = found.key.cert[0].clone();
    let is_it = |file: &Path| {
        let pem = fs::read_to_string(file).expect("it is there");
        pem == super::tests::pem("CERTIFICATE", &key)
    };
    let facts = of.certificates.facts().find(|one| is_it(&one.file)).expect("one of them");
    facts.file.file_stem().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_client_gets_the_certificate_of_its_name() {
    let files = Files::new();
    files.pair("first", &["first.example"]);
    files.pair("wild", &["*.Example.com", "example.com"]);
    files.pair("exact", &["a.example.com"]);
    let loaded = files.load(&["first", "wild", "exact"], "");
    for (name, expected) in [
        (Some("first.example"), "first"),
        (Some("a.example.com"), "exact"),
        (Some("A.Example.COM"), "exact"),
        (Some("b.example.com"), "wild"),
        (Some("example.com"), "wild"),
        (Some("a.b.example.com"), "first"),
        (Some(".example.com"), "first"),
        (Some("com"), "first"),
        (None, "first"),
    ] {
        assert_eq!(chosen(edge(&loaded), name, &ECDSA), expected, "{name:?}");
    }
    let loaded = files.load(&["first", "wild"], "unknown_name = \"refuse\"");
    assert_eq!(chosen(edge(&loaded), Some("b.example.com"), &ECDSA), "wild");
    assert_eq!(chosen(edge(&loaded), Some("else.example"), &ECDSA), "refused");
    assert_eq!(chosen(edge(&loaded), None, &ECDSA), "first", "it asks for no name");
}

#[test]
fn of_two_with_a_name_a_client_gets_the_one_whose_signature_it_knows() {
    let files = Files::new();
    files.pair("ecdsa", &["a.example"]);
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    files.pair_of("ed25519", params(&["a.example"], (2020, 2090)), &key);
    let loaded = files.load(&["ecdsa", "ed25519"], "");
    assert_eq!(chosen(edge(&loaded), Some("a.example"), &ECDSA), "ecdsa");
    assert_eq!(chosen(edge(&loaded), Some("a.example"), &ED25519), "ed25519");
    let both = [ED25519, ECDSA].concat();
    assert_eq!(chosen(edge(&loaded), Some("a.example"), &both), "ecdsa", "the first");
    assert_eq!(chosen(edge(&loaded), Some("a.example"), &[]), "ecdsa", "none would do");
}

#[test]
fn facts_are_those_of_the_certificate() {
    let files = Files::new();
    files.pair("a", &["a.example", "*.b.example"]);
    let loaded = files.load(&["a"], "");
    let facts = edge(&loaded).certificates.facts().next().expect("one");
    assert_eq!(facts.names, ["a.example", "*.b.example"]);
    assert_eq!((&*facts.subject, &*facts.issuer), ("CN=test", "test"));
    assert_eq!((facts.not_before, facts.not_after), (1_577_836_800, 3_786_912_000));
    assert_eq!(edge(&loaded).words(), "a.example until 2090-01-01T00:00:00Z");
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_pair_that_does_not_match_is_named_with_both_files() {
    let files = Files::new();
    files.pair("a", &["a.example"]);
    files.pair("b", &["b.example"]);
    files.write("a.key", &files.read("b.key"));
    let error = files.error(&["a"], "");
    assert!(!error.is_unreadable);
    let expected = format!(
        "listener.edge.tls: certificate = \"{}\", key = \"{}\": the key is not the certificate's",
        files.path("a.pem"),
        files.path("a.key")
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let files = Files::new();
    files.pair("a", &["a.example"]);
    files.pair("b", &["b.example"]);
    let (a_pem, a_key, b_key) = (files.read("a.pem"), files.read("a.key"), files.read("b.key"));
    let lines = a_key.lines().count();
    let encrypted = a_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old = a_key.replace("KEY-----\nMI", "KEY-----\nProc-Type: 4,ENCRYPTED\n\nMI");
    let second = format!("line {}: is one private key more than one; leave", lines + 1);
    for (pem, key, file, says) in [
        ("", &*a_key, "a.pem", "has no certificate; write it as PEM"),
        (&a_key, &a_key, "a.pem", "has a private key and no certificate; name the certificate's"),
        (&a_pem[..a_pem.len() / 2], &a_key, "a.pem", "line 1: is no PEM"),
        (&pem("CERTIFICATE", &[1, 2, 3]), &a_key, "a.pem", "line 1: is no certificate"),
        (&a_pem, &a_pem, "a.key", "has no private key; write it as PEM"),
        (&a_pem, &format!("{a_key}{b_key}"), "a.key", &second),
        (&a_pem, &encrypted, "a.key", "line 1: the key has a passphrase, and nobody is there"),
        (&a_pem, &old, "a.key", "line 1: the key has a passphrase"),
        (&a_pem, &pem("PRIVATE KEY", &[1, 2, 3]), "a.key", "line 1: is no RSA, ECDSA or Ed25519"),
    ] {
        files.write("a.pem", pem);
        files.write("a.key", key);
        let error = files.error(&["a"], "").to_string();
        assert!(error.contains(&format!("{}\": {says}", files.path(file))), "{says}: {error}");
    }
    let error = error(&files.listener(&["c"], ""));
    assert!(error.is_unreadable, "{error}");
    assert!(error.to_string().contains("c.pem\": cannot be read: No such file"), "{error}");
}

#[test]
fn a_certificate_that_no_client_would_get_is_refused() {
    let files = Files::new();
    files.pair("a", &["a.example"]);
    files.pair("bare", &[]);
    let loaded = files.load(&["bare", "a"], "");
    assert_eq!(chosen(edge(&loaded), Some("x.example"), &ECDSA), "bare", "the first may be so");
    let error = files.error(&["a", "bare"], "").to_string();
    assert!(error.contains("bare.pem\": has no name of a host (subjectAltName)"), "{error}");
}

#[test]
fn days_that_are_wrong_are_warned_about() {
    let files = Files::new();
    let key = KeyPair::generate().expect("a key");
    files.pair_of("old", params(&["old.example"], (2020, 2025)), &key);
    files.pair_of("new", params(&["new.example"], (2040, 2050)), &key);
    let loaded = files.load(&["old", "new"], "");
    let [old, new] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(old.contains("old.pem\" (old.example) expired on 2025-01-01T00:00:00Z"), "{old}");
    assert!(new.contains("(new.example) is valid from 2040-01-01T00:00:00Z on"), "{new}");
}

#[test]
fn what_is_read_again_is_the_same_until_a_file_changes() {
    let files = Files::new();
    files.pair("a", &["a.example"]);
    files.pair("ca", &[]);
    files.write("tickets", &"x".repeat(80));
    let keys = format!(
        "client_ca = {:?}\nticket_keys = {:?}\n",
        files.path("ca.pem"),
        files.path("tickets")
    );
    let before = files.load(&["a"], &keys);
    assert_eq!(files.load(&["a"], &keys), before);
    let ca = edge(&before).client_ca.as_ref().expect("it is asked for");
    assert_eq!((ca.roots.len(), ca.is_required), (1, true));
    assert_eq!(edge(&before).ticket_keys.as_deref(), Some(&[b'x'; 80][..]));
    files.write("tickets", &"y".repeat(80));
    assert_ne!(files.load(&["a"], &keys), before);
    files.write("tickets", &"x".repeat(80));
    files.pair("ca", &[]);
    assert_ne!(files.load(&["a"], &keys), before);
    let before = files.load(&["a"], &keys);
    files.pair("a", &["a.example"]);
    assert_ne!(files.load(&["a"], &keys), before);
}

#[test]
fn nothing_of_a_key_is_shown() {
    let files = Files::new();
    files.pair("a", &["a.example"]);
    let keys = (0..6).map(|number| format!("{number}{}se", "secret".repeat(13)) + "c");
    files.write("tickets", &keys.map(|key| key[..80].to_owned()).collect::<String>());
    let loaded = files.load(&["a"], &format!("ticket_keys = {:?}", files.path("tickets")));
    let shown = format!("{loaded:?}");
    assert!(shown.contains("a.example") && shown.contains("TicketKeys(480 bytes)"), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
}

#[test]
fn an_upstream_has_roots_a_name_and_a_certificate_of_ours() {
    let files = Files::new();
    files.pair("ca", &[]);
    files.pair("own", &["own.example"]);
    let [ca, pem, key] = ["ca.pem", "own.pem", "own.key"].map(|name| files.path(name));
    let keys = format!("ca = {ca:?}\ncertificate = {pem:?}\nkey = {key:?}\n");
    let upstream = format!("[upstream.app.tls]\nserver_name = \"db.example\"\n{keys}");
    let materials = loaded(&config("", &upstream)).upstreams["app"].clone();
    assert_eq!(materials.roots.as_ref().map(|roots| roots.len()), Some(1));
    assert!(materials.identity.is_some());
    let name = materials.server_name.as_ref().map(|name| name.to_str().into_owned());
    assert_eq!(name.as_deref(), Some("db.example"));
    let open = loaded(&config("", "[upstream.app.tls]\nca = \"off\"\n"));
    let [warning] = &open.warnings[..] else { panic!("{:?}", open.warnings) };
    assert!(warning.starts_with("upstream.app.tls.ca = \"off\": no certificate of a"), "{warning}");
    assert!(open.upstreams["app"].roots.is_none() && open.upstreams["app"].server_name.is_none());
    files.write("ca.pem", "");
    let error = error(&config("", &upstream)).to_string();
    assert!(
        error.starts_with("upstream.app.tls: ca = ") && error.contains("has no cert"),
        "{error}"
    );
}
