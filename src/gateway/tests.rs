//! What the gateway does when one of its own parts breaks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::*;
use crate::config::SocketOptions;
use crate::doctor::Shape;
use crate::listener::listen_on;

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
fn broken_recruit(address: &mut SocketAddr) -> Recruit {
    let text = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
                [upstream.app]\nservers = [\"127.0.0.1:1\"]\n";
    let config = Config::parse(text, "test.toml", &|_| None).expect("a config");
    let any = "127.0.0.1:0".parse().expect("an address");
    let bound = listen_on(any, 1, &SocketOptions::with_backlog(16)).expect("a free port");
    *address = bound.address;
    let sockets = passive_sockets(vec![(0, bound)]);
    let Assembled { topology, sockets, .. } = assemble::topology(&config, &sockets);
    let host = host();
    let (opener, gate) = std::sync::mpsc::channel();
    opener.send(()).expect("the gate waits");
    Recruit {
        index: 0,
        gate,
        core: None,
        setup: RingSetup { servers: Vec::new(), ..setup(&config, &host, &topology, &sockets) },
        plan: assemble::plan(&config, &topology, 0),
        clock: Clock::system(),
        mailbox: mailbox().1,
        budget: Arc::new(Budget::new(8, 1)),
        counters: Arc::new(topology.counters(&WorkerCounters::default())),
    }
}

#[test]
fn a_worker_that_panics_is_reported_and_ends_the_gateway() {
    let mut address = SocketAddr::from(([0, 0, 0, 0], 0));
    let recruit = broken_recruit(&mut address);
    let (ready_sender, ready) = std::sync::mpsc::channel();
    let (exit_sender, exits) = unbounded_channel();
    let thread = std::thread::spawn(move || work(recruit, &ready_sender, &exit_sender));
    ready.recv().expect("a word").expect("a ring");
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
    // Whatever the client sees, it is an end.
    let _ = client.write_all(b"x");
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    thread.join().expect("the panic was caught");
    let budget = Arc::new(Budget::new(8, 1));
    let config = Config::embedded();
    let Assembled { topology, sockets, register } = assemble::topology(&config, &[]);
    let present = Present::new(View::new(topology, config, sockets, Vec::new()), register);
    let sources =
        Arc::new(sources::open(&host(), false, Clock::system(), budget, Vec::new(), None, present));
    let drain_timeout = Duration::from_secs(1);
    let runtime = crate::control::runtime().expect("a runtime");
    let outcome = crate::control::run(
        &runtime,
        sources,
        exits,
        drain_timeout,
        Doors::default(),
        || {},
        || {},
    );
    assert_eq!(outcome.expect("a runtime"), Outcome::WorkerLost);
}
