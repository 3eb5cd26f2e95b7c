//! How accepts are armed, over a ring that only accepts.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::*;
use crate::base::{Id, ListenerId, RouteId};
use crate::config::{Access, Preamble, Sniffing, SocketOptions};
use crate::ring::AcceptMode;
use crate::topology::{self, Shared};

/// A ring that only accepts: it notes what was armed and says what waits.
#[derive(Default)]
struct FakeRing {
    room: u32,
    /// By listener: clients in its queue, accepts armed.
    queues: [u32; 2],
    armed: [u32; 2],
    /// Accepts whose cancel the worker has not heard of yet, by listener.
    ending: [u32; 2],
    /// Watches that the worker has not heard of yet, by listener.
    watched: [bool; 2],
    removed: Vec<GateId>,
    /// How often a queue was polled.
    polls: std::cell::Cell<u32>,
}

impl Accepts for FakeRing {
    fn slots(&self) -> u32 {
        self.room
    }
    fn accept_room(&self) -> u32 {
        self.room
    }
    fn best_accept_room(&self) -> u32 {
        self.room
    }
    fn accept_burst(&self) -> u32 {
        1000
    }
    fn retarget_accepts(&mut self) {
        assert_eq!(self.armed, [0, 0], "accepts are armed");
    }
    fn accept(&mut self, listener: GateId, mode: AcceptMode) {
        assert_eq!(mode, AcceptMode::Single, "no room for a burst");
        self.armed[usize::from(listener.0)] += 1;
    }
    fn cancel_accepts(&mut self, listener: GateId) {
        let listener = usize::from(listener.0);
        self.ending[listener] += std::mem::take(&mut self.armed[listener]);
    }
    fn accept_queue(&self, listener: GateId) -> Result<u32, Errno> {
        self.polls.set(self.polls.get() + 1);
        Ok(self.queues[usize::from(listener.0)])
    }
    fn add_gate(&mut self, _: GateId) {}
    fn remove_gate(&mut self, gate: GateId) {
        assert_eq!(self.armed[usize::from(gate.0)], 0, "an accept is armed on {gate:?}");
        self.removed.push(gate);
    }
    fn watch_queue(&mut self, listener: GateId) {
        let twice = std::mem::replace(&mut self.watched[usize::from(listener.0)], true);
        assert!(!twice, "{listener:?} is watched twice");
    }
}

/// A topology of a listener with one gate for each owner.
fn gates(owners: &[u16], quota: Option<&Arc<Budget>>, at_limit: AtLimit) -> Topology {
    let mut topology = Topology::default();
    for (nth, owner) in owners.iter().enumerate() {
        let (gate, listener) = (GateId::at(nth), ListenerId::at(nth));
        let what = topology::Listener {
            name: format!("listener-{nth}"),
            route: RouteId::at(nth),
            at_limit,
            evict_idle_after: Duration::from_secs(60),
            max_connections: quota.map(|quota| quota.limit()),
            quota: quota.filter(|_| nth == 0).map(|quota| quota.clone().into()),
            named: Vec::new(),
            sniffing: Sniffing::default(),
            preamble: Preamble::default(),
            tls: None,
            tickets: None,
            access: Access::default(),
            per_source: None,
            keeper: None,
            sockets: SocketOptions::default(),
            still: Shared::default(),
        };
        topology.listeners.insert(listener, Arc::new(what));
        let (owner, address) = (WorkerId(*owner), SocketAddr::from(([127, 0, 0, 1], 7000)));
        let what = topology::Gate {
            listener,
            owner,
            address,
            inherited: false,
            queue_of: owner,
            waiting: Shared::default(),
        };
        topology.gates.insert(gate, Arc::new(what));
    }
    topology
}

fn worker(budget: &Arc<Budget>, topology: &Topology) -> Admission {
    let counters = Arc::new(WorkerCounters::default());
    Admission::new(budget.clone(), counters, WorkerId(0), topology)
}

/// Worker 0 of two, with its own gate and the other's.
fn worker_zero(budget: &Arc<Budget>) -> Admission {
    worker(budget, &gates(&[0, 1], None, AtLimit::Queue))
}

/// Turns until nothing is being cancelled any more.
fn settle(admission: &mut Admission, ring: &mut FakeRing, now: Millis) {
    for _ in 0..10 {
        admission.arm(ring, now);
        let ending = std::mem::take(&mut ring.ending);
        if ending == [0, 0] {
            return;
        }
        for (listener, count) in (0..).zip(ending) {
            (0..count).for_each(|_| admission.ended(GateId(listener), Errno::ECANCELED, now));
        }
    }
    panic!("it goes on cancelling");
}

