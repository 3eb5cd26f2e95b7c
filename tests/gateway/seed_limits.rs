//! What bounds connections, and what a server out of descriptors does that the gateway never does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::client;
use crate::support::config::{over, relay};
use crate::support::gateway::Gateway;
use crate::support::network::{free_port, in_own_network};
use crate::support::server;

/// Ports that the kernel may choose from in the test's own network: a pair of source and
/// destination has as many connections. On a host it has up to 64,512 (1024 to 65535).
const PORTS: std::ops::Range<u16> = 61_000..61_100;

/// Connects until the kernel finds no port; every connection is answered.
fn connect_all(target: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    loop {
        match client::try_connect(target) {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(nix::libc::EADDRNOTAVAIL), "{error}");
                break;
            }
        }
    }
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, 10);
    }
    streams
}

#[test]
fn a_pair_of_source_and_destination_has_as_many_connections_as_ports_and_more_pairs_multiply_it() {
    in_own_network(|own| {
        if !own {
            return; // `in_own_network` has said that the range of a shared host is not touched.
        }
        let range = format!("{} {}", PORTS.start, PORTS.end - 1);
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("our own range");
        let (first, second) = (free_port(), free_port());
        let gateway = Gateway::start(&format!(
            "[gateway]\nworkers = 2\nmax_connections = 1000\n[listener.edge]\n\
             bind = [\"0.0.0.0:{first}\", \"0.0.0.0:{second}\"]\nupstream = \"app\"\n\
             [upstream.app]\nbuiltin = \"echo\"\n"
        ));
        let all = PORTS.len();
        let pair = connect_all((Ipv4Addr::LOCALHOST, first).into());
        assert_eq!(pair.len(), all, "one source, one destination");
        let other_port = connect_all((Ipv4Addr::LOCALHOST, second).into());
        assert_eq!(other_port.len(), all, "the same source ports again, to another port");
        let other_address = connect_all(([127, 0, 0, 2], first).into());
        assert_eq!(other_address.len(), all, "and again, to another address");
        let other_source: Vec<_> = PORTS
            .map(|port| {
                let source = SocketAddr::from(([127, 0, 0, 3], port));
                client::connect_from(source, (Ipv4Addr::LOCALHOST, first).into())
            })
            .collect();
        for (seed, stream) in (0..).zip(&other_source) {
            client::echo(stream, seed, 10);
        }
        drop((pair, other_port, other_address, other_source));
        gateway.stop().expect(&[("closed-by-client", 4 * all as u64)]);
    });
}

/// Clients at once: with one descriptor for each side they need more than [`OPEN_FILES`].
const CLIENTS: usize = 150;
const OPEN_FILES: u64 = 120;

/// What becomes of [`CLIENTS`] clients: (served, closed without a word although connected).
fn outcomes(address: SocketAddr) -> (usize, usize) {
    let streams: Vec<_> = (0..CLIENTS).map(|_| client::connect(address)).collect();
    let mut counts = (0, 0);
    for mut stream in &streams {
        let asked = stream.write_all(b"?");
        let answered = asked.and_then(|()| stream.read(&mut [0]));
        if matches!(answered, Ok(1)) {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
    }
    counts
}

/// This test's program run again as a plain proxy, killed when dropped.
struct PlainProxy(Child, SocketAddr);

impl PlainProxy {
    fn start(server: SocketAddr) -> PlainProxy {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {OPEN_FILES} && exec \"$0\" \"$@\""))
            .arg(program)
            .args(["--exact", "seed_limits::the_plain_proxy", "--ignored", "--nocapture"])
            .env("PLAIN_PROXY_SERVER", server.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let address = lines.find_map(|line| {
            line.expect("a line").split_once("listens on ").and_then(|(_, at)| at.parse().ok())
        });
        PlainProxy(child, address.expect("it says where it listens"))
    }
}

impl Drop for PlainProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The accept loop of a textbook: accept, then connect to the server; out of descriptors, the
/// client it has just accepted is dropped.
#[test]
#[ignore = "the program that another test starts"]
fn the_plain_proxy() {
    let Ok(server) = std::env::var("PLAIN_PROXY_SERVER") else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("listens on {}", listener.local_addr().expect("it is bound"));
    loop {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let Ok(upstream) = TcpStream::connect(&server) else { continue };
        let Ok(answers) = client.try_clone() else { continue };
        let Ok(asks) = upstream.try_clone() else { continue };
        std::thread::spawn(move || std::io::copy(&mut &client, &mut &asks));
        std::thread::spawn(move || std::io::copy(&mut &upstream, &mut &answers));
    }
}

#[test]
fn a_plain_accept_loop_refuses_after_the_handshake_and_the_gateway_does_not() {
    let server = server::echo();
    let proxy = PlainProxy::start(server.address);
    let (served, refused) = outcomes(proxy.1);
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused after their handshake");
    drop(proxy);
    let config = format!("{}[ring]\nbuffer_count = 512\n", relay(&[server.address]));
    let config = config.replace("max_connections = 4000", "max_connections = 1000");
    let gateway = Gateway::start_with_open_files(&over("io_uring", &config), OPEN_FILES);
    assert_eq!(outcomes(gateway.address("edge")), (CLIENTS, 0), "with as few files");
    gateway.wait_for_ended(CLIENTS);
    gateway.stop().expect(&[("closed-by-client", CLIENTS as u64)]);
}
