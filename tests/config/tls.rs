//! TLS of listeners and upstreams.

use std::path::PathBuf;

use portcullis::config::{
    Auto, CertificatePair, Class, ClientCertificate, ListenerTls, ServerCa, TlsVersion,
    UnknownName, UpstreamTls,
};

use crate::{assert_refused, parse};

const PAIR: &str = "certificates = [{ certificate = \"/a.pem\", key = \"/a.key\" }]";

/// A listener with these keys from line 4 on, and a table with others.
fn listener_with(listener: &str, keys: &str) -> String {
    let head = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n";
    format!("{head}{listener}[listener.edge.tls]\n{keys}\n[upstream.app]\nbuiltin = \"echo\"\n")
}

fn listener(keys: &str) -> String {
    listener_with("", keys)
}

fn upstream(servers: &str, keys: &str) -> String {
    let head = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n";
    format!("{head}[upstream.app]\n{servers}\n[upstream.app.tls]\n{keys}\n")
}

fn of_listener(text: &str) -> ListenerTls {
    let config = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parse(&config.written()), Ok(config.clone()), "{}", config.written());
    config.listeners[0].tls.clone().expect("it is there")
}

fn of_upstream(servers: &str, keys: &str) -> (UpstreamTls, Option<String>) {
    let config = parse(&upstream(servers, keys)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parse(&config.written()), Ok(config.clone()), "{}", config.written());
    let upstream = &config.upstreams[0];
    (upstream.tls.clone().expect("it is there"), upstream.tls_name().map(str::to_owned))
}

#[test]
fn a_listener_needs_certificates_alone() {
    let tls = of_listener(&listener(PAIR));
    let pair = CertificatePair { certificate: "/a.pem".into(), key: "/a.key".into() };
    assert_eq!(tls.certificates, [pair]);
    assert_eq!((tls.unknown_name, tls.min_version), (UnknownName::First, TlsVersion::V12));
    assert_eq!((tls.alpn, tls.client_ca), (Vec::new(), None));
    assert_eq!(tls.client_certificate, ClientCertificate::Required);
    assert_eq!((tls.ticket_keys, tls.handshakes), (Auto::Auto, 1024));
}

#[test]
fn a_listener_says_the_rest() {
    let keys = format!(
        "{PAIR}\nunknown_name = \"refuse\"\nmin_version = \"1.3\"\nalpn = [\"h2\", \"x\"]\n\
         client_ca = \"/ca.pem\"\nclient_certificate = \"optional\"\nticket_keys = \"/t.key\"\n\
         handshakes = 65536"
    );
    let tls = of_listener(&listener(&keys));
    assert_eq!((tls.unknown_name, tls.min_version), (UnknownName::Refuse, TlsVersion::V13));
    assert_eq!(tls.alpn, ["h2", "x"]);
    assert_eq!(tls.client_ca, Some(PathBuf::from("/ca.pem")));
    assert_eq!(tls.client_certificate, ClientCertificate::Optional);
    assert_eq!((tls.ticket_keys, tls.handshakes), (Auto::Fixed("/t.key".into()), 65_536));
}

#[test]
fn tables_of_listeners_that_are_wrong_are_refused() {
    let with = |key: &str| format!("{PAIR}\n{key}");
    for (keys, fragment) in [
        ("alpn = []".to_owned(), "p.toml:4: listener.edge.tls: has no certificates; write [{"),
        (
            "certificates = []".to_owned(),
            "must be a list of { certificate = PATH, key = PATH }, at",
        ),
        ("certificates = [\"/a.pem\"]".to_owned(), "must be a table; write { certificate"),
        (
            "certificates = [{ certificate = \"/a.pem\" }]".to_owned(),
            "has no key: a certificate and its key go together; write key = \"/...\" in it",
        ),
        (
            "certificates = [{ key = \"/a.key\" }]".to_owned(),
            "has no certificate: a certificate and its key go together",
        ),
        (
            "certificates = [{ certificate = \"a.pem\", key = \"/a.key\" }]".to_owned(),
            "certificate = \"a.pem\": must be an absolute path; write it from / on",
        ),
        (
            PAIR.replace(" }]", " }, { certificate = \"/a.pem\", key = \"/b.key\" }]"),
            "stands there twice; remove one of the two",
        ),
        (with("unknown_name = \"last\""), "must be \"first\" or \"refuse\""),
        (with("min_version = \"1.1\""), "must be \"1.2\" or \"1.3\""),
        (with("alpn = [\"\"]"), "must be a protocol's name, 1 to 255 bytes"),
        (with("alpn = [\"h2\", \"h2\"]"), "stands there twice"),
        (with("alpn = \"h2\""), "must be a list of protocols; write [\"h2\", "),
        (with("client_ca = \"ca.pem\""), "must be an absolute path, or \"off\""),
        (
            with("client_certificate = \"optional\""),
            "belongs to client_ca, and clients are asked for no certificate; write client_ca",
        ),
        (with("ticket_keys = \"off\""), "must be an absolute path, or \"auto\""),
        (with("handshakes = 0"), "must be 1 to 65536; write the default, 1024"),
        (with("handshakes = 65537"), "must be 1 to 65536"),
        (with("certificate = \"/a\""), "no such key; did you mean certificates?"),
    ] {
        assert_refused(&listener(&keys), fragment);
    }
    assert_refused(
        &listener_with("tls = 5\n", "").replace("[listener.edge.tls]", ""),
        "must be a table of [listener.NAME.tls]",
    );
}