/// Clients come to a queue, of which a watch tells.
fn come(admission: &mut Admission, ring: &mut FakeRing, listener: u16, clients: u32) {
    ring.queues[usize::from(listener)] = clients;
    if std::mem::take(&mut ring.watched[usize::from(listener)]) {
        admission.queue_ready(GateId(listener));
    }
}

#[test]
fn clients_of_a_worker_without_a_slot_are_taken_by_one_that_has_room() {
    let budget = Arc::new(Budget::new(200, 2));
    let mut ring = FakeRing { room: 100, queues: [0, 30], ..FakeRing::default() };
    let mut admission = worker_zero(&budget);
    settle(&mut admission, &mut ring, Millis(0));
    assert!(ring.armed[0] > 0, "credits lie ready on its own gate");
    assert_eq!(ring.armed[1], 0, "the other worker serves its own");

    budget.set_full(1, true);
    settle(&mut admission, &mut ring, Millis(1_000));
    assert_eq!(ring.armed[1], 30, "one credit for each client that waits there");
    assert!(ring.armed.iter().sum::<u32>() <= ring.room, "{:?} armed", ring.armed);

    let served = (0..30).map(|_| admission.accepted(GateId(1), false));
    assert!(served.into_iter().all(|verdict| verdict == Verdict::Serve));
    (ring.armed[1], ring.queues[1], ring.room) = (0, 0, 70);
    budget.set_full(1, false);
    ring.queues[1] = 5;
    settle(&mut admission, &mut ring, Millis(2_000));
    assert_eq!(ring.armed[1], 0, "it has a slot again and serves its own");
}

#[test]
fn credits_lie_ready_by_a_quota_with_plenty_and_none_by_one_that_is_scarce() {
    let budget = Arc::new(Budget::new(1_000, 2));
    let quota = Arc::new(Budget::new(100, 0));
    let mut ring = FakeRing { room: 500, ..FakeRing::default() };
    let mut admission = worker(&budget, &gates(&[0, 1], Some(&quota), AtLimit::Queue));
    settle(&mut admission, &mut ring, Millis(0));
    let ready = ring.armed[0];
    assert!((1..=50).contains(&ready), "{ready} of 100 permits lie with one of two workers");
    assert_eq!(quota.leased(), ready);
    assert_eq!(admission.wake_at(), None, "no queue is to be polled");

    // Others hold nearly all of it: what lies idle goes back, and few lie ready.
    let mut others = quota.lease(quota.free() - 2);
    settle(&mut admission, &mut ring, Millis(1_000));
    settle(&mut admission, &mut ring, Millis(1_020));
    let few = ring.armed[0];
    assert!(few < ready, "{few} lie ready of {ready}");
    assert_eq!(few + quota.free(), ready + 2);
    // They hold all of it: none lies ready, and clients are found by polling.
    others += quota.lease(quota.free());
    settle(&mut admission, &mut ring, Millis(1_040));
    settle(&mut admission, &mut ring, Millis(1_060));
    assert_eq!((ring.armed[0], quota.free()), (0, few));
    come(&mut admission, &mut ring, 0, few + 5);
    settle(&mut admission, &mut ring, Millis(1_080));
    assert_eq!((ring.armed[0], quota.free()), (few, 0), "a credit for each permit that is left");
    assert!(admission.wake_at().is_some());

    quota.give_back(others);
    ring.queues[0] = 0;
    settle(&mut admission, &mut ring, Millis(1_100));
    assert!(ring.armed[0] >= 4, "{} lie ready again", ring.armed[0]);
}

#[test]
fn a_worker_says_when_it_has_no_slot_and_when_it_has_one_again() {
    let budget = Arc::new(Budget::new(200, 2));
    let mut ring = FakeRing { room: 0, ..FakeRing::default() };
    let mut admission = worker_zero(&budget);
    admission.arm(&mut ring, Millis(0));
    assert!(budget.is_full(0));
    ring.room = 1;
    admission.arm(&mut ring, Millis(1_000));
    assert!(!budget.is_full(0));
}

fn pause(admission: &mut Admission, ring: &mut FakeRing) {
    for listener in [0, 1] {
        admission.pause(ring, ListenerId(listener));
    }
}

