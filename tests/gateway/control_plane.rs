//! The endpoints of the control plane: who gets an answer, and what the others cannot do.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use portcullis::config::Status;

use crate::support::client::{self, Ending};
use crate::support::command::tell;
use crate::support::config::{OWN_ECHO, relay};
use crate::support::gateway::{Gateway, program};
use crate::support::http::{get, say};
use crate::support::pattern::Pattern;
use crate::support::procfs::descriptors;
use crate::support::server::Server;
use crate::support::wait_until;

/// One message there and back.
fn echoes(address: SocketAddr) {
    let stream = client::connect(address);
    client::send(&stream, &mut Pattern::new(7), 1000).expect("sent");
    crate::support::server::finish(&stream);
    let brought = client::receive_all(&stream, &mut Pattern::new(7));
    assert_eq!((brought.bytes, brought.ending), (1000, Ending::Fin));
}

#[test]
fn health_and_readiness_follow_the_gateway_through_a_drain() {
    const CONNECTIONS: usize = 100;
    let server = Server::start(|stream| client::receive_all(&stream, &mut Pattern::new(1)).bytes);
    let config = format!("{}\n[status]\nbind = \"127.0.0.1:0\"\n", relay(&[server.address]));
    let gateway = Gateway::start(&config);
    let status = gateway.status();
    assert_eq!((get(status, "/healthz").status, get(status, "/readyz").status), (200, 200));
    assert_eq!((get(status, "/nothing").status, get(status, "/drain").status), (404, 404));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| client::connect(address)).collect();
    for stream in &streams {
        client::send(stream, &mut Pattern::new(1), 10).expect("sent");
    }
    let socket = gateway.admin_socket();
    let mode = std::fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let said = tell(&gateway, &["drain"]);
    assert!(said.starts_with("draining, "), "{said}");
    let mut answer = get(status, "/readyz");
    wait_until("the drain's beginning", || {
        answer = get(status, "/readyz");
        answer.status != 200
    });
    assert_eq!((answer.status, answer.body.as_str()), (503, "draining\n"));
    drop(streams);
    gateway.stop_has_begun();
    assert_eq!(server.outcomes(CONNECTIONS), [10; CONNECTIONS]);
    assert!(!socket.exists(), "the socket's file goes with the gateway");
}

#[test]
fn who_is_in_no_allowed_network_gets_403() {
    let config = OWN_ECHO.replace("[status]", "[status]\nallow = [\"10.0.0.0/8\"]");
    let gateway = Gateway::start(&config);
    let answer = get(gateway.status(), "/healthz");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("status.allow"), "{}", answer.body);
    gateway.stop();
}

#[test]
fn garbage_gets_an_error_and_costs_nobody_anything() {
    let gateway = Gateway::start(OWN_ECHO);
    let status = gateway.status();
    let long_head = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 1 << 20]].concat();
    let large_body = b"POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    let garbage: [&[u8]; 5] =
        [b"\0\xff\xfe\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n", &long_head, large_body];
    for bytes in garbage {
        let answer = say(status, bytes);
        assert!(matches!(answer.status, 0 | 400..=499), "{:?}: {}", bytes.first(), answer.head);
    }
    echoes(gateway.address("edge"));
    assert_eq!(get(status, "/healthz").status, 200);
    gateway.stop();
}

#[test]
fn more_silent_clients_than_places_leave_the_gateway_as_it_was() {
    const SILENT: usize = 200;
    // One is accepted before another leaves for it, and a worker may look something up.
    const HELD: usize = Status::CONNECTIONS + 2;
    let gateway = Gateway::start(OWN_ECHO);
    let status = gateway.status();
    let before = descriptors(gateway.pid());
    let silent: Vec<TcpStream> = (0..SILENT)
        .map(|index| {
            let mut stream = TcpStream::connect(status).expect("connects");
            // Half of them begin a request and never end it.
            if index % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        echoes(gateway.address("edge"));
        let held = descriptors(gateway.pid()).saturating_sub(before);
        assert!(held <= HELD, "{held} files for {SILENT} clients");
    }
    // They leave in turn, and others are answered.
    assert_eq!(get(status, "/healthz").status, 200);
    drop(silent);
    gateway.stop();
}

#[test]
fn a_taken_address_that_was_chosen_is_an_error_that_names_the_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has one");
    let config = OWN_ECHO
        .replace("[status]\nbind = \"127.0.0.1:0\"", &format!("[status]\nbind = \"{address}\""));
    let (status, lines) = Gateway::launch(Some(&config), None).ended_by_itself();
    assert_eq!(status.code(), Some(1));
    let named = |line: &String| line.contains(&format!("status.bind = \"{address}\": "));
    assert!(lines.iter().any(named), "{lines:?}");
}

#[test]
fn commands_say_where_they_looked_and_which_gateways_they_found() {
    let first = Gateway::start(OWN_ECHO);
    let second = Gateway::launch_in(first.home(), program(None), Some(OWN_ECHO));
    second.wait_for_line(" ready ");
    let directory = first.admin_socket().parent().expect("a directory").to_owned();
    let ask = |directory: &std::path::Path| {
        let program = env!("CARGO_BIN_EXE_portcullis");
        let output = Command::new(program)
            .arg("drain")
            .env("RUNTIME_DIRECTORY", directory)
            .output()
            .expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = ask(&directory);
    assert_eq!(code, Some(2), "the command line must say which: {words}");
    for gateway in [&first, &second] {
        assert!(
            words.contains(&format!("--admin {}", gateway.admin_socket().display())),
            "{words}"
        );
    }
    first.stop();
    second.stop();
    let (code, words) = ask(&directory);
    assert!(code == Some(1) && words.contains(&directory.display().to_string()), "{words}");
}