#[test]
fn what_is_read_of_clients_goes_with_tls_or_not() {
    let route = "[[listener.edge.route]]\nserver_names = [\"a.example\"]\nupstream = \"app\"\n";
    of_listener(&listener_with(&format!("unmatched = \"refuse\"\n{route}"), PAIR));
    of_listener(&listener_with("sniff = \"postgres\"\n", PAIR));
    assert_refused(
        &listener_with("sniff = \"tls\"\n", PAIR),
        "p.toml:4: listener.edge.sniff = \"tls\": has no effect where TLS ends: routes go by the ",
    );
}

#[test]
fn servers_are_verified_by_a_name() {
    let addresses = "servers = [\"127.0.0.1:9000\"]";
    let (tls, name) = of_upstream(addresses, "server_name = \"DB.internal.\"");
    assert_eq!((tls.ca, tls.certificate, tls.key), (ServerCa::System, None, None));
    assert_eq!(name.as_deref(), Some("db.internal"));
    let (tls, name) = of_upstream(
        addresses,
        "ca = \"/ca.pem\"\nserver_name = \"10.0.0.1\"\ncertificate = \"/c.pem\"\nkey = \"/c.key\"",
    );
    assert_eq!(tls.ca, ServerCa::File("/ca.pem".into()));
    assert_eq!((tls.certificate, tls.key), (Some("/c.pem".into()), Some("/c.key".into())));
    assert_eq!(name.as_deref(), Some("10.0.0.1"));
    let (tls, name) = of_upstream(addresses, "ca = \"off\"");
    assert_eq!((tls.ca, name), (ServerCa::Off, None));
    let one = "servers = [\"db.internal:1\", { name = \"b\", address = \"DB.internal:2\" }]";
    assert_eq!(of_upstream(one, "").1.as_deref(), Some("db.internal"));
}

#[test]
fn tables_of_upstreams_that_are_wrong_are_refused() {
    let address = "servers = [\"127.0.0.1:9000\"]";
    for (servers, keys, fragment) in [
        (
            address,
            "",
            "upstream.app.tls: has no server_name: an address has no name to verify; write server",
        ),
        ("servers = [\"a:1\", \"b:1\"]", "", "has no server_name: servers have several names"),
        ("servers = [\"a:1\", \"127.0.0.1:1\"]", "", "an address has no name to verify"),
        ("srv = \"_a._tcp.example\"", "", "servers are known only later"),
        (
            "builtin = \"echo\"",
            "",
            "upstream.app.tls: is for servers, and the gateway itself answers here; remove it",
        ),
        (address, "server_name = \"a b\"", "must be the name of a host, or an address; write the"),
        (address, "ca = \"ca.pem\"", "must be \"system\", an absolute path or \"off\""),
        (
            address,
            "ca = \"off\"\ncertificate = \"/c.pem\"",
            "tls.certificate = \"/c.pem\": has no key beside it: the two go together; write key",
        ),
        (address, "ca = \"off\"\nkey = \"/c.key\"", "has no certificate beside it"),
        (address, "ca = \"off\"\nverify = false", "no such key"),
    ] {
        assert_refused(&upstream(servers, keys), fragment);
    }
}

#[test]
fn changes_are_for_new_connections() {
    let differ = |before: &str, after: &str| {
        let [before, after] = [before, after].map(|text| parse(text).expect("it is right"));
        let [one] = &before.differences(&after)[..] else { panic!("one key differs") };
        (one.path(), one.class)
    };
    let more = listener(&format!("{PAIR}\nhandshakes = 7"));
    let expected = ("listener.edge.tls".to_owned(), Class::NewConnections);
    assert_eq!(differ(&listener(PAIR), &more), expected);
    let servers = "servers = [\"127.0.0.1:9000\"]";
    let [before, after] =
        ["", "server_name = \"a\"\n"].map(|name| upstream(servers, &format!("{name}ca = \"off\"")));
    let expected = ("upstream.app.tls".to_owned(), Class::NewConnections);
    assert_eq!(differ(&before, &after), expected);
}
