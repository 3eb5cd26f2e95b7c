//! Each listener leads to its own upstream.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::support::client;
use crate::support::command::ask_json;
use crate::support::config::upstream;
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::network::free_port;
use crate::support::server;

/// Who answers there.
fn name_of(address: SocketAddr) -> u8 {
    let mut stream = client::connect(address);
    let mut name = [0];
    stream.write_all(b"?").and_then(|()| stream.read_exact(&mut name)).expect("an answer");
    client::echo(&stream, 5, 1_000);
    name[0]
}

#[test]
fn each_listener_leads_to_its_own_upstream() {
    let servers = [server::named(b'a'), server::named(b'b'), server::named(b'c')];
    let mut config = "[gateway]\nworkers = 2\n".to_owned();
    for (name, server) in ["a", "b", "c"].iter().zip(&servers) {
        config += &format!(
            "[listener.of-{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{name}\"\n{}",
            upstream(name, &[server.address])
        );
    }
    let gateway = Gateway::start(&config);
    let addresses = ["of-a", "of-b", "of-c"].map(|listener| gateway.address(listener));
    crowd(90, 10, |index| {
        assert_eq!(name_of(addresses[index % 3]), b"abc"[index % 3]);
    });
    gateway.wait_for_ended(90);
    gateway.stop().expect(&[("closed-by-client", 90)]);
}

#[test]
fn every_address_of_a_listener_leads_to_its_upstream() {
    let server = server::named(b'x');
    let gateway = Gateway::start(&format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\", \"127.0.0.2:0\", \"127.0.0.3:0\"]\n\
         upstream = \"app\"\n{}",
        upstream("app", &[server.address])
    ));
    let addresses = gateway.addresses("edge");
    assert_eq!(addresses.len(), 3);
    for address in addresses {
        assert_eq!(name_of(address), b'x');
    }
}

#[test]
fn several_listeners_may_share_an_upstream() {
    let server = server::named(b's');
    let gateway = Gateway::start(&format!(
        "[listener.one]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.two]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}",
        upstream("app", &[server.address])
    ));
    for listener in ["one", "two"] {
        assert_eq!(name_of(gateway.address(listener)), b's');
    }
    assert_eq!(server.accepted(), 2);
}

/// A wildcard that leads to `a`, and one of its addresses that leads to `b`, in either order.
fn overlapping(port: u16, servers: &[server::Server<()>; 2], narrow_first: bool) -> [String; 2] {
    let listener = |name: &str, bind: &str| {
        format!("[listener.{name}]\nbind = [\"{bind}:{port}\"]\nupstream = \"{name}\"\n")
    };
    let (wide, narrow) = (listener("a", "0.0.0.0"), listener("b", "127.0.0.2"));
    let both = if narrow_first { narrow + &wide } else { wide.clone() + &narrow };
    let rest = "[gateway]\nworkers = 2\n[status]\nbind = \"off\"\n".to_owned()
        + &upstream("a", &[servers[0].address])
        + &upstream("b", &[servers[1].address]);
    [both + &rest, wide + &rest]
}

#[test]
fn an_address_beside_a_wildcard_has_its_clients_to_itself() {
    let servers = [server::named(b'a'), server::named(b'b')];
    for narrow_first in [false, true] {
        let port = free_port();
        let [both, wide] = overlapping(port, &servers, narrow_first);
        let gateway = Gateway::start(&both);
        let expect = |of_narrow: u8| {
            for (host, name) in [(1, b'a'), (2, of_narrow), (3, b'a')] {
                assert_eq!(name_of(SocketAddr::from(([127, 0, 0, host], port))), name, "{host}");
            }
        };
        let reload = |text: &str| {
            gateway.home().write("portcullis.toml", text);
            ask_json(&gateway, &["reload"]);
        };
        expect(b'b');
        reload(&wide);
        expect(b'a');
        reload(&both);
        expect(b'b');
        gateway.stop().expect(&[("closed-by-client", 9)]);
    }
}
