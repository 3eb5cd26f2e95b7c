//! The gateway's behaviour when one of its own parts breaks or goes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::*;
use crate::base::WorkerId;
use crate::config::{AccessLog, AccessPath, ConfigSource, Place, SocketOptions};
use crate::control::Sets;
use crate::doctor::Shape;
use crate::listener::listen_on;
use crate::query::Query;
use crate::tls::Loaded;
use crate::topology::GateSpec;
use crate::worker::{Order, Purpose, Reply, Row, Task};

fn host() -> Host {
    let shape = Shape {
        workers: 1,
        rings_per_worker: 1,
        table_entries: 64,
        slots_per_worker: 8,
        pipes_per_worker: 0,
        descriptors_per_worker: 1,
    };
    let facts = diagnose(&Config::embedded(), None).facts;
    Host { shape, cores: None, max_connections: 8, bound_by: "memory", facts }
}

/// A worker whose topology names a server that its ring does not have: it panics at the first
/// client.
fn broken_parts(address: &mut SocketAddr) -> WorkerParts {
    let text = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
                [upstream.app]\nservers = [\"127.0.0.1:1\"]\n";
    let config = Config::parse(text, "test.toml", &|_| None).expect("a config");
    let any = "127.0.0.1:0".parse().expect("an address");
    let bound = listen_on(any, 1, &SocketOptions::with_backlog(16)).expect("a free port");
    *address = bound.address;
    let held = [Held::new("edge", any, bound, None)];
    let Assembled { topology, sockets, .. } =
        assemble::topology(&config, &held, 8, &Loaded::default());
    let host = host();
    let (opener, gate) = std::sync::mpsc::channel();
    opener.send(()).expect("the gate waits");
    WorkerParts {
        index: 0,
        gate,
        core: None,
        setup: RingSetup { servers: Vec::new(), ..setup(&config, &host, &topology, &sockets) },
        plan: assemble::plan((&config, &topology), 0, None, true),
        clock: Clock::system(),
        mailbox: mailbox().1,
        budget: Arc::new(Budget::new(8, 1)),
        counters: Arc::new(topology.counters(&WorkerCounters::default())),
    }
}

#[test]
fn a_worker_that_panics_is_reported_and_ends_the_gateway() {
    let mut address = SocketAddr::from(([0, 0, 0, 0], 0));
    let parts = broken_parts(&mut address);
    let (ready_sender, ready) = std::sync::mpsc::channel();
    let (exit_sender, exits) = unbounded_channel();
    let thread = std::thread::spawn(move || work::<KernelRing>(parts, &ready_sender, &exit_sender));
    ready.recv().expect("a word").expect("a ring");
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
    // Whatever the client sees, it is an end.
    let _ = client.write_all(b"x");
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    thread.join().expect("the panic was caught");
    let budget = Arc::new(Budget::new(8, 1));
    let config = Config::embedded();
    let Assembled { topology, sockets, register } =
        assemble::topology(&config, &[], 8, &Loaded::default());
    let present =
        Present::new(View::new(topology, config, sockets, Vec::new()), Sets::default(), register);
    let sources = Arc::new(sources::open(
        &host(),
        false,
        with_events(Clock::system()),
        budget,
        Vec::new(),
        present,
    ));
    let runtime = crate::control::Runtime::new(false).expect("a runtime");
    let source = ConfigSource { place: Place::Embedded, settings: Vec::new() };
    let ground = Grounds::new(source, host(), Clock::system(), Vec::new());
    let ground = Arc::new(Mutex::new(ground));
    let found = Searching::nothing(&sources.events).found;
    let (endpoints, succession) = (Endpoints::default(), None);
    let parts = Parts { ground, exits, endpoints, found, succession };
    let outcome = crate::control::run(&runtime, sources, parts, || {});
    assert_eq!(outcome.expect("a runtime"), Outcome::WorkerLost);
}

fn with_events(clock: Clock) -> (Clock, Arc<Events>) {
    (clock.clone(), Arc::new(Events::new(clock)))
}

/// A config of these listeners, which are answered by the gateway itself.
fn echo(listeners: &[&str]) -> Config {
    let listener =
        |name: &&str| format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n");
    let listeners: String = listeners.iter().map(listener).collect();
    let text = format!("{listeners}[upstream.app]\nbuiltin = \"echo\"\n");
    Config::parse(&text, "test.toml", &|_| None).expect("a config")
}

/// A worker that turns, and what is known of it.
struct Rig {
    sources: Sources,
    addresses: Vec<SocketAddr>,
    /// With the access log.
    home: tempfile::TempDir,
    thread: JoinHandle<()>,
}

impl Rig {
    fn start(config: Config) -> Rig {
        let any = "127.0.0.1:0".parse().expect("an address");
        let bind = |listener: &crate::config::Listener| {
            let bound = listen_on(any, 1, &SocketOptions::with_backlog(16));
            Held::new(&listener.name, any, bound.expect("a free port"), None)
        };
        let held: Vec<Held> = config.listeners.iter().map(bind).collect();
        let addresses = held.iter().map(|one| one.address).collect();
        let Assembled { topology, sockets, register } =
            assemble::topology(&config, &held, 8, &Loaded::default());
        let (host, clock, budget) = (host(), Clock::system(), Arc::new(Budget::new(8, 1)));
        let counters = Arc::new(topology.counters(&WorkerCounters::default()));
        let home = tempfile::tempdir().expect("a directory");
        let path = AccessPath::File(home.path().join("access.log"));
        let log = AccessLog { path, ..AccessLog::default() };
        let writing = Writing::open(&log, 1, &clock).expect("a file").expect("it is not off");
        let (orders, mailbox) = mailbox();
        let (opener, gate) = std::sync::mpsc::channel();
        opener.send(()).expect("the gate waits");
        let parts = WorkerParts {
            index: 0,
            gate,
            core: None,
            setup: setup(&config, &host, &topology, &sockets),
            plan: assemble::plan((&config, &topology), 0, writing.queue(0), true),
            clock: clock.clone(),
            mailbox,
            budget: budget.clone(),
            counters: counters.clone(),
        };
        let (ready_sender, ready) = std::sync::mpsc::channel();
        let (exit_sender, _exits) = unbounded_channel();
        let thread =
            std::thread::spawn(move || work::<KernelRing>(parts, &ready_sender, &exit_sender));
        let (waker, supplier) = ready.recv().expect("a word").expect("a ring");
        let workers = vec![WorkerHandle { orders, waker, supplier }];
        let view = View::new(topology, config, sockets, vec![counters]);
        let present = Present::new(view, Sets::default(), register);
        let sources = Sources {
            access_log: AccessLogs::new(Some(writing)),
            ..sources::open(&host, false, with_events(clock), budget, workers, present)
        };
        Rig { sources, addresses, home, thread }
    }

    fn order(&self, order: Order) {
        let worker = &self.sources.workers[0];
        worker.orders.send(order).expect("it listens");
        worker.waker.wake();
    }

    fn rows(&self) -> Vec<Row> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let (query, purpose) = (Query::all(10), Purpose::Show);
        self.order(Order::Scan(Box::new(Task { query, only: None, purpose, reply })));
        match answer.blocking_recv().expect("an answer") {
            Reply::Done(answer) => answer.rows.into_iter().map(|one| *one.row).collect(),
            Reply::Busy => panic!("nobody else asks"),
        }
    }

    /// The access log, once it has a line.
    fn line(&self) -> String {
        let look = || {
            std::thread::sleep(Duration::from_millis(5));
            let text = std::fs::read_to_string(self.home.path().join("access.log")).ok()?;
            text.ends_with('\n').then_some(text)
        };
        (0..12_000).find_map(|_| look()).expect("an end is noted")
    }
}