#[test]
fn a_paused_gate_has_no_accept_until_it_is_resumed_and_its_permits_go_back() {
    let budget = Arc::new(Budget::new(200, 2));
    let mut ring = FakeRing { room: 100, queues: [5, 30], ..FakeRing::default() };
    let mut admission = worker_zero(&budget);
    let still: Vec<_> = admission.gates.iter().map(|gate| gate.listener.still.arc()).collect();
    let still = || still.iter().map(|still| still.load(Ordering::SeqCst)).collect::<Vec<_>>();
    budget.set_full(1, true);
    settle(&mut admission, &mut ring, Millis(0));
    settle(&mut admission, &mut ring, Millis(1_000));
    assert_eq!(ring.armed, [5, 30], "a credit for each client, the full worker's among them");

    pause(&mut admission, &mut ring);
    assert_eq!((ring.armed, still()), ([0, 0], vec![0, 0]), "cancels are on their way");
    ring.ending[0] -= 1;
    assert_eq!(admission.accepted(GateId(0), false), Verdict::Serve, "it came before");
    for now in [1_000, 2_000, 60_000] {
        settle(&mut admission, &mut ring, Millis(now));
        assert_eq!((ring.armed, still()), ([0, 0], vec![1, 1]));
        assert_eq!(budget.free(), 199, "only the client's permit is taken");
    }
    pause(&mut admission, &mut ring);
    settle(&mut admission, &mut ring, Millis(60_000));
    assert_eq!(still(), [1, 1], "twice is once");

    admission.resume(ListenerId(0));
    admission.resume(ListenerId(1));
    assert_eq!(still(), [0, 0]);
    settle(&mut admission, &mut ring, Millis(60_000));
    assert_eq!(ring.armed[1], 30, "at once");
    assert!(ring.armed[0] > 0, "at once");
}

/// The worker in ten seconds in which nothing completes: how often it wakes, and polls a queue.
fn idle(admission: &mut Admission, ring: &mut FakeRing, from: Millis) -> (u32, u32) {
    let (mut now, mut wakes, before) = (from, 0, ring.polls.get());
    while now < from.after(Duration::from_secs(10)) {
        let wake = admission.wake_at().expect("permits are scarce");
        now = wake.max(now.after(Duration::from_millis(1)));
        admission.arm(ring, now);
        wakes += 1;
        assert!(wakes < 10_000, "it spins");
    }
    (wakes, ring.polls.get() - before)
}

#[test]
fn an_empty_queue_is_not_polled_before_a_client_comes() {
    let budget = Arc::new(Budget::new(1, 1));
    let mut ring = FakeRing { room: 100, ..FakeRing::default() };
    let mut admission = worker(&budget, &gates(&[0, 0], None, AtLimit::Queue));
    // Two gates and one permit.
    settle(&mut admission, &mut ring, Millis(0));
    assert_eq!((admission.mode, ring.watched), (Mode::Scarce, [true, true]));
    let (wakes, polls) = idle(&mut admission, &mut ring, Millis(10));
    assert!(wakes <= 11 && polls == 0, "woken {wakes} times, {polls} polls");

    come(&mut admission, &mut ring, 1, 1);
    admission.arm(&mut ring, Millis(20_000));
    assert_eq!(ring.armed, [0, 1], "at once");
    (ring.queues[1], ring.armed[1]) = (0, 0);
    assert_eq!(admission.accepted(GateId(1), false), Verdict::Serve);
    admission.arm(&mut ring, Millis(20_010));
    assert!(ring.watched[1], "the next one is reported too");

    // The one that cannot be served keeps its queue polled, and is not reported over and over.
    come(&mut admission, &mut ring, 0, 1);
    let (wakes, polls) = idle(&mut admission, &mut ring, Millis(30_000));
    assert!(polls <= wakes && (10..=120).contains(&wakes), "{wakes} times, {polls} polls");
    assert!(!ring.watched[0]);
    let listener = admission.gates[1].listener.clone();
    admission.left(&listener);
    settle(&mut admission, &mut ring, Millis(50_000));
    assert_eq!(ring.armed, [1, 0]);
}

