//! Connections beyond one table are divided among several kernel rings.

use std::collections::HashSet;
use std::net::TcpStream;

use portcullis::base::Errno;
use portcullis::ring::{AcceptMode, Accepts, Completion, GateId, Ring, RingSetup};

use crate::accept::{clients, small_tables};
use crate::harness::{Rig, V4, setup};
use crate::moves::{adopt, pair};

const LISTENER: GateId = GateId(0);

#[test]
fn several_small_tables_are_filled_one_after_the_other() {
    let mut rig = Rig::new(small_tables(), &[V4]);
    assert_eq!((rig.ring.counters().rings, rig.ring.slots()), (4, 100));
    let _streams = clients(&rig, 110);
    let mut slots = HashSet::new();
    for _ in 0..4 {
        rig.ring.retarget_accepts();
        let room = rig.ring.accept_room();
        assert_eq!(room, 25);
        for _ in 0..room {
            rig.ring.accept(LISTENER, AcceptMode::Single);
        }
        for _ in 0..room {
            slots.insert(rig.accepted().1);
        }
        assert_eq!(rig.ring.accept_room(), 0);
    }
    assert_eq!(slots.len(), 100);
    assert!(slots.iter().all(|conn| conn.0 < 100));
    assert_eq!(rig.ring.accept_queue(LISTENER), Ok(10));
}

#[test]
fn a_multishot_moves_from_ring_to_ring() {
    let mut rig = Rig::new(small_tables(), &[V4]);
    let mut slots = HashSet::new();
    let mut streams = Vec::new();
    for _ in 0..4 {
        rig.ring.retarget_accepts();
        rig.ring.accept(LISTENER, AcceptMode::Multishot);
        for _ in 0..20 {
            streams.extend(clients(&rig, 1));
            slots.insert(rig.accepted().1.0 / 25);
        }
        rig.ring.cancel_accepts(LISTENER);
        let error = rig.wait(|completion| match completion {
            Completion::AcceptEnded { error, .. } => Some(*error),
            _ => None,
        });
        assert_eq!((error, rig.ring.accept_room()), (Errno::ECANCELED, 5));
    }
    assert_eq!(slots.len(), 4, "twenty clients on each of the rings");
}

#[test]
fn while_an_accept_goes_on_clients_are_adopted_by_another_kernel_ring() {
    let mut rig = Rig::new(RingSetup { table_entries: 4, ..setup(4) }, &[V4]);
    rig.ring.accept(GateId(0), AcceptMode::Multishot);
    let (peers, sockets): (Vec<_>, Vec<_>) = (0..3).map(|_| pair()).unzip();
    let results: Vec<_> = sockets.into_iter().map(|one| adopt(&mut rig, one)).collect();
    assert!(matches!(results[..], [Ok(_), Ok(_), Err(Errno::ENFILE)]), "{results:?}");
    assert_eq!(rig.ring.accept_room(), 2);
    let clients = [(); 2].map(|()| rig.listeners[0]).map(TcpStream::connect);
    let slots = clients.each_ref().map(|_| rig.accepted().1);
    assert!(slots.iter().all(|slot| !results.contains(&Ok(*slot))), "{slots:?} {results:?}");
    drop(peers);
}
