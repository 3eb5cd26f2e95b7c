//! FIN, RST, hang-ups and cancels look as the contract says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

use nix::libc::{POLLHUP, POLLIN, POLLRDHUP};
use nix::sys::socket::{setsockopt, sockopt};
use portcullis::base::{Errno, InFlight, Side, Source};
use portcullis::ring::{Accepts, Buffers, Completion, Operation, ServerId};

use crate::harness::Rig;

pub(crate) fn reset_by(stream: TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.as_fd(), sockopt::Linger, &linger).expect("an option");
}

fn bits(result: Result<u32, Errno>) -> i32 {
    result.expect("poll bits") as i32
}

#[test]
fn a_reset_reaches_the_peer_of_an_accepted_and_of_an_opened_socket() {
    let mut rig = Rig::v4(2);
    let (mut client, conn) = rig.client();
    let mut server = rig.upstream(conn, 0);
    for (side, peer) in [(Side::Client, &mut client), (Side::Upstream, &mut server)] {
        let receive = rig.start(conn, side, Operation::Receive);
        assert_eq!(rig.run(conn, side, Operation::Reset), Ok(0));
        let ended = rig.done(receive);
        assert!(matches!(ended.result, Err(Errno::ECONNRESET) | Ok(0)), "{ended:?}");
        assert_eq!(ended.buffer, None);
        let error = peer.read(&mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(rig.run(conn, side, Operation::Close), Ok(0));
    }
    assert_eq!(rig.ring.free_buffers(), rig.ring.pool_buffers());
}

#[test]
fn many_fins_at_once_all_arrive() {
    const CLIENTS: u32 = 300;
    let mut rig = Rig::v4(CLIENTS);
    let clients: Vec<_> = (0..CLIENTS).map(|_| rig.client()).collect();
    let tokens: Vec<_> = clients
        .iter()
        .map(|(_, conn)| rig.start(*conn, Side::Client, Operation::Shutdown))
        .collect();
    for token in tokens {
        assert_eq!(rig.done(token).result, Ok(0));
    }
    for (mut client, _) in clients {
        assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
    }
}

#[test]
fn a_watch_tells_a_fin_from_a_reset() {
    let mut rig = Rig::v4(1);
    let (client, conn) = rig.client();
    let watch = rig.start(conn, Side::Client, Operation::WatchHangup);
    client.shutdown(Shutdown::Write).expect("a FIN");
    let fin = rig.done(watch);
    assert!(fin.more, "{fin:?}");
    assert_eq!(bits(fin.result) & (i32::from(POLLRDHUP | POLLHUP)), i32::from(POLLRDHUP));
    reset_by(client);
    let reset = rig.done(watch);
    assert_ne!(bits(reset.result) & i32::from(POLLHUP), 0, "{reset:?}");
}

#[test]
fn a_client_that_has_gone_is_known_before_its_server_is_connected_to() {
    let mut rig = Rig::v4(1);
    let (client, conn) = rig.client();
    reset_by(client);
    let wait = rig.start(conn, Side::Client, Operation::WaitReadable);
    let open = Operation::Open(ServerId(0), Source::default());
    let open = rig.start(conn, Side::Upstream, open);
    rig.turn(std::time::Duration::ZERO);
    let told = rig.unseen().into_iter().map(|completion| match completion {
        Completion::Done(done) => done.token,
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), [wait, open]);
}

#[test]
fn a_readable_wait_tells_of_data_and_of_the_end() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = rig.client();
    let wait = rig.start(conn, Side::Client, Operation::WaitReadable);
    client.write_all(b"x").expect("a write");
    let data = rig.done(wait);
    assert!(!data.more);
    assert_eq!(bits(data.result) & i32::from(POLLIN | POLLRDHUP), i32::from(POLLIN));
    drop(client);
    let wait = rig.start(conn, Side::Client, Operation::WaitReadable);
    let mut end = bits(rig.done(wait).result);
    for _ in 0..100 {
        if end & i32::from(POLLRDHUP) != 0 {
            return;
        }
        end = bits(rig.run(conn, Side::Client, Operation::WaitReadable));
    }
    panic!("no RDHUP in {end:#x}");
}

#[test]
fn a_cancel_ends_everything_on_its_side_and_nothing_else() {
    let mut rig = Rig::v4(2);
    let (_client, conn) = rig.client();
    let _server = rig.upstream(conn, 0);
    let other = rig.start(conn, Side::Upstream, Operation::Receive);
    let receive = rig.start(conn, Side::Client, Operation::Receive);
    let watch = rig.start(conn, Side::Client, Operation::WatchHangup);
    assert_eq!(rig.run(conn, Side::Client, Operation::Cancel(InFlight::WAITING)), Ok(0));
    for token in [receive, watch] {
        let done = rig.done(token);
        assert_eq!((done.result, done.more), (Err(Errno::ECANCELED), false));
    }
    assert_eq!(rig.unseen(), []);
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Cancel(InFlight::WAITING)), Ok(0));
    assert_eq!(rig.done(other).result, Err(Errno::ECANCELED));
}

#[test]
fn a_cancel_with_nothing_to_cancel_completes() {
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    assert_eq!(rig.run(conn, Side::Client, Operation::Cancel(InFlight::WAITING)), Ok(0));
    assert_eq!(rig.unseen(), []);
}

#[test]
fn a_clean_close_sends_a_fin() {
    let mut rig = Rig::v4(1);
    let (mut client, conn) = rig.client();
    assert_eq!(rig.run(conn, Side::Client, Operation::Close), Ok(0));
    assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    assert_eq!(rig.ring.accept_room(), 1);
}
