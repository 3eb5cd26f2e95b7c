//! Programs of others say by PROXY headers whose connections they forward.

use std::net::TcpStream;

use crate::program::{output, program};
use crate::support::config::relay_with;
use crate::support::gateway::Gateway;
use crate::support::log::field;
use crate::support::server::Server;

const REQUIRED: &str = "accept_proxy = \"required\"\nproxy_trusted = [\"127.0.0.1\"]";
#[test]
fn curl_says_its_own_address() {
    let server = Server::start(|mut stream: TcpStream| {
        use std::io::{BufRead, BufReader, Write};
        let head = BufReader::new(&stream).lines().map_while(Result::ok);
        let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nserved").expect("an answer");
        head
    });
    let gateway = Gateway::start(&relay_with(REQUIRED, &[server.address]));
    let mut command = program("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--haproxy-protocol"]);
    let url = format!("http://{}/", gateway.address("edge"));
    assert_eq!(output(command.arg(url)), "served");
    assert!(server.outcomes(1)[0][0].starts_with("GET / HTTP/1.1"));
    let line = &gateway.wait_for_ended(1)[0];
    // Its connection is its own: both are the same.
    assert_eq!(field(line, "client"), field(line, "via"), "{line}");
    assert!(field(line, "via").is_some(), "{line}");
    gateway.stop().expect_closed(1);
}
