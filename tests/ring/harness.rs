//! A ring with listeners and servers on loopback, and bounded waits on it.

use std::collections::VecDeque;
use std::io::{Write, stderr};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket,
};
use portcullis::base::{Errno, Id, Side, Source};
use portcullis::host::kernel_files::KernelFiles;
use portcullis::ring::{
    AcceptMode, Accepts, Completion, ConnIndex, Done, GateId, HostSays, Operation, Operations,
    PassiveSocket, Ring, RingSetup, ServerId, ServerSocket, Token, probe,
};

use crate::{IS_EPOLL, TestRing};

/// Turns after which a wait has failed; each lasts at most [`PATIENCE`]: 60 s.
const TURNS_MAX: usize = 600;
const PATIENCE: Duration = Duration::from_millis(100);

pub(crate) const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// A setup for `connections` in one kernel ring.
pub(crate) fn setup(connections: u32) -> RingSetup {
    RingSetup {
        connections,
        with_upstream: true,
        table_entries: 4096,
        submission_entries: 256,
        completion_entries: 1024,
        buffer_bytes: 4096,
        buffer_count: 256,
        receive_ahead: true,
        batch_wait: Duration::ZERO,
        parked_bytes_max: 1 << 20,
        splice_pipes: 4,
        ephemeral_ports: None,
        descriptors: 64,
        gates: Vec::new(),
        servers: Vec::new(),
    }
}

/// What not every kernel does that the gateway runs on (Linux 6.13 and newer).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Newer {
    /// FIXED_FD_INSTALL, for addresses and splices.
    Descriptors,
    /// BIND.
    SourceAddresses,
    /// A minimum wait.
    #[allow(dead_code, reason = "a ring over epoll knows no batches")]
    Batches,
    /// A bound for receives that go on.
    ReceivesAhead,
}

/// Whether this kernel does it. If not, the test that asks says so and checks nothing; past what
/// captures the words of tests that pass.
pub(crate) fn does(newer: Newer) -> bool {
    if IS_EPOLL {
        return matches!(newer, Newer::Descriptors | Newer::SourceAddresses);
    }
    let release = KernelFiles::of_this_host().text("proc/sys/kernel/osrelease");
    let release = release.unwrap_or_default();
    let host = HostSays { release, io_uring_disabled: None, seccomp_mode: None };
    let features = probe(&host).expect("tests need Linux 6.13 or newer");
    let (does, since) = match newer {
        Newer::Descriptors => (features.addresses, "6.8"),
        Newer::SourceAddresses => (features.source_addresses, "6.11"),
        Newer::Batches => (waits_for_batches(), "6.12"),
        Newer::ReceivesAhead => (features.receives_ahead, "6.17"),
    };
    if !does {
        let (thread, release) = (thread::current(), host.release);
        let test = thread.name().unwrap_or("a test");
        let words = format!("{test} checks nothing: Linux {release} is older than {since}\n");
        stderr().write_all(words.as_bytes()).expect("stderr");
    }
    does
}

fn waits_for_batches() -> bool {
    let batch_wait = Duration::from_micros(100);
    match TestRing::new(RingSetup { batch_wait, ..setup(1) }) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("(Linux 6.12)"), "{error}");
            false
        }
    }
}

/// A passive socket on a free port.
pub(crate) fn passive(address: SocketAddr, backlog: u32) -> (PassiveSocket, SocketAddr) {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let made = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(made.as_raw_fd(), &SockaddrStorage::from(address)).expect("a free port");
    listen(&made, Backlog::new(backlog as i32).expect("a backlog")).expect("listen");
    let listener = TcpListener::from(made);
    let address = listener.local_addr().expect("its address");
    (Arc::new(listener.into()), address)
}

/// A ring and what it did not tell yet.
pub(crate) struct Rig {
    pub(crate) ring: TestRing,
    /// Where its listeners are.
    pub(crate) listeners: Vec<SocketAddr>,
    /// Where its servers are, and the passive sockets of those.
    pub(crate) servers: Vec<TcpListener>,
    unseen: VecDeque<Completion>,
}

impl Rig {
    /// A ring that listens on, and connects to, an address of each of these families.
    pub(crate) fn new(mut setup: RingSetup, families: &[SocketAddr]) -> Rig {
        raise_descriptor_limit();
        let mut listeners = Vec::new();
        let mut servers = Vec::new();
        for family in families {
            let (listener, address) = passive(*family, 4096);
            setup.gates.push((GateId::at(setup.gates.len()), listener));
            listeners.push(address);
            let server = TcpListener::bind(*family).expect("a server");
            let address = server.local_addr().expect("its address");
            let id = ServerId::at(setup.servers.len());
            setup.servers.push((id, ServerSocket { address, sources: Vec::new() }));
            servers.push(server);
        }
        let ring = TestRing::new(setup).expect("a ring");
        Rig { ring, listeners, servers, unseen: VecDeque::new() }
    }

