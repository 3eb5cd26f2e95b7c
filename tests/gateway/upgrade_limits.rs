//! An upgrade of connections that cannot move, where a limit leaves room for no more: they count in
//! the successor until they have ended.

use std::io::{Read, Write};
use std::net::TcpStream;

use portcullis::wire::SSL_REQUEST;

use crate::support::client;
use crate::support::config::upstream;
use crate::support::lineage::{Lineage, runs};
use crate::support::server::{self, Server};
use crate::support::wait_until;

/// Asks for TLS, whose answer binds the client to this process until its server is known.
fn asks(mut stream: &TcpStream) {
    stream.write_all(&SSL_REQUEST).expect("it may speak");
}

fn is_answered(mut stream: &TcpStream) {
    let mut answer = [0];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"S");
}

fn config(server: &Server<()>, keys: &str) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 2000\n[status]\nbind = \"127.0.0.1:0\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\nsniff = \"postgres\"\n\
         preamble_timeout = \"5m\"\n{keys}\n\
         [[listener.edge.route]]\nserver_names = [\"db.example.com\"]\nupstream = \"app\"\n{}",
        upstream("app", &[server.address])
    )
}

#[test]
fn a_listener_takes_no_more_than_it_may_while_some_cannot_move() {
    let server = server::echo();
    let lineage = Lineage::start(&config(&server, "max_connections = 2"));
    let address = lineage.first.address("edge");
    let (first, second) = (client::connect(address), client::connect(address));
    for stream in [&first, &second] {
        asks(stream);
        is_answered(stream);
    }
    let third = client::connect(address);
    asks(&third);
    let upgrade = lineage.begin(&["--probation", "300ms", "--timeout", "50s"]);
    let is_resting = || lineage.status()["upgrade"]["step"] == "rest";
    wait_until("the successor to accept clients", is_resting);
    assert!(client::is_silent(&third), "the listener has two already");
    drop(first);
    is_answered(&third);
    drop(second);
    let output = upgrade.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{output:?}");
    wait_until("the predecessor's end", || !runs(lineage.first.pid()));
    let status = lineage.status();
    assert_eq!(
        (&status["budget"]["used"], &status["listeners"][0]["open"]),
        (&1.into(), &1.into())
    );
}
