//! An accept neither waits nor loses the client that it brings, and a lack of watches is no
//! server's fault.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::libc;
use portcullis::base::{ConnIndex, Errno, GateId, Operation, ServerId, Side, Source};
use portcullis::conn::is_pressure;
use portcullis::metrics::ConnectFailure;
use portcullis::ring::{AcceptMode, Accepts, Completion, RingSetup};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use socket2::SockRef;

use crate::harness::{Rig, V4, passive, setup};

const GATE: GateId = GateId(0);
/// Far longer than a busy machine needs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn no_accept_waits_for_a_client_when_another_process_has_the_socket_wait() {
    const CLIENTS: usize = 300;
    let (listener, address) = passive(V4, 4096);
    let gates = vec![(GATE, listener.clone())];
    let mut rig = Rig::new(RingSetup { gates, ..setup(1_000) }, &[]);
    rig.ring.accept(GATE, AcceptMode::Multishot);
    let over = &AtomicBool::new(false);
    let (says, hears) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                SockRef::from(&*listener).set_nonblocking(false).expect("a flag");
            }
        });
        let clients = scope.spawn(move || {
            let mut streams = Vec::new();
            for _ in 0..CLIENTS {
                streams.push(TcpStream::connect(address).expect("a client"));
                if hears.recv_timeout(PATIENCE).is_err() {
                    // Whoever waits goes on for one more client, and the test ends.
                    over.store(true, Ordering::SeqCst);
                    streams.push(TcpStream::connect(address).expect("a client"));
                    panic!("the ring waits in an accept");
                }
            }
            over.store(true, Ordering::SeqCst);
            streams
        });
        for _ in 0..CLIENTS {
            rig.accepted();
            // A turn that finds nobody.
            rig.turn(Duration::ZERO);
            if says.send(()).is_err() {
                break;
            }
        }
        clients.join().expect("no accept waits");
    });
}

#[test]
fn a_client_who_cannot_be_watched_waits_as_in_the_queue() {
    // The filter is this thread's alone, as the ring is.
    let test = std::thread::spawn(|| {
        let mut rig = Rig::v4(100);
        let mut client = TcpStream::connect(rig.listeners[0]).expect("a client");
        refuse_watches();
        for _ in 0..3 {
            rig.ring.accept(GATE, AcceptMode::Single);
            let error = rig.wait(|completion| match completion {
                Completion::AcceptEnded { error, .. } => Some(*error),
                _ => None,
            });
            assert_eq!((error, rig.ring.accept_queue(GATE)), (Errno::ENOSPC, Ok(1)));
        }
        assert_eq!(rig.ring.accept_room(), 100);
        client.set_nonblocking(true).expect("a flag");
        let read = client.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock), "its connection is as it was");
        client.set_nonblocking(false).expect("a flag");
        drop(rig);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "it ends with the ring");
    });
    test.join().expect("a client is kept");
}

#[test]
fn for_want_of_watches_an_open_fails_and_no_connect() {
    let test = std::thread::spawn(|| {
        let mut rig = Rig::v4(100);
        let conn = ConnIndex(0);
        refuse_watches();
        let opened = rig.run(conn, Side::Upstream, Operation::Open(ServerId(0), Source(0)));
        assert_eq!(opened, Err(Errno::ENOSPC));
        assert!(is_pressure(Errno::ENOSPC), "so that a worker tries again");
        assert_eq!(ConnectFailure::of(Errno::ENOSPC), ConnectFailure::Pressure);
        // Nothing is left of it.
        assert_eq!(rig.run(conn, Side::Upstream, Operation::Close), Err(Errno::EBADF));
    });
    test.join().expect("an open fails");
}

/// As if the user had as many watches as fs.epoll.max_user_watches allows.
fn refuse_watches() {
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_epoll_ctl, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSPC as u32),
        std::env::consts::ARCH.try_into().expect("an architecture that has filters"),
    );
    let filter = BpfProgram::try_from(filter.expect("a filter")).expect("a program");
    seccompiler::apply_filter(&filter).expect("a filter needs no privilege");
}
