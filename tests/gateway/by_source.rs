//! By source each client has a server of its own, at every gateway.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use crate::support::client;
use crate::support::command::tell;
use crate::support::gateway::Gateway;
use crate::support::server::Server;
use crate::support::unreachable::Refusing;

const CLIENTS: u8 = 60;

/// A server that says its own letter to whoever says something.
fn letter(letter: u8) -> Server<()> {
    Server::start(move |mut stream| {
        let _ = stream.read(&mut [0]);
        let _ = stream.write_all(&[letter]);
    })
}

/// A gateway of these servers, each by its letter.
fn gateway(servers: &[(char, SocketAddr)]) -> Gateway {
    let line = |(name, address)| format!("{{ name = \"{name}\", address = \"{address}\" }}");
    let lines: Vec<String> = servers.iter().copied().map(line).collect();
    Gateway::start(&format!(
        "[gateway]\nworkers = 2\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [{}]\nbalance = \"source\"\neject_after = \"off\"\n",
        lines.join(", ")
    ))
}

/// The letter of the server that each client comes to.
fn letters(gateway: &Gateway) -> Vec<char> {
    let ask = |nth: u8| {
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 9, nth), 0));
        let mut stream = client::connect_from(from, gateway.address("edge"));
        stream.write_all(b"?").expect("it may ask");
        let mut letter = [0];
        stream.read_exact(&mut letter).expect("it is answered");
        char::from(letter[0])
    };
    (0..CLIENTS).map(ask).collect()
}

#[test]
fn a_client_comes_to_the_same_server_by_any_gateway_and_whichever_others_go() {
    let servers = [b'a', b'b', b'c', b'd'].map(letter);
    let [a, b, c, d] = servers.each_ref().map(|server| server.address);
    let one = gateway(&[('a', a), ('b', b), ('c', c), ('d', d)]);
    let other = gateway(&[('c', c), ('a', a), ('d', d), ('b', b)]);
    let first = letters(&one);
    assert!(['a', 'b', 'c', 'd'].iter().all(|letter| first.contains(letter)), "{first:?}");
    assert_eq!((letters(&one), letters(&other)), (first.clone(), first.clone()));
    tell(&one, &["servers", "app", "remove", "b"]);
    let second = letters(&one);
    for (before, after) in first.iter().zip(&second) {
        assert!(
            if *before == 'b' { *after != 'b' } else { after == before },
            "{first:?} {second:?}"
        );
    }
    one.stop();
    other.stop();
}

#[test]
fn where_a_clients_server_fails_it_comes_to_the_next_of_its_order_by_any_gateway() {
    let servers = [b'a', b'c', b'd'].map(letter);
    let [a, c, d] = servers.each_ref().map(|server| server.address);
    let refusing = Refusing::new();
    let one = gateway(&[('a', a), ('b', refusing.address), ('c', c), ('d', d)]);
    let other = gateway(&[('d', d), ('c', c), ('a', a)]);
    assert_eq!(letters(&one), letters(&other));
    one.stop();
    other.stop();
}