#[test]
fn a_connection_keeps_its_names_when_its_listener_is_gone() {
    let rig = Rig::start(echo(&["edge", "inner"]));
    let mut client = TcpStream::connect(rig.addresses[1]).expect("it listens");
    client.write_all(b"x").expect("it is there");
    client.read_exact(&mut [0]).expect("an echo");
    let inner = rig.sources.view().names.listener("inner").expect("it is there");
    let next = echo(&["edge"]);
    let edge = GateSpec {
        listener: "edge".to_owned(),
        owner: WorkerId(0),
        address: rig.addresses[0],
        inherited: false,
        queue_of: WorkerId(0),
    };
    let next =
        rig.sources.present.next(next, Sets::default(), &[edge], None).expect("few of each kind");
    rig.sources.adopt(next, IdMap::new());
    let rows = rig.rows();
    let names = rows.iter().map(|row| (&*row.parties.listener.name, &*row.parties.upstream.name));
    assert!(names.eq([("inner", "app")]), "{rows:?}");
    assert_eq!(rows[0].facts.listener, inner);
    client.write_all(b"y").expect("it is there");
    client.read_exact(&mut [0]).expect("an echo, whatever is gone");
    drop(client);
    let line = rig.line();
    assert!(line.contains(" listener=inner ") && line.contains(" server=- "), "{line}");
    let reading = rig.sources.reading();
    let listeners: Vec<_> =
        reading.listeners.iter().map(|one| (&*one.name, one.accepted)).collect();
    assert_eq!(listeners, [("edge", 0)]);
    let removed = reading.removed.expect("one was removed");
    assert_eq!((removed.accepted, removed.open, removed.to_client_bytes), (1, 0, 2));
    rig.order(Order::Stop);
    rig.thread.join().expect("it ends in order");
}