#[test]
fn a_client_that_is_refused_uses_up_no_quota() {
    let budget = Arc::new(Budget::new(1, 1));
    let quota = Arc::new(Budget::new(1, 1));
    let mut admission = worker(&budget, &gates(&[0], Some(&quota), AtLimit::Reset));
    let mut ring = FakeRing { room: 10, queues: [1, 0], ..FakeRing::default() };
    settle(&mut admission, &mut ring, Millis(0));
    assert_eq!(ring.armed, [1, 0]);
    // Its permit goes to somebody else before it is accepted.
    admission.budget.give_back(std::mem::take(&mut admission.permits));
    assert_eq!(budget.lease(1), 1);
    let verdict = admission.accepted(GateId(0), false);
    assert_eq!(verdict, Verdict::Refuse(Refusal::GatewayLimit));
    assert_eq!((quota.free(), admission.gates[0].quota_permits), (1, 0));
}

#[test]
fn a_gate_that_the_topology_no_longer_has_goes_once_its_last_accept_is_over() {
    let budget = Arc::new(Budget::new(200, 1));
    let both = gates(&[0, 0], None, AtLimit::Queue);
    let mut one = both.clone();
    one.gates.remove(GateId(1));
    let mut ring = FakeRing { room: 100, ..FakeRing::default() };
    let mut admission = worker(&budget, &both);
    settle(&mut admission, &mut ring, Millis(0));
    assert!(ring.armed.iter().all(|armed| *armed > 0), "credits lie ready on both");

    admission.adopt(&mut ring, &one);
    assert!(ring.removed.is_empty(), "its cancels are on their way");
    ring.ending[1] -= 1;
    assert_eq!(admission.accepted(GateId(1), false), Verdict::Serve, "it came before");
    settle(&mut admission, &mut ring, Millis(1_000));
    assert_eq!(ring.removed, [GateId(1)]);
    assert!(ring.armed[0] > 0 && ring.armed[1] == 0, "{:?} armed", ring.armed);

    // The ring has let go of it, and the same id means another socket.
    admission.gate_removed(GateId(1));
    admission.adopt(&mut ring, &both);
    settle(&mut admission, &mut ring, Millis(2_000));
    assert!(ring.armed.iter().all(|armed| *armed > 0), "{:?} armed", ring.armed);
    assert_eq!(ring.removed, [GateId(1)]);
}

#[test]
fn accepts_stay_armed_beside_a_gate_that_comes_or_goes() {
    let budget = Arc::new(Budget::new(800, 1));
    let quota = Arc::new(Budget::new(400, 1));
    let both = gates(&[0, 0], Some(&quota), AtLimit::Queue);
    let mut one = both.clone();
    one.gates.remove(GateId(1));
    let mut ring = FakeRing { room: 1000, ..FakeRing::default() };
    let mut admission = worker(&budget, &one);
    settle(&mut admission, &mut ring, Millis(0));
    let armed = ring.armed[0];
    assert!(armed > 0);
    for (round, (topology, at_other)) in
        [(&both, true), (&one, false), (&both, true)].into_iter().enumerate()
    {
        admission.adopt(&mut ring, topology);
        assert_eq!((ring.armed[0], ring.ending[0]), (armed, 0), "round {round}");
        settle(&mut admission, &mut ring, Millis(1_000 * (1 + round as u64)));
        assert_eq!(ring.armed[1] > 0, at_other, "round {round}");
        admission.gate_removed(GateId(1));
    }
    // What lies ready would be too many.
    quota.set_limit(armed / 2);
    admission.adopt(&mut ring, &both);
    settle(&mut admission, &mut ring, Millis(9_000));
    assert!(quota.leased() <= quota.limit(), "{} leased", quota.leased());
}

#[test]
fn a_held_gate_has_no_accept_and_the_others_go_on() {
    let budget = Arc::new(Budget::new(200, 2));
    let mut ring = FakeRing { room: 100, queues: [5, 30], ..FakeRing::default() };
    let mut admission = worker(&budget, &gates(&[0, 0], None, AtLimit::Queue));
    settle(&mut admission, &mut ring, Millis(0));
    let ready = ring.armed;
    assert!(ready.iter().all(|armed| *armed > 0), "{ready:?}");

    admission.hold(&mut ring, |gate| gate == GateId(1));
    settle(&mut admission, &mut ring, Millis(10));
    settle(&mut admission, &mut ring, Millis(1_100));
    assert!(ring.armed[0] > 0 && ring.armed[1] == 0, "{:?}", ring.armed);

    admission.hold(&mut ring, |_| false);
    settle(&mut admission, &mut ring, Millis(1_200));
    assert!(ring.armed.iter().all(|armed| *armed > 0), "{:?}", ring.armed);
}
