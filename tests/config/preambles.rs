//! Who may say by a PROXY header whose connection it forwards.

use portcullis::config::AcceptProxy;

use crate::{assert_refused, parse};

/// A listener with these keys, each from line 4 on.
fn listener(keys: &str) -> String {
    let listener = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"";
    format!("{listener}\n{keys}\n[upstream.app]\nbuiltin = \"echo\"\n")
}

#[test]
fn a_header_is_taken_from_networks_that_are_named() {
    let config = parse(&listener(
        "accept_proxy = \"from-trusted\"\nproxy_trusted = [\"10.0.0.0/8\", \"::1\"]",
    ));
    let preamble = &config.expect("it is right").listeners[0].preamble;
    assert_eq!(preamble.accept_proxy, AcceptProxy::FromTrusted);
    for (peer, is_trusted) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("::1", true),
        ("::2", false),
        ("11.0.0.1", false),
    ] {
        assert_eq!(preamble.trusts(peer.parse().expect("an address")), is_trusted, "{peer}");
    }
}

#[test]
fn a_header_that_nobody_may_send_is_refused() {
    for (keys, fragment) in [
        (
            "accept_proxy = \"required\"",
            "p.toml:4: listener.edge.accept_proxy = \"required\": trusts nobody: proxy_trusted has \
             no network; write",
        ),
        ("accept_proxy = \"from-trusted\"\nproxy_trusted = []", "trusts nobody"),
        (
            "accept_proxy = true",
            "p.toml:4: listener.edge.accept_proxy = true: must be \"off\", \"from-",
        ),
        ("proxy_trusted = [\"10.0.0.1/8\"]", "has bits beyond its prefix; write \"10.0.0.0/8\""),
        ("proxy_trusted = \"10.0.0.0/8\"", "proxy_trusted = \"10.0.0.0/8\": must be a list of net"),
        (
            "proxy_trusted = [\"balancer\"]",
            "proxy_trusted = \"balancer\": must be a list of networ",
        ),
        ("preamble_timeout = \"off\"", "preamble_timeout = \"off\": must be a duration from 1s to"),
    ] {
        assert_refused(&listener(keys), fragment);
    }
}
