//! The start of a successor: what its predecessor hands over before there are workers.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::stdio::dup2_stdin;

use super::GatewayError;
use super::held::Held;
use super::lock::Lock;
use crate::api::handover::{
    self, FoundSet, Hello, Things, ToPredecessor, ToSuccessor, VERSION, Welcome,
};
use crate::base::{Clock, RouteId, ServerId, version};
use crate::config::{Config, Listener, Server, ServerSet};
use crate::control::{Broken, Channel, Sets, Succession};
use crate::courier::{Courier, Flags};
use crate::doctor::count;
use crate::listener::{BindError, adopt};
use crate::topology::Topology;
use crate::wire::handover::RECORD_BYTES;
use crate::worker::Numbers;

/// Between two looks for a message.
const POLL: Duration = Duration::from_millis(2);
/// For the predecessor to say what comes next.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a predecessor hands over.
#[derive(Debug)]
pub struct Handed {
    channel: Arc<Channel>,
    hello: Hello,
    record_bytes: u16,
    things: Things,
    /// Until a bind takes them.
    passive: Vec<Passive>,
    status: Option<(SocketAddr, TcpListener)>,
    admin: Option<(PathBuf, OwnedFd)>,
    flags: Arc<Flags>,
    /// By upstream: what its search has found, where the set that came is another.
    found: Vec<(String, Vec<Server>)>,
}

/// The passive sockets of an address.
#[derive(Debug)]
struct Passive {
    said: handover::Passive,
    sockets: Vec<TcpListener>,
    lock: Option<(PathBuf, OwnedFd)>,
}

impl Handed {
    /// What the process says that has started this one, over standard input.
    ///
    /// # Errors
    /// When nobody does, or what is said is not understood.
    pub fn receive() -> Result<Handed, GatewayError> {
        let refused = |error: &dyn std::fmt::Display| {
            GatewayError::Succession(format!(
                "standard input: {error}; --successor is for a gateway that starts its own: \
                 write `portcullis upgrade`"
            ))
        };
        let courier = take_stdin().and_then(Courier::from_fd).map_err(|error| refused(&error))?;
        let channel = Channel::new(courier);
        let (hello, record_bytes) = greet(&channel).map_err(|error| refused(&error))?;
        let (things, descriptors) = things(&channel).map_err(|error| refused(&error))?;
        let mut descriptors = descriptors.into_iter();
        let missing = || refused(&"a descriptor is missing");
        let mut passive = Vec::new();
        for said in &things.passive {
            let sockets: Vec<_> = descriptors.by_ref().take(said.queues).collect();
            let sockets: Vec<_> = sockets.into_iter().map(TcpListener::from).collect();
            let lock = said.lock.as_ref().map(|path| {
                descriptors.next().map(|file| (path.clone(), file)).ok_or_else(missing)
            });
            let (said, lock) = (said.clone(), lock.transpose()?);
            passive.push(Passive { said, sockets, lock });
        }
        let mut next = || descriptors.next().ok_or_else(missing);
        let status = things.status.map(|at| next().map(|socket| (at, socket.into())));
        let status = status.transpose()?;
        let admin = things.admin.clone().map(|path| next().map(|lock| (path, lock)));
        let admin = admin.transpose()?;
        let flags = Flags::from_fd(next()?).map_err(|error| refused(&error))?;
        let flags = Arc::new(flags);
        let channel = Arc::new(channel);
        let found = Vec::new();
        Ok(Handed { channel, hello, record_bytes, things, passive, status, admin, flags, found })
    }

    /// Says that this process ends, and why.
    pub fn refuse(&self, exit_code: u8, words: &str) {
        // A predecessor that is gone needs no words.
        let words = words.to_owned();
        let _ = self.channel.say(&ToPredecessor::Refuse { exit_code, words }, &[]);
    }

    /// The text of the predecessor's config, if that came over standard input.
    pub fn config_text(&self) -> Option<String> {
        self.things.config_text.clone()
    }

    /// A way to say so later.
    pub(super) fn channel(&self) -> Arc<Channel> {
        self.channel.clone()
    }

    /// The predecessor's clock: what it timed is as old here.
    pub(super) fn clock(&self) -> Clock {
        Clock::of_origin(self.hello.clock_origin_nanos)
    }

    /// Connections that are to come.
    pub(super) fn connections(&self) -> u64 {
        self.hello.connections
    }

    /// That all who have connections there have a place here.
    ///
    /// # Errors
    /// The first that has none.
    pub(super) fn check(&self, config: &Config, slots: u64) -> Result<(), GatewayError> {
        let refuse = |words: String| Err(GatewayError::Succession(words));
        for Passive { said, .. } in &self.passive {
            let handover::Passive { listener, asked, .. } = said;
            let named = config.listeners.iter().find(|one| one.name == *listener);
            if !named.is_some_and(|one| one.bind.contains(asked)) {
                return refuse(format!(
                    "listener {listener}, or its address {asked}, is gone from the file, and its \
                     clients could not move: `portcullis reload` first"
                ));
            }
        }
        let open = self.hello.connections;
        if open > slots {
            return refuse(format!(
                "{} are open, and this config makes room for {slots}",
                count(open, "connection")
            ));
        }
        Ok(())
    }

    /// Has the sets of servers be those of the predecessor, with whom its connections are.
    pub(super) fn put_sets(&mut self, config: &Config, sets: &mut Sets) {
        for FoundSet { upstream, is_by_hand, revision, text } in &self.things.sets {
            let set = match ServerSet::parse(text, "the predecessor's set") {
                Ok((set, _)) => set,
                Err(error) => {
                    tracing::warn!(%error, upstream, "a set of servers is not understood");
                    continue;
                }
            };
            let own = sets.resume(config, (*is_by_hand, upstream, *revision), set);
            self.found.extend(own.map(|own| (upstream.clone(), own)));
        }
    }

