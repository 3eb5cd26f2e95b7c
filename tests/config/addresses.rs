//! Addresses that are none, that overlap, or that lead in a circle.

use crate::{assert_refused, parse, with};

/// Addresses that are none, with the rule and the remedy that each has of its own.
const BAD_ADDRESSES: &[(&str, &str)] = &[
    ("::1:21000", "is an IPv6 address with a port and without brackets; write \"[::1]:21000\""),
    ("fd00::5", "must be an address with a port, and has none; write \"[fd00::5]:PORT\""),
    ("[::1]", "must be an address with a port, and has none; write \"[::1]:PORT\""),
    ("10.0.0.1", "must be an address with a port, and has none; write \"10.0.0.1:PORT\""),
    ("10.0.0.1:", "must be an address with a port, and has none; write \"10.0.0.1:PORT\""),
    ("7000", "is a port without an address; write \"127.0.0.1:7000\""),
    (":7000", "is a port without an address; write \"127.0.0.1:7000\""),
    ("10.0.0.1:99999", "has a port above 65535; write a port from 1 to 65535"),
    ("10.0.0.1:http", "must have a port that is a number; write \"127.0.0.1:PORT\""),
    ("unix:/run/app.sock", "is a unix socket, and those are not in this version; write \"127.0"),
    ("unix:", "is a unix socket, and those are not in this version; write \"127.0.0.1:PORT\""),
    ("tcp://10.0.0.1:80/x", "must be an address without a scheme; write \"10.0.0.1:80\""),
    ("[fe80::1]:80", "is a link-local address without the number of its interface; write it as"),
    ("[fe80::1%eth0]:80", "names its interface by something else than a number; write it as"),
    ("[::ffff:10.0.0.1]:9", "is an IPv4 address in IPv6 clothes; write \"10.0.0.1:9\""),
    ("239.0.0.1:80", "is a multicast or broadcast address, which no TCP connection has; write"),
];

#[test]
fn every_bad_address_has_words_of_its_own() {
    for (text, words) in BAD_ADDRESSES {
        for (port, file) in [
            ("7000", with(&format!("[listener.b]\nbind = [{text:?}]\nupstream = \"app\""))),
            ("9000", with(&format!("[upstream.b]\nservers = [{text:?}]"))),
        ] {
            let words = words.replace("PORT", port);
            assert_refused(&file, &format!("= {text:?}: {words}"));
        }
    }
}

/// Binds on one port, in one listener or in two: those of narrower addresses have their clients to
/// themselves.
#[test]
fn addresses_that_overlap_are_shared_among_listeners_whichever_comes_first() {
    for (one, two) in [
        ("*:70", "127.0.0.1:70"),
        ("0.0.0.0:70", "10.0.0.1:70"),
        ("127.0.0.1:70", "*:70"),
        ("[::1]:70", "[::]:70"),
        ("0.0.0.0:70", "[::]:70"),
        ("[::]:70", "127.0.0.1:70"),
        ("*:70", "127.0.0.1:71"),
        ("*:0", "127.0.0.1:0"),
    ] {
        let file = |second: &str| {
            format!(
                "[listener.edge]\nbind = [{one:?}{second}]\nupstream = \"app\"\n\
                 [upstream.app]\nbuiltin = \"echo\""
            )
        };
        let other = "\n[listener.b]\nupstream = \"app\"\n";
        parse(&file(&format!(",{two:?}"))).expect(two);
        parse(&(file("") + other + &format!("bind = [{two:?}]"))).expect(two);
    }
}

#[test]
fn a_status_server_shares_no_port_with_a_listener() {
    for (listener, status, rule) in [
        ("*:70", "127.0.0.1:70", "listener.edge binds every address with this port, on line 2; "),
        ("127.0.0.1:70", "0.0.0.0:70", "covers what listener.edge binds on line 2; write another"),
        (
            "127.0.0.1:70",
            "127.0.0.1:70",
            "listener.edge binds it already, on line 2; write another",
        ),
    ] {
        let text = format!(
            "[listener.edge]\nbind = [{listener:?}]\nupstream = \"app\"\n\
             [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = {status:?}"
        );
        assert_refused(&text, rule);
    }
}

/// A listener and an upstream of that name for each: where it listens, and its servers.
fn chain(links: &[(&str, &str)]) -> String {
    let sections = links.iter().enumerate().map(|(index, (bind, servers))| {
        format!(
            "[listener.l{index}]\nbind = [{bind:?}]\nupstream = \"u{index}\"\n\
             [upstream.u{index}]\nservers = [{servers}]\n"
        )
    });
    sections.collect()
}

#[test]
fn listeners_that_lead_to_each_other_are_a_loop_and_a_chain_is_none() {
    for (links, error) in [
        (
            &[("127.0.0.1:1", "\"127.0.0.1:2\""), ("127.0.0.1:2", "\"127.0.0.1:1\"")][..],
            "p.toml:10: upstream.u1.servers = \"127.0.0.1:1\": closes a loop: \
             listener.l0 to upstream.u0 to listener.l1 to upstream.u1 to listener.l0; write",
        ),
        (
            &[
                ("*:1", "\"[::1]:2\""),
                ("[::1]:2", "\"10.0.0.1:1\", \"127.0.0.1:3\""),
                ("*:3", "\"127.0.0.1:2\", \"127.0.0.1:1\""),
            ][..],
            "p.toml:15: upstream.u2.servers = \"127.0.0.1:1\": closes a loop: \
             listener.l0 to upstream.u0 to listener.l1 to upstream.u1 to listener.l2 to \
             upstream.u2 to listener.l0; write the address of a real server",
        ),
        (&[("127.0.0.1:1", "\"127.0.0.1:2\""), ("127.0.0.1:2", "\"127.0.0.1:3\"")][..], ""),
        (&[("127.0.0.1:1", "\"127.0.0.1:2\""), ("10.0.0.1:2", "\"127.0.0.1:1\"")][..], ""),
    ] {
        let message = parse(&chain(links)).err().unwrap_or_default();
        assert!(message.starts_with(error) && message.is_empty() == error.is_empty(), "{message}");
        assert!(message.lines().count() <= 1, "{message}");
    }
}

#[test]
fn a_loopback_source_reaches_no_server_on_another_host() {
    let file = |server: &str| {
        with(&format!(
            "[upstream.b]\nservers = [\"127.0.0.1:9\", {server:?}]\n\
             source_addresses = [\"127.0.0.2\"]"
        ))
    };
    let error =
        "p.toml:8: upstream.b.source_addresses = \"127.0.0.2\": is a loopback address, from";
    assert_refused(&file("10.0.0.1:9"), error);
    assert!(parse(&file("127.0.0.9:9")).is_ok() && parse(&file("[fd00::1]:9")).is_ok());
}
