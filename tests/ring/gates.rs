//! Gates and servers are added and removed while the ring runs.

use std::fs::read_dir;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{SockaddrStorage, getsockname};
use portcullis::base::{Errno, Side, Source};
use portcullis::ring::{
    AcceptMode, Accepts, Completion, ConnIndex, GateId, Operation, Operations, PassiveSocket, Ring,
    RingSetup, ServerId, ServerSocket,
};

use crate::harness::{Newer, Rig, V4, V6, does, passive, setup};

const GATE: GateId = GateId(0);
const SERVER: ServerId = ServerId(0);
const CONN: ConnIndex = ConnIndex(0);
/// No wait for the kernel lasts longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the only watch of a gate is when the gate is removed.
#[derive(Clone, Copy, Debug)]
enum Watch {
    None,
    /// The kernel has not seen it.
    Queued,
    /// The kernel has it.
    Waits,
    /// It has completed, which the ring has not read.
    Completed,
}

const WATCHES: [Watch; 4] = [Watch::None, Watch::Queued, Watch::Waits, Watch::Completed];

/// A ring whose gate 0 is watched in this way, and the clients in its queue.
fn watched(watch: Watch, table_entries: u32) -> (Rig, Vec<TcpStream>) {
    let mut rig = Rig::new(RingSetup { table_entries, ..setup(40) }, &[V4]);
    let clients = |rig: &Rig| {
        let client = || TcpStream::connect(rig.listeners[0]).expect("a client");
        vec![client(), client()]
    };
    let waiting = match watch {
        Watch::None => clients(&rig),
        Watch::Queued => {
            rig.ring.watch_queue(GATE);
            clients(&rig)
        }
        Watch::Waits => {
            rig.ring.watch_queue(GATE);
            rig.turn(Duration::ZERO);
            Vec::new()
        }
        Watch::Completed => {
            let waiting = clients(&rig);
            rig.ring.watch_queue(GATE);
            rig.ring.turn(Some(Duration::from_millis(20))).expect("a turn");
            waiting
        }
    };
    assert_eq!(rig.unseen(), []);
    (rig, waiting)
}

fn wait_removed(rig: &mut Rig) -> GateId {
    rig.wait(|completion| match completion {
        Completion::GateRemoved { gate } => Some(*gate),
        _ => None,
    })
}

/// Hands a passive socket over, from a thread as the control plane's, and adds it.
fn add_gate(rig: &mut Rig, gate: GateId) -> SocketAddr {
    let (socket, address) = passive(V4, 128);
    let supplier = rig.ring.supplier();
    thread::spawn(move || supplier.gate(gate, socket)).join().expect("it is handed over");
    rig.ring.add_gate(gate);
    address
}

fn add_server(rig: &mut Rig, server: ServerId, source: Option<IpAddr>) -> TcpListener {
    let listener = TcpListener::bind(V4).expect("a server");
    let address = listener.local_addr().expect("its address");
    rig.ring
        .supplier()
        .server(server, ServerSocket { address, sources: source.into_iter().collect() });
    rig.ring.add_server(server);
    listener
}

/// Whether nobody listens there, sooner or later: a socket is closed when the kernel's last
/// request of it is freed.
fn is_deserted(address: SocketAddr) -> bool {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return true,
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
    false
}

/// Our descriptors of sockets that are bound to this address.
fn descriptors(address: SocketAddr) -> usize {
    let entries = read_dir("/proc/self/fd").expect("our descriptors").flatten();
    let fds = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    // Other tests close theirs meanwhile.
    let is_bound = |fd: &RawFd| {
        let name = getsockname::<SockaddrStorage>(*fd).ok();
        name.and_then(|name| Some(SocketAddr::from(*name.as_sockaddr_in()?))) == Some(address)
    };
    fds.filter(is_bound).count()
}

