//! Who else knows the servers of an upstream: the resolver, a file, etcd.
//!
//! Each upstream whose servers are no plain list has a search: a task of the control thread that
//! asks for as long as the gateway runs, and says the servers that it found whenever they are
//! others. Two steps, a file each:
//!
//! - an origin gives sets of servers, in which names may stand: `file`, `etcd`, `srv`, or
//!   the config's list, which never changes;
//! - `names` asks for the addresses of these names, and the set becomes servers.
//!
//! An answer that is wrong, empty, truncated or too large is no answer: the last good one stays in
//! use, and the search says so once ([`Health`]). What was good is kept on disk (`kept`), for a
//! start at which nobody answers.

mod aside;
mod bad;
mod dns;
mod etcd;
mod file;
mod health;
#[cfg(test)]
mod heard;
mod host;
mod kept;
mod names;
mod pace;
mod srv;
mod stamp;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

pub use health::{Health, Outcome};
pub use kept::kept;
pub use stamp::{Stamp, stamp};

use bad::Bad;
use dns::Dns;
use kept::Keeper;

use crate::config::{Config, Named, Origin, Resolver, Server, ServerSet, Upstream, UpstreamKind};

/// What is to be found out for one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The name of the upstream.
    pub upstream: String,
    /// Who knows its servers.
    pub origin: Origin,
    /// The list of the config, or an operator's in its place.
    pub set: ServerSet,
    /// How names are asked for.
    pub resolver: Resolver,
}

impl Search {
    /// The searches that a config asks for. A plain list of addresses needs none.
    pub fn of(config: &Config) -> Vec<Search> {
        let search = |upstream: &Upstream| match &upstream.kind {
            UpstreamKind::Servers { set, origin, .. } => Some(Search {
                upstream: upstream.name.clone(),
                origin: origin.clone(),
                set: set.clone(),
                resolver: config.resolver.clone(),
            }),
            UpstreamKind::Builtin(_) => None,
        };
        config.upstreams.iter().filter(|one| one.is_searched()).filter_map(search).collect()
    }
}

/// The servers that a search has found: others than it found before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name of the upstream.
    pub upstream: String,
    /// Its servers, at least one, no two of one name, in the order of their origin.
    pub servers: Vec<Server>,
}

/// Hears how searches go: of the first answer that is of no use, and of the first good one after.
pub trait Observer: fmt::Debug + Send + Sync {
    /// `of`, which is asked about the servers of an upstream, answers again.
    fn good(&self, upstream: &str, of: &str);

    /// Its answer is of no use, and what was known stays in use.
    fn bad(&self, upstream: &str, of: &str, outcome: Outcome, because: &str);
}

/// All searches of a gateway. They end when this is dropped.
#[derive(Debug)]
pub struct Searches {
    running: BTreeMap<String, Running>,
    /// One for each way in which names are asked for, shared by all that ask so.
    dns: Vec<Arc<Dns>>,
    words: UnboundedSender<Found>,
    observer: Arc<dyn Observer>,
    keeper: Keeper,
}

#[derive(Debug)]
struct Running {
    search: Search,
    health: Arc<Health>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Searches {
    /// None yet; what they find comes out of the receiver, and `observer` hears how they go.
    pub fn new(observer: Arc<dyn Observer>) -> (Searches, UnboundedReceiver<Found>) {
        let (words, found) = unbounded_channel();
        let (running, dns, keeper) = (BTreeMap::new(), Vec::new(), Keeper::default());
        (Searches { running, dns, words, observer, keeper }, found)
    }

    /// Has these searches and no others. One that is as it was goes on; one that begins has the
    /// servers of its upstream that were good before, for hosts that do not answer now. On a thread
    /// that runs a `LocalSet`.
    pub fn follow(&mut self, asked: Vec<Search>, servers: impl Fn(&str) -> Vec<Server>) {
        let mut before = std::mem::take(&mut self.running);
        for search in asked {
            let running = match before.remove(&search.upstream) {
                Some(running) if running.search == search => running,
                other => {
                    let health = other.map(|other| other.health.clone()).unwrap_or_default();
                    let servers = servers(&search.upstream);
                    self.begin(search, servers, health)
                }
            };
            self.running.insert(running.search.upstream.clone(), running);
        }
        let is_used = |dns: &Arc<Dns>| {
            self.running.values().any(|running| running.search.resolver == dns.resolver)
        };
        self.dns.retain(is_used);
    }

    /// Whether the servers of this upstream are searched for.
    pub fn has(&self, upstream: &str) -> bool {
        self.running.contains_key(upstream)
    }

    /// Keeps the servers of an upstream in `directory` for a later start.
    pub fn keep(&self, directory: &std::path::Path, upstream: &str, servers: &[Server]) {
        self.keeper.keep(directory, upstream, servers);
    }

    /// How each of them goes, by the name of its upstream.
    pub fn health(&self) -> BTreeMap<String, Arc<Health>> {
        let all = self.running.iter();
        all.map(|(name, running)| (name.clone(), running.health.clone())).collect()
    }

    fn begin(&mut self, search: Search, before: Vec<Server>, health: Arc<Health>) -> Running {
        health.forget(|_| false);
        let (sets, of_origin) = watch::channel(None);
        let (upstream, observer) = (search.upstream.clone(), self.observer.clone());
        let speaker = Speaker { upstream, health: health.clone(), observer };
        let dns = self.dns(&search.resolver);
        let sink = SetSink { speaker: speaker.clone(), sets };
        let origin = origin(search.clone(), dns.clone(), sink);
        let sink = ServerSink { speaker, words: self.words.clone() };
        let names = names::follow(of_origin, dns, before, sink);
        Running { search, health, tasks: vec![spawn_local(origin), spawn_local(names)] }
    }

    fn dns(&mut self, resolver: &Resolver) -> Arc<Dns> {
        let known = self.dns.iter().find(|dns| dns.resolver == *resolver);
        known.cloned().unwrap_or_else(|| {
            let dns = Arc::new(Dns::new(resolver.clone()));
            self.dns.push(dns.clone());
            dns
        })
    }
}

async fn origin(search: Search, dns: Arc<Dns>, sink: SetSink) {
    match &search.origin {
        Origin::List => {
            sink.found(search.set);
            // The list stays what it is; the receiver wants a sender that lives.
            std::future::pending::<()>().await;
        }
        Origin::Srv(name) => srv::follow(name, &dns, &sink).await,
        Origin::File(path) => file::follow(path, &sink).await,
        Origin::Etcd { endpoints, prefix } => etcd::follow(endpoints, prefix, &dns, &sink).await,
    }
}

/// Says how a search goes.
#[derive(Clone, Debug)]
struct Speaker {
    upstream: String,
    health: Arc<Health>,
    observer: Arc<dyn Observer>,
}

impl Speaker {
    /// An answer was good. The observer hears of it when the one before was not.
    fn good(&self, of: &str) {
        if self.health.good(of) {
            self.observer.good(&self.upstream, of);
        }
    }

