//! The tests' own clients and servers, joined without a gateway: what they report is so.

use std::sync::Arc;

use crate::support::client::{self, Brought, Ending};
use crate::support::crowd::{Marks, crowd};
use crate::support::pattern::Pattern;
use crate::support::procfs::{TcpState, tcp_sockets};
use crate::support::server::{self, Server, finish, read_number, write_number};
use crate::support::socket::{reset, wait_until_reset, wait_until_taken};
use crate::support::unreachable::{BlackHole, Refusing};

#[test]
fn a_pattern_notices_one_wrong_byte() {
    for wrong in 0..40 {
        let mut bytes = [0; 40];
        let mut out = Pattern::new(9);
        out.fill(&mut bytes[..3]);
        out.fill(&mut bytes[3..]);
        bytes[wrong] ^= 1;
        let mut back = Pattern::new(9);
        let first = back.check(&bytes[..11]).and_then(|()| back.check(&bytes[11..]));
        assert_eq!(first, Err(wrong as u64));
    }
}

#[test]
fn patterns_of_two_seeds_differ_at_once() {
    let mut first = [0; 8];
    Pattern::new(1).fill(&mut first);
    assert!((2..2_000).all(|seed| Pattern::new(seed).check(&first).is_err()));
}

#[test]
fn an_ending_is_seen_as_what_it_is() {
    let marks = Arc::new(Marks::default());
    let done = Arc::clone(&marks);
    let server = Server::start_narrow(move |stream| {
        let number = read_number(&stream);
        client::send(&stream, &mut Pattern::new(number), 1_000).expect("sent");
        wait_until_taken(&stream);
        if number.is_multiple_of(2) {
            finish(&stream)
        } else {
            reset(stream)
        }
        done.set(number);
    });
    crowd(20, 5, |index| {
        let stream = client::connect_narrow(server.address);
        write_number(&stream, index as u64);
        marks.wait(index as u64);
        let brought = client::receive_all(&stream, &mut Pattern::new(index as u64));
        let ending = if index.is_multiple_of(2) { Ending::Fin } else { Ending::Reset };
        assert_eq!(brought, Brought { bytes: 1_000, ending });
    });
}

#[test]
fn a_reset_after_a_fin_is_seen() {
    let server = Server::start(|stream| {
        assert_eq!(client::ending(&stream), Ending::Fin);
        write_number(&stream, 0);
        wait_until_reset(&stream);
    });
    let stream = client::connect(server.address);
    finish(&stream);
    read_number(&stream);
    reset(stream);
    server.outcomes(1);
}

#[test]
fn nobody_answers_where_nobody_should() {
    use std::net::TcpStream;
    use std::time::Duration;
    let refusing = Refusing::new();
    let refused = TcpStream::connect(refusing.address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let hole = BlackHole::new();
    let timeout = Duration::from_millis(300);
    let silent = TcpStream::connect_timeout(&hole.address, timeout).unwrap_err();
    assert_eq!(silent.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn the_kernels_table_shows_both_kinds_of_socket() {
    let server = server::echo();
    let stream = client::connect(server.address);
    client::echo(&stream, 3, 10);
    let peer = stream.local_addr().expect("a connected socket has an address");
    let sockets = tcp_sockets();
    let of_server = sockets.iter().filter(|socket| socket.local == server.address);
    let states: Vec<_> = of_server.map(|socket| (socket.state, socket.remote.port())).collect();
    assert!(states.contains(&(TcpState::Listen, 0)), "{states:?}");
    assert!(states.contains(&(TcpState::Established, peer.port())), "{states:?}");
}