#[test]
fn a_gate_that_is_added_later_brings_clients() {
    let mut rig = Rig::v4(4);
    rig.ring.accept(GATE, AcceptMode::Multishot);
    rig.turn(Duration::ZERO);
    let burst = rig.ring.accept_burst();
    let gate = GateId(700);
    let address = add_gate(&mut rig, gate);
    assert_eq!(rig.ring.accept_burst(), burst + 1);
    rig.ring.accept(gate, AcceptMode::Single);
    let _client = TcpStream::connect(address).expect("a client");
    assert_eq!(rig.accepted().0, gate);
    let _client = TcpStream::connect(rig.listeners[0]).expect("a client");
    assert_eq!(rig.accepted().0, GATE, "the accept armed before goes on");
}

#[test]
fn a_removed_gate_is_told_of_once_and_its_clients_are_reset() {
    for table_entries in [64, 4096] {
        for watch in WATCHES {
            let (mut rig, clients) = watched(watch, table_entries);
            let burst = rig.ring.accept_burst();
            rig.ring.remove_gate(GATE);
            assert_eq!(rig.ring.accept_burst(), burst - 1);
            assert_eq!(wait_removed(&mut rig), GATE);
            rig.turn(Duration::from_millis(20));
            assert_eq!(rig.unseen(), [], "{watch:?}: nothing else is heard of it");
            for mut client in clients {
                client.set_read_timeout(Some(PATIENCE)).expect("an option");
                let end = client.read(&mut [0]).expect_err("no FIN");
                assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{watch:?}");
            }
            assert_eq!(descriptors(rig.listeners[0]), 0, "{watch:?}");
            assert!(is_deserted(rig.listeners[0]), "{watch:?}");
        }
    }
}

#[test]
fn a_gate_with_nothing_in_flight_is_gone_without_a_wait() {
    let mut rig = Rig::v4(1);
    rig.turn(Duration::ZERO);
    rig.ring.remove_gate(GATE);
    let since = Instant::now();
    rig.ring.turn(Some(2 * PATIENCE)).expect("a turn");
    assert!(since.elapsed() < PATIENCE);
    assert_eq!(rig.ring.next(), Some(Completion::GateRemoved { gate: GATE }));
    assert_eq!(rig.ring.next(), None);
}

#[test]
fn an_id_that_is_used_again_means_the_new_socket_alone() {
    for watch in WATCHES {
        let (mut rig, _clients) = watched(watch, 64);
        rig.ring.remove_gate(GATE);
        wait_removed(&mut rig);
        let address = add_gate(&mut rig, GATE);
        rig.ring.watch_queue(GATE);
        rig.turn(Duration::from_millis(20));
        assert_eq!(rig.unseen(), [], "{watch:?}: nobody waits at the new one");
        let client = TcpStream::connect(address).expect("a client");
        let ready = rig.wait(|completion| match completion {
            Completion::QueueReady { gate } => Some(*gate),
            _ => None,
        });
        assert_eq!(ready, GATE);
        rig.ring.accept(GATE, AcceptMode::Single);
        let (gate, conn, more) = rig.accepted();
        assert_eq!((gate, more), (GATE, false));
        if does(Newer::Descriptors) {
            let token = rig.start(conn, Side::Client, Operation::Addresses);
            assert_eq!(rig.done(token).result, Ok(0));
            let found = rig.ring.addresses(token).expect("both addresses");
            assert_eq!(found.peer, client.local_addr().ok());
        }
        assert_eq!(rig.unseen(), []);
    }
}

#[test]
fn a_socket_goes_from_one_gate_to_another() {
    for removed_first in [true, false] {
        let mut rig = Rig::v4(4);
        let (socket, address) = passive(V4, 128);
        for gate in [GateId(1), GateId(2)] {
            rig.ring.supplier().gate(gate, socket.clone());
        }
        rig.ring.add_gate(GateId(1));
        if removed_first {
            rig.ring.remove_gate(GateId(1));
            rig.ring.add_gate(GateId(2));
        } else {
            rig.ring.add_gate(GateId(2));
            rig.ring.remove_gate(GateId(1));
        }
        assert_eq!(wait_removed(&mut rig), GateId(1));
        rig.ring.accept(GateId(2), AcceptMode::Single);
        rig.turn(Duration::ZERO);
        let _client = TcpStream::connect(address).expect("a client");
        assert_eq!(rig.accepted().0, GateId(2));
    }
}

