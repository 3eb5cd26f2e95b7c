//! A server's connections stay within its bound, in every order of the workers' steps, by loom.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::SeqCst};
use loom::thread;

use crate::modelled::every_order;
use crate::server::Connections;

/// A worker that opens two connections, if it may, and closes them.
fn worker(connections: &Arc<Connections>, held: &Arc<AtomicU32>) -> impl FnOnce() + use<> {
    let (connections, held) = (connections.clone(), held.clone());
    move || {
        let entered = (0..2).filter(|_| connections.enter()).count() as u32;
        let now = held.fetch_add(entered, SeqCst) + entered;
        assert!(now <= 3, "{now} connections, and 3 may be");
        held.fetch_sub(entered, SeqCst);
        (0..entered).for_each(|_| connections.leave());
    }
}

#[test]
fn two_workers_never_open_more_than_the_bound() {
    every_order(|| {
        let connections = Arc::new(Connections::new(Some(3)));
        let held = Arc::new(AtomicU32::new(0));
        let other = thread::spawn(worker(&connections, &held));
        worker(&connections, &held)();
        other.join().expect("no assertion failed");
        assert_eq!((connections.open(), connections.is_full()), (0, false));
    });
}
