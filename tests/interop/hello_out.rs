//! A PROXY header says what a client's TLS hello asks for, as another reader of headers finds it.

use std::collections::BTreeMap;
use std::io::{Read as _, copy};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use ppp::v2::{Addresses, Command, Header, Type};

use crate::program::{output_for, program};
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::server::{Server, finish};
use crate::tls::{Seen, Tls};

/// Where a connection came, and the fields behind that.
type Told = (SocketAddr, BTreeMap<u8, Vec<u8>>);

/// Reads a header of version 2, and not a byte more.
fn header(mut stream: &TcpStream) -> Told {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).expect("a header");
    bytes.resize(16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])), 0);
    stream.read_exact(&mut bytes[16..]).expect("all of it");
    let header = Header::try_from(&bytes[..]).expect("a header of version 2");
    assert_eq!(header.command, Command::Proxy);
    let Addresses::IPv4(ends) = header.addresses else { panic!("{header:?}") };
    let fields = header.tlvs().map(|field| field.expect("a whole field"));
    let fields = fields.map(|field| (field.kind, field.value.to_vec()));
    ((ends.destination_address, ends.destination_port).into(), fields.collect())
}

/// Hands a connection on to another server, both ways.
fn forward(stream: &TcpStream, server: SocketAddr) {
    let onward = TcpStream::connect(server).expect("it listens");
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = copy(&mut &onward, &mut &*stream);
            finish(stream);
        });
        let _ = copy(&mut &*stream, &mut &onward);
        let _ = onward.shutdown(std::net::Shutdown::Write);
    });
}

#[test]
fn the_name_and_the_first_protocol_of_a_hello_go_on() {
    let tls = Tls::start('a', "db.example.com");
    let target = tls.address;
    let server = Server::start(move |stream: TcpStream| {
        let told = header(&stream);
        forward(&stream, target);
        told
    });
    for connect in ["eager", "lazy"] {
        let config = format!(
            "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\nsniff = \"tls\"\n\
             {}connect = \"{connect}\"\nsend_proxy = \"v2\"\n\
             send_proxy_tlvs = [\"authority\", \"alpn\", \"unique-id\", \"crc32c\"]\n",
            upstream("app", &[server.address]),
        );
        let gateway = Gateway::start(&config);
        let edge = gateway.address("edge");
        for (more, name, protocol) in [
            (
                &["-servername", "db.example.com", "-alpn", "h2,http/1.1"][..],
                "db.example.com",
                "h2",
            ),
            (&["-servername", "db.example.com"], "db.example.com", ""),
            (&["-noservername", "-alpn", "http/1.1"], "", "http/1.1"),
        ] {
            let mut command = program("openssl");
            command.args(["s_client", "-quiet", "-connect", &edge.to_string()]).args(more);
            command.arg("-verify_return_error").arg("-CAfile").arg(tls.certificate());
            let seen = Seen::read(&output_for(&mut command, b"GET / HTTP/1.0\r\n\r\n"));
            assert_eq!(seen.letter, 'a', "{seen:?}");
            let (destination, fields) = server.outcomes(1).remove(0);
            assert_eq!(destination, edge);
            let field = |kind: Type| fields.get(&(kind as u8)).map_or(&[][..], |value| value);
            assert_eq!(field(Type::Authority), name.as_bytes(), "{more:?} {connect}");
            assert_eq!(field(Type::ALPN), protocol.as_bytes(), "{more:?} {connect}");
            assert_eq!((field(Type::UniqueId).len(), field(Type::CRC32C).len()), (16, 4));
        }
        gateway.stop().expect_closed(3);
    }
}