#[test]
fn accepts_of_other_gates_outlive_a_removal() {
    let mut rig = Rig::new(setup(4), &[V4, V4]);
    rig.ring.accept(GateId(1), AcceptMode::Multishot);
    rig.ring.watch_queue(GATE);
    rig.turn(Duration::ZERO);
    rig.ring.remove_gate(GATE);
    wait_removed(&mut rig);
    let _client = TcpStream::connect(rig.listeners[1]).expect("a client");
    let (gate, _, more) = rig.accepted();
    assert_eq!((gate, more), (GateId(1), true));
}

#[test]
fn client_slots_can_be_opened_once_no_gate_is_left() {
    let mut rig = Rig::v4(2);
    rig.ring.remove_gate(GATE);
    assert_eq!(rig.run(CONN, Side::Client, Operation::Open(SERVER, Source::default())), Ok(0));
    assert_eq!(rig.run(CONN, Side::Client, Operation::Connect(SERVER)), Ok(0));
    let address = add_gate(&mut rig, GateId(1));
    assert_eq!(rig.ring.accept_room(), 1);
    rig.ring.accept(GateId(1), AcceptMode::Single);
    let _client = TcpStream::connect(address).expect("a client");
    assert_eq!(rig.accepted().1, ConnIndex(1), "the other slot");
}

#[test]
fn a_server_that_is_added_later_is_connected_to() {
    let mut rig = Rig::v4(2);
    let (_client, conn) = rig.client();
    let id = ServerId(900);
    for _ in 0..2 {
        let server = add_server(&mut rig, id, None);
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Open(id, Source::default())), Ok(0));
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Connect(id)), Ok(0));
        server.accept().expect("the server's end");
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Ok(0));
        rig.ring.remove_server(id);
    }
}

#[test]
fn what_is_queued_names_the_server_that_was_there_then() {
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    let sources = does(Newer::SourceAddresses);
    let source = |last| sources.then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let id = ServerId(1);
    let _first = add_server(&mut rig, id, source(41));
    let open = rig.start(conn, Side::Upstream, Operation::Open(id, Source::default()));
    rig.ring.remove_server(id);
    let second = add_server(&mut rig, id, source(42));
    assert_eq!(rig.done(open).result, Ok(0));
    let connect = rig.start(conn, Side::Upstream, Operation::Connect(id));
    rig.ring.remove_server(id);
    let third = add_server(&mut rig, id, source(43));
    assert_eq!(rig.done(connect).result, Ok(0));
    third.set_nonblocking(true).expect("an option");
    assert_eq!(third.accept().expect_err("nobody").kind(), ErrorKind::WouldBlock);
    let (_, peer) = second.accept().expect("the server's end");
    if sources {
        assert_eq!(Some(peer.ip()), source(41), "the open was the first one's");
    }
}

#[test]
fn a_server_with_a_source_of_another_family_fails_the_open_and_leaves_the_slot_empty() {
    let mut rig = Rig::v4(1);
    for (address, source) in [(V4, V6), (V6, V4)] {
        let server = ServerSocket { address, sources: vec![source.ip()] };
        rig.ring.supplier().server(ServerId(1), server);
        rig.ring.add_server(ServerId(1));
        let opened = rig.run(CONN, Side::Upstream, Operation::Open(ServerId(1), Source::default()));
        assert!(matches!(opened, Err(Errno::EAFNOSUPPORT | Errno::EINVAL)), "{opened:?}");
        assert_eq!(rig.run(CONN, Side::Upstream, Operation::Close), Err(Errno::EBADF));
        rig.ring.remove_server(ServerId(1));
    }
}