    /// An answer was not, so that what is known stays in use. The observer hears of the first of
    /// several.
    fn bad(&self, of: &str, bad: &Bad) {
        let Bad { outcome, because } = bad;
        if self.health.bad(of, *outcome, because) {
            self.observer.bad(&self.upstream, of, *outcome, because);
        }
    }
}

/// Takes the sets of an origin.
#[derive(Debug)]
struct SetSink {
    speaker: Speaker,
    sets: watch::Sender<Option<ServerSet>>,
}

impl SetSink {
    /// This is the set now. An empty one is none.
    fn found(&self, set: ServerSet) {
        if set.is_empty() {
            return;
        }
        self.sets.send_if_modified(|known| {
            let is_other = known.as_ref() != Some(&set);
            if is_other {
                *known = Some(set);
            }
            is_other
        });
    }
}

/// Takes the servers that a set stands for.
#[derive(Debug)]
struct ServerSink {
    speaker: Speaker,
    words: UnboundedSender<Found>,
}

impl ServerSink {
    /// These are the servers now.
    fn found(&self, servers: Vec<Server>) {
        // Nobody hears it when the gateway ends.
        let _ = self.words.send(Found { upstream: self.speaker.upstream.clone(), servers });
    }
}

/// The servers of a set of which each name has these addresses, each of a name of its own.
fn servers_of(set: &ServerSet, addresses: impl Fn(&Named) -> Vec<std::net::IpAddr>) -> Vec<Server> {
    let named = set
        .names
        .iter()
        .flat_map(|name| addresses(name).into_iter().map(move |address| name.server(address)));
    let mut servers: Vec<Server> = set.servers.iter().cloned().chain(named).collect();
    let mut known = std::collections::HashSet::new();
    servers.retain(|server| known.insert(server.name.clone()));
    servers
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn searches_that_ask_in_one_way_share_what_they_ask_by() {
        heard::on_a_local_set(async {
            let search = |upstream: &str, resolver: &Resolver| Search {
                upstream: upstream.to_owned(),
                origin: Origin::File("/no/such/file".into()),
                set: ServerSet::default(),
                resolver: resolver.clone(),
            };
            let first = Resolver::default();
            let second = Resolver { timeout: Duration::from_secs(9), ..Resolver::default() };
            let (mut searches, _found) = Searches::new(Arc::new(heard::Deaf));
            let known = |searches: &Searches| {
                let timeouts = searches.dns.iter().map(|dns| dns.resolver.timeout.as_secs());
                timeouts.collect::<Vec<_>>()
            };
            searches.follow(vec![search("b", &first)], |_| Vec::new());
            let of_b = searches.dns[0].clone();
            searches.follow(vec![search("a", &first), search("b", &first)], |_| Vec::new());
            assert!(Arc::ptr_eq(&of_b, &searches.dns[0]));
            assert_eq!(known(&searches), [2]);
            searches.follow(vec![search("a", &first), search("b", &second)], |_| Vec::new());
            assert_eq!(known(&searches), [2, 9]);
            searches.follow(vec![search("a", &second), search("b", &second)], |_| Vec::new());
            assert_eq!(known(&searches), [9], "the table was changed");
        });
    }
}