    /// The passive sockets of an address that a listener asks for, if they were handed over.
    pub(super) fn take(
        &mut self,
        listener: &Listener,
        asked: SocketAddr,
        workers: usize,
    ) -> Option<Result<Vec<Held>, BindError>> {
        let is_its =
            |one: &mut Passive| one.said.asked == asked && one.said.listener == listener.name;
        let own: Vec<Passive> = self.passive.extract_if(.., is_its).collect();
        let said = own.first()?.said.clone();
        let mut known = HashSet::new();
        let is_new =
            |socket: &TcpListener| fstat(socket).map_or(true, |found| known.insert(found.st_ino));
        let (mut sockets, mut lock) = (Vec::new(), None);
        for one in own {
            sockets.extend(one.sockets);
            lock = lock.or(one.lock);
        }
        let sockets: Vec<TcpListener> = sockets.into_iter().filter(is_new).collect();
        let lock = lock.map(|(path, file)| Arc::new(Lock::handed(&path, file)));
        let rows = adopt(said.address, sockets, workers, &listener.sockets);
        Some(rows.map(|rows| {
            let rows = rows.into_iter().map(|bound| {
                let bound = crate::listener::Bound { inherited: said.inherited, ..bound };
                Held::shared(&listener.name, asked, bound, lock.clone())
            });
            rows.collect()
        }))
    }

    /// What is left for the control plane.
    ///
    /// # Errors
    /// When the topology lacks whom connections are with.
    pub(super) fn succession(self, topology: &Topology) -> Result<Succession, GatewayError> {
        let numbers = Arc::new(self.numbers(topology)?);
        let Handed { channel, hello, record_bytes, things, status, admin, flags, found, .. } = self;
        Ok(Succession {
            channel,
            pid: hello.pid,
            record_bytes,
            numbers,
            flags,
            things,
            status,
            found,
            admin,
        })
    }

    fn numbers(&self, topology: &Topology) -> Result<Numbers, GatewayError> {
        let upstream = |id| &topology.upstreams[id].name;
        let mut routes: HashMap<(&str, &str), RouteId> = HashMap::new();
        for (id, route) in topology.routes.iter() {
            let listener = &topology.listeners[route.listener].name;
            routes.insert((listener, upstream(route.upstream)), id);
        }
        let of_server = |(id, server): (ServerId, &Arc<crate::topology::Server>)| {
            ((upstream(server.upstream).clone(), server.name.clone(), server.address), id)
        };
        let servers: HashMap<_, _> = topology.servers.iter().map(of_server).collect();
        let mut numbers = Numbers::default();
        for handover::RouteName { number, listener, upstream } in &self.things.routes {
            let Some(id) = routes.get(&(listener.as_str(), upstream.as_str())) else {
                return Err(GatewayError::Succession(format!(
                    "clients of listener {listener} do not come to upstream {upstream} any more, \
                     and those that are there could not move: `portcullis reload` first"
                )));
            };
            numbers.routes.insert(*number, *id);
        }
        for handover::ServerName { number, upstream, name, address } in &self.things.servers {
            let key = address.map(|address| (upstream.clone(), name.clone(), address));
            let Some(id) = key.and_then(|key| servers.get(&key)) else {
                return Err(GatewayError::Succession(format!(
                    "server {upstream}/{name} is gone from the file, or elsewhere, and its clients \
                     could not move: `portcullis reload` first"
                )));
            };
            numbers.servers.insert(*number, *id);
        }
        Ok(numbers)
    }
}

/// Standard input, in place of which this process reads nothing from here on.
fn take_stdin() -> io::Result<OwnedFd> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(input)
}

/// Who both are.
fn greet(channel: &Channel) -> Result<(Hello, u16), Broken> {
    let hello = loop {
        if let (ToSuccessor::Hello(hello), _) = next(channel)? {
            break hello;
        }
    };
    let build = version::LINE.to_owned();
    if hello.min_version > VERSION || hello.max_version < VERSION {
        let Hello { min_version, max_version, build: theirs, .. } = hello;
        let words = format!(
            "no common version: {theirs} speaks {min_version} to {max_version}, {build} speaks \
             {VERSION}"
        );
        channel.say(&ToPredecessor::Refuse { exit_code: 1, words: words.clone() }, &[])?;
        return Err(Broken::Other(words));
    }
    let record_bytes = RECORD_BYTES as u16;
    let welcome = Welcome {
        version: VERSION,
        record_bytes,
        build,
        takes_ticket_keys: true,
        takes_unserved: true,
    };
    let record_bytes = hello.record_bytes;
    channel.say(&ToPredecessor::Welcome(welcome), &[])?;
    Ok((hello, record_bytes))
}

/// What is said of things, and the descriptors.
fn things(channel: &Channel) -> Result<(Things, Vec<OwnedFd>), Broken> {
    let things = loop {
        if let (ToSuccessor::Things(things), _) = next(channel)? {
            break things;
        }
    };
    let mut all = Vec::new();
    while all.len() < things.descriptors {
        if let (ToSuccessor::Descriptors, descriptors) = next(channel)? {
            all.extend(descriptors);
        }
    }
    Ok((things, all))
}

/// The next message, which is waited for.
fn next(channel: &Channel) -> Result<(ToSuccessor, Vec<OwnedFd>), Broken> {
    let clock = Clock::system();
    let began = clock.now();
    loop {
        if let Some(said) = channel.hear()? {
            return Ok(said);
        }
        if clock.now().since(began) > PATIENCE {
            return Err(Broken::Other("the predecessor says nothing".to_owned()));
        }
        std::thread::sleep(POLL);
    }
}