#[test]
fn a_ring_that_ends_during_a_removal_leaves_no_socket_open() {
    for watch in WATCHES {
        for turned in [false, true] {
            let (mut rig, _clients) = watched(watch, 64);
            let (unclaimed, unclaimed_address) = passive(V4, 1);
            let sockets: [(PassiveSocket, SocketAddr); 2] = [passive(V4, 1), passive(V4, 1)];
            let addresses = sockets.each_ref().map(|(_, address)| *address);
            let supplier = rig.ring.supplier();
            for (index, (socket, _)) in (1..).zip(sockets) {
                supplier.gate(GateId(index), socket);
                rig.ring.add_gate(GateId(index));
            }
            supplier.gate(GateId(9), unclaimed.clone());
            rig.ring.watch_queue(GateId(1));
            rig.ring.remove_gate(GATE);
            rig.ring.remove_gate(GateId(1));
            if turned {
                rig.ring.turn(Some(Duration::ZERO)).expect("a turn");
            }
            let first = rig.listeners[0];
            drop(rig);
            supplier.gate(GateId(10), unclaimed.clone());
            assert_eq!(Arc::strong_count(&unclaimed), 1, "{watch:?}");
            drop(unclaimed);
            for address in [first, addresses[0], addresses[1], unclaimed_address] {
                assert_eq!(descriptors(address), 0, "{watch:?}");
                assert!(is_deserted(address), "{watch:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "an accept of GateId(0) is armed")]
fn a_gate_with_an_accept_armed_cannot_be_removed() {
    let mut rig = Rig::v4(1);
    rig.ring.accept(GATE, AcceptMode::Single);
    rig.ring.remove_gate(GATE);
}

#[test]
#[should_panic(expected = "GateId(0) is not gone yet")]
fn an_id_whose_watch_has_not_ended_cannot_be_used_again() {
    let (mut rig, _) = watched(Watch::Waits, 64);
    rig.ring.remove_gate(GATE);
    add_gate(&mut rig, GATE);
}

#[test]
#[should_panic(expected = "GateId(0) is not gone yet")]
fn an_id_whose_removal_was_not_told_cannot_be_used_again() {
    let mut rig = Rig::v4(1);
    rig.ring.remove_gate(GATE);
    add_gate(&mut rig, GATE);
}

#[test]
#[should_panic(expected = "GateId(0) is in use")]
fn a_gate_cannot_be_added_twice() {
    add_gate(&mut Rig::v4(1), GATE);
}

#[test]
fn a_server_that_is_added_again_is_replaced() {
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    let first = add_server(&mut rig, SERVER, None);
    first.set_nonblocking(true).expect("an option");
    let second = add_server(&mut rig, SERVER, None);
    let open = Operation::Open(SERVER, Source::default());
    assert_eq!(rig.run(conn, Side::Upstream, open), Ok(0));
    assert_eq!(rig.run(conn, Side::Upstream, Operation::Connect(SERVER)), Ok(0));
    second.accept().expect("the server's end");
    assert_eq!(first.accept().expect_err("nobody").kind(), ErrorKind::WouldBlock);
}

#[test]
fn sockets_of_a_server_with_two_sources_come_from_the_one_that_is_asked_for() {
    if !does(Newer::SourceAddresses) {
        return;
    }
    let mut rig = Rig::v4(1);
    let (_client, conn) = rig.client();
    let listener = TcpListener::bind(V4).expect("a server");
    let address = listener.local_addr().expect("its address");
    let sources: Vec<IpAddr> = [41, 42].map(|last| [127, 0, 0, last].into()).to_vec();
    rig.ring.supplier().server(ServerId(1), ServerSocket { address, sources: sources.clone() });
    rig.ring.add_server(ServerId(1));
    for number in 0..3 {
        let open = Operation::Open(ServerId(1), Source(number));
        assert_eq!(rig.run(conn, Side::Upstream, open), Ok(0));
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Connect(ServerId(1))), Ok(0));
        let (_, peer) = listener.accept().expect("the server's end");
        assert_eq!(peer.ip(), sources[usize::from(number) % 2]);
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Ok(0));
    }
}

#[test]
#[should_panic(expected = "nothing was handed over under GateId(1)")]
fn a_gate_that_nobody_handed_over_cannot_be_added() {
    Rig::v4(1).ring.add_gate(GateId(1));
}

#[test]
#[should_panic(expected = "there is no ServerId(1)")]
fn a_server_that_is_not_there_cannot_be_removed() {
    Rig::v4(1).ring.remove_server(ServerId(1));
}