    /// An IPv4 rig for `connections` in one kernel ring.
    pub(crate) fn v4(connections: u32) -> Rig {
        Rig::new(setup(connections), &[V4])
    }

    /// Waits for the first completion that `wanted` makes something of; keeps the others.
    pub(crate) fn wait<T>(&mut self, mut wanted: impl FnMut(&Completion) -> Option<T>) -> T {
        if let Some(found) = self.take(&mut wanted) {
            return found;
        }
        for _ in 0..TURNS_MAX {
            self.turn(PATIENCE);
            if let Some(found) = self.take(&mut wanted) {
                return found;
            }
        }
        panic!("nothing of the kind in {TURNS_MAX} turns; left: {:?}", self.unseen);
    }

    fn take<T>(&mut self, mut wanted: impl FnMut(&Completion) -> Option<T>) -> Option<T> {
        let (place, found) =
            self.unseen.iter().enumerate().find_map(|(place, one)| Some((place, wanted(one)?)))?;
        self.unseen.remove(place);
        Some(found)
    }

    /// One turn; its completions are kept.
    pub(crate) fn turn(&mut self, wait: Duration) {
        self.ring.turn(Some(wait)).expect("a turn");
        while let Some(completion) = self.ring.next() {
            self.unseen.push_back(completion);
        }
    }

    /// Everything told and not waited for.
    pub(crate) fn unseen(&mut self) -> Vec<Completion> {
        self.unseen.drain(..).collect()
    }

    /// Starts an operation of generation 0.
    pub(crate) fn start(&mut self, conn: ConnIndex, side: Side, operation: Operation) -> Token {
        let token = token(conn, side, operation);
        self.ring.start(token, operation);
        token
    }

    /// Waits until `token`'s operation completes.
    pub(crate) fn done(&mut self, token: Token) -> Done {
        self.wait(|completion| match completion {
            Completion::Done(done) if done.token == token => Some(*done),
            _ => None,
        })
    }

    /// Starts an operation and waits for its result.
    pub(crate) fn run(
        &mut self,
        conn: ConnIndex,
        side: Side,
        operation: Operation,
    ) -> Result<u32, Errno> {
        let token = self.start(conn, side, operation);
        self.done(token).result
    }

    /// A client of listener 0, and the slot it was accepted into by a credit.
    pub(crate) fn client(&mut self) -> (TcpStream, ConnIndex) {
        self.client_of(GateId(0))
    }

    /// A client of a listener, accepted by a credit.
    pub(crate) fn client_of(&mut self, listener: GateId) -> (TcpStream, ConnIndex) {
        let address = self.listeners[usize::from(listener.0)];
        let stream = TcpStream::connect(address).expect("a client");
        stream.set_nodelay(true).expect("an option");
        self.ring.accept(listener, AcceptMode::Single);
        (stream, self.accepted().1)
    }

    /// Waits for an accepted client.
    pub(crate) fn accepted(&mut self) -> (GateId, ConnIndex, bool) {
        self.wait(|completion| match completion {
            Completion::Accepted { gate: listener, conn, more } => Some((*listener, *conn, *more)),
            Completion::AcceptEnded { error, .. } => panic!("accept ended: {error}"),
            Completion::QueueReady { .. }
            | Completion::GateRemoved { .. }
            | Completion::Lent { .. }
            | Completion::Adopted { .. }
            | Completion::Done(_) => None,
        })
    }

    /// Opens and connects `conn`'s upstream socket to server `index`; its other end.
    pub(crate) fn upstream(&mut self, conn: ConnIndex, index: u16) -> TcpStream {
        let server = ServerId(index);
        assert_eq!(
            self.run(conn, Side::Upstream, Operation::Open(server, Source::default())),
            Ok(0)
        );
        assert_eq!(self.run(conn, Side::Upstream, Operation::Connect(server)), Ok(0));
        self.servers[usize::from(index)].accept().expect("the server's end").0
    }
}

/// Tables of 4,000 slots and thousands of clients need more than the customary 1,024.
fn raise_descriptor_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limits");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit is allowed");
}

/// The token of an operation in generation 0.
pub(crate) fn token(conn: ConnIndex, side: Side, operation: Operation) -> Token {
    Token { conn, generation: 0, side, kind: operation.kind() }
}
