//! A port that no server listens on and that a connection has: an error that names it, or a wait
//! where the connection has ended.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::client;
use crate::support::command::ask;
use crate::support::gateway::Gateway;
use crate::support::server::finish;

/// Addresses of loopback that no other test has: the kernel gives a port of 127.0.0.1 to several
/// connections at once.
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 21, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 21, 2);

fn echo_on(address: SocketAddr) -> String {
    format!(
        "[listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    )
}

fn refused(address: SocketAddr) -> String {
    let (status, lines) = Gateway::launch(Some(&echo_on(address)), None).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let told: Vec<&String> =
        lines.iter().filter(|line| line.contains(&format!("{address}: "))).collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert!(!told[0].contains("listens there;"), "{told:?}");
    told[0].clone()
}

/// A socket on a port of [`OWN`] that the kernel chose, and keeps from others.
fn bound() -> Socket {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    bound.bind(&SocketAddr::from((OWN, 0)).into()).expect("a free port");
    bound
}

/// A connection from there, and its other end.
fn connection() -> (TcpStream, TcpStream) {
    let (listener, client) = (TcpListener::bind((PEER, 0)).expect("a free port"), bound());
    let address = listener.local_addr().expect("bound");
    client.connect(&address.into()).expect("it listens");
    (client.into(), listener.accept().expect("a client").0)
}

#[test]
fn an_outgoing_connection_is_named_with_its_peer_and_its_process() {
    let (client, server) = connection();
    let own = client.local_addr().expect("connected");
    let told = refused(own);
    let peer = server.local_addr().expect("connected");
    assert!(told.contains(&format!("a connection to {peer} (ESTAB) has the port, of ")), "{told}");
    assert!(told.contains(&format!("(pid {})", std::process::id())), "{told}");
    assert!(told.contains(&format!("ip_local_reserved_ports={}", own.port())), "{told}");
}

/// A port that a connection which has ended keeps, and its peer.
fn ended() -> (SocketAddr, SocketAddr) {
    let (client, server) = connection();
    let (own, peer) = (client.local_addr(), client.peer_addr());
    finish(&client);
    assert_eq!(std::io::Read::read(&mut &server, &mut [0]).expect("an end"), 0);
    drop(server);
    assert_eq!(std::io::Read::read(&mut &client, &mut [0]).expect("an end"), 0);
    drop(client);
    (own.expect("connected"), peer.expect("connected"))
}

#[test]
fn a_connection_that_has_ended_is_waited_for() {
    let (own, peer) = ended();
    let gateway = Gateway::launch(Some(&echo_on(own)), None);
    gateway.wait_for_line("a connection that has ended keeps the port (TIME-WAIT)");
    let said = gateway.lines();
    let line = said.iter().find(|line| line.contains("TIME-WAIT")).expect("it was waited for");
    assert!(line.contains(&peer.to_string()) && line.contains(&own.to_string()), "{line}");
    assert!(!said.iter().any(|line| line.contains("listens there")), "{said:?}");
    // A SYN from there is answered with an ACK of what has ended, and that with a reset, which ends
    // the wait before its time (RFC 1337): tcp_rfc1337 is 0.
    let again = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    again.set_reuse_address(true).expect("an option");
    again.bind(&peer.into()).expect("nobody has it any more");
    // It is served, or refused where it comes again before the gateway listens.
    let _ = again.connect(&own.into());
    drop(again);
    gateway.wait_for_line(" ready ");
    client::echo(&client::connect(own), 1, 100);
    gateway.stop();
}

#[test]
fn a_reload_says_who_has_the_port_and_waits_for_nobody() {
    let own = SocketAddr::from((OWN, 0));
    let gateway = Gateway::start(&echo_on(own));
    let reload = |binds: SocketAddr| {
        let binds = format!("bind = [\"{own}\", \"{binds}\"]");
        let config = echo_on(own).replace(&format!("bind = [\"{own}\"]"), &binds);
        gateway.home().write("portcullis.toml", &config);
        let said = ask(&gateway, &["reload"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.answer.contains("nothing was changed: "), "{said:?}");
        said.answer
    };
    let (ended, peer) = ended();
    let told = reload(ended);
    let words = format!("a connection to {peer} that has ended keeps the port (TIME-WAIT); ask");
    assert!(told.contains(&words), "{told}");
    let taken = TcpListener::bind((OWN, 0)).expect("a free port");
    let told = reload(taken.local_addr().expect("bound"));
    assert!(told.contains(&format!("(pid {}) listens there", std::process::id())), "{told}");
    gateway.stop();
}

#[test]
fn a_socket_that_is_only_bound_is_told_as_that() {
    let bound = bound();
    let own = bound.local_addr().expect("bound").as_socket().expect("an address");
    assert!(refused(own).contains("neither listens nor is connected"));
}
