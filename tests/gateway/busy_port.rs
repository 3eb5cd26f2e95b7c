//! A port that no server listens on and that a connection has is told as what it is.

use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::gateway::Gateway;
use crate::support::server::finish;

fn refused(address: SocketAddr) -> String {
    let config = format!(
        "[listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n"
    );
    let (status, lines) = Gateway::launch(Some(&config), None).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let told: Vec<&String> =
        lines.iter().filter(|line| line.contains(&format!("{address}: "))).collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert!(!told[0].contains("listens there;"), "{told:?}");
    told[0].clone()
}

/// A connection whose own port the kernel chose, and its other end.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (client, listener.accept().expect("a client").0)
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

#[test]
fn a_connection_that_has_ended_is_told_with_how_long_it_keeps_the_port() {
    let (client, server) = connection();
    let own = client.local_addr().expect("connected");
    finish(&client);
    assert_eq!(std::io::Read::read(&mut &server, &mut [0]).expect("an end"), 0);
    drop(server);
    assert_eq!(std::io::Read::read(&mut &client, &mut [0]).expect("an end"), 0);
    drop(client);
    let told = refused(own);
    assert!(told.contains("TIME-WAIT") && told.contains("60 seconds at most"), "{told}");
}

#[test]
fn a_socket_that_is_only_bound_is_told_as_that() {
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let own = bound.local_addr().expect("bound").as_socket().expect("an address");
    assert!(refused(own).contains("neither listens nor is connected"));
}
