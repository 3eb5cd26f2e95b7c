//! A worker over a ring in memory: messages through it, and lives of connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use portcullis::base::{Clock, WorkerId};
use portcullis::budget::Budget;
use portcullis::config::{self, AtLimit, Balance, Builtin, SocketOptions, Timeouts, UpstreamKind};
use portcullis::conn::Wiring;
use portcullis::metrics::WorkerCounters;
use portcullis::ring::ConnIndex;
use portcullis::topology::{Asked, GateSpec, Register, Topology};
use portcullis::worker::{Plan, PrefacePlan, QuietPlan, Settings, Worker, mailbox};

use crate::ring::InstantRing;

/// Connections that are busy at one time.
const CROWD: u32 = 100;
const MESSAGE_BYTES: u32 = 64;
/// No message and no life takes as many turns.
const TURNS_MAX: u32 = 100;

pub(crate) fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("worker");
    group.throughput(Throughput::Elements(CROWD.into()));
    for (name, wiring) in [("an echo", Wiring::Echo), ("a pair", Wiring::Pair)] {
        let mut crowd = Crowd::new(wiring);
        crowd.fill();
        group.bench_function(format!("messages there and back through {name}"), |bench| {
            bench.iter(|| crowd.talk());
        });
        let mut crowd = Crowd::new(wiring);
        group.bench_function(format!("lives of {name}, accept to close"), |bench| {
            bench.iter(|| crowd.live());
        });
    }
    group.finish();
}

/// One listener with one gate, and what answers its clients.
fn topology(wiring: Wiring) -> Topology {
    let server = |nth: u16| config::Server {
        name: format!("server-{nth}"),
        address: SocketAddr::from(([127, 0, 0, 1], 9000 + nth)),
        terms: config::Terms::default(),
    };
    let kind = match wiring {
        Wiring::Pair => UpstreamKind::listed((0..4).map(server).collect(), Balance::RoundRobin),
        _ => UpstreamKind::Builtin(Builtin::Echo),
    };
    let upstream = config::Upstream { name: "app".into(), kind, ..config::Upstream::default() };
    let listener = config::Listener {
        name: "edge".into(),
        bind: Vec::new(),
        upstream: 0,
        preamble: config::Preamble::default(),
        sniffing: config::Sniffing::default(),
        access: config::Access::default(),
        tls: None,
        per_source: None,
        sockets: SocketOptions::default(),
        max_connections: None,
        at_limit: AtLimit::Queue,
        evict_idle_after: Duration::from_secs(60),
        timeouts: Timeouts::default(),
    };
    let gate = GateSpec {
        listener: "edge".into(),
        owner: WorkerId(0),
        address: SocketAddr::from(([127, 0, 0, 1], 7000)),
        inherited: false,
        queue_of: WorkerId(0),
    };
    let asked = Asked { listeners: &[listener], upstreams: &[upstream], gates: &[gate], tls: None };
    Register::default().next(&Topology::default(), asked).expect("few of each kind")
}

struct Crowd {
    worker: Worker<InstantRing>,
}

impl Crowd {
    fn new(wiring: Wiring) -> Crowd {
        let topology = Arc::new(topology(wiring));
        let counters = topology.counters(&WorkerCounters::default());
        let plan = Plan {
            worker: WorkerId(0),
            topology,
            settings: Settings {
                logged: false,
                access: None,
                quiet: QuietPlan { after: Duration::from_secs(10), per_turn: 100 },
                batch_wait: Duration::ZERO,
            },
            prefaces: PrefacePlan::default(),
            opens_doors: true,
        };
        // Who gives orders is gone, so none comes.
        let (_, orders) = mailbox();
        let worker = Worker::new(
            InstantRing::new(4 * CROWD, 4 * CROWD),
            Clock::Simulated(Arc::new(AtomicU64::new(0))),
            orders,
            plan,
            Arc::new(Budget::new(4 * CROWD, 1)),
            Arc::new(counters),
        );
        Crowd { worker }
    }

    /// Turns until it is so.
    fn turn_until(&mut self, over: impl Fn(&InstantRing) -> bool) {
        for _ in 0..TURNS_MAX {
            if over(self.worker.ring()) {
                return;
            }
            assert_eq!(self.worker.turn(), Ok(true), "the worker goes on");
        }
        panic!("{TURNS_MAX} turns do not suffice");
    }

    /// Everybody comes, in the lowest slots, and is answered once.
    fn fill(&mut self) {
        (0..CROWD).for_each(|_| self.worker.ring().knock());
        self.talk();
    }

    fn talk(&mut self) {
        let before = self.worker.ring().answered_bytes;
        (0..CROWD).for_each(|conn| self.worker.ring().say(ConnIndex(conn), MESSAGE_BYTES));
        let after = before + u64::from(CROWD * MESSAGE_BYTES);
        self.turn_until(|ring| ring.answered_bytes == after);
    }

    fn live(&mut self) {
        let after = self.worker.ring().closed + u64::from(CROWD);
        for _ in 0..CROWD {
            self.worker.ring().knock();
        }
        (0..CROWD).for_each(|conn| self.worker.ring().leave(ConnIndex(conn)));
        self.turn_until(|ring| ring.closed == after);
    }
}
