//! The addresses of the hosts in a set.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::bad::Bad;
use super::dns::Dns;
use super::host::Host;
use super::pace::Pace;
use super::{ServerSink, servers_of};
use crate::config::{Named, Server, ServerSet};

/// Between two sets of servers: answers of many hosts that come together are one change.
const PAUSE: Duration = Duration::from_millis(100);

/// Says the servers of the set whenever they are others; never ends. A host that does not answer
/// has the addresses that it has among the servers of `before`.
pub(super) async fn follow(
    mut sets: watch::Receiver<Option<ServerSet>>,
    dns: Arc<Dns>,
    before: Vec<Server>,
    sink: ServerSink,
) {
    let (mut names, mut answers) = Names::new(dns, before, sink);
    loop {
        let mut is_news = tokio::select! {
            changed = sets.changed() => {
                if changed.is_err() {
                    return;
                }
                let set = sets.borrow_and_update().clone();
                names.adopt(set.unwrap_or_default());
                true
            }
            Some(learned) = answers.recv() => names.take(learned),
        };
        while let Ok(learned) = answers.try_recv() {
            is_news |= names.take(learned);
        }
        if is_news && names.tell() {
            sleep(PAUSE).await;
        }
    }
}

/// The set, and what is known of its hosts.
struct Names {
    dns: Arc<Dns>,
    before: Vec<Server>,
    set: ServerSet,
    /// By the hosts of the set.
    hosts: BTreeMap<String, Asked>,
    words: UnboundedSender<Learned>,
    told: Vec<Server>,
    sink: ServerSink,
}

/// A host that is asked for as long as this lives.
struct Asked {
    task: JoinHandle<()>,
    /// `None`: no answer came yet, good or not.
    last: Option<Last>,
}

/// What is known of a host after an answer.
#[derive(PartialEq, Eq)]
struct Last {
    addresses: Vec<IpAddr>,
    is_known: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer came.
struct Learned {
    host: String,
    last: Last,
    bad: Option<Bad>,
}

impl Names {
    fn new(
        dns: Arc<Dns>,
        before: Vec<Server>,
        sink: ServerSink,
    ) -> (Names, UnboundedReceiver<Learned>) {
        let (words, answers) = unbounded_channel();
        let (set, hosts, told) = (ServerSet::default(), BTreeMap::new(), Vec::new());
        (Names { dns, before, set, hosts, words, told, sink }, answers)
    }

    /// Asks for the hosts of this set and for no others. One that stays is not asked again.
    fn adopt(&mut self, set: ServerSet) {
        let mut before = std::mem::take(&mut self.hosts);
        for named in &set.names {
            let asked = before.remove(&named.host);
            if let Some(asked) = asked {
                self.hosts.insert(named.host.clone(), asked);
            } else if !self.hosts.contains_key(&named.host) {
                self.hosts.insert(named.host.clone(), self.begin(named));
            }
        }
        self.sink.speaker.health.forget(|of| !before.contains_key(of));
        self.set = set;
    }

    fn begin(&self, named: &Named) -> Asked {
        let ips = self.before.iter().map(|server| (server.address.ip(), &server.name));
        let ips = ips.filter(|(ip, name)| named.server(*ip).name == **name).map(|(ip, _)| ip);
        let known = Host::before(ips.collect());
        let task = ask(named.host.clone(), known, self.dns.clone(), self.words.clone());
        Asked { task: spawn_local(task), last: None }
    }

    /// Takes an answer; whether it says something else than the one before.
    fn take(&mut self, learned: Learned) -> bool {
        let Learned { host, last, bad } = learned;
        // The set may have changed while the answer was on its way.
        let Some(asked) = self.hosts.get_mut(&host) else { return false };
        let is_news = asked.last.as_ref() != Some(&last);
        asked.last = Some(last);
        match bad {
            None => self.sink.speaker.good(&host),
            Some(bad) => self.sink.speaker.bad(&host, &bad),
        }
        is_news
    }

    /// Tells the servers if they are others, and never none; whether they were told. While the
    /// first answer of a host is waited for, the servers before stay whole.
    fn tell(&mut self) -> bool {
        let mut lasts = self.hosts.values().map(|asked| asked.last.as_ref());
        if lasts.any(|last| last.is_none()) {
            return false;
        }
        let mut lasts = self.hosts.values().filter_map(|asked| asked.last.as_ref());
        let is_known = !self.set.servers.is_empty() || lasts.any(|last| last.is_known);
        let addresses = |named: &Named| {
            let last = self.hosts[&named.host].last.as_ref();
            last.map_or_else(Vec::new, |last| last.addresses.clone())
        };
        let servers = servers_of(&self.set, addresses);
        let is_news = is_known && !servers.is_empty() && servers != self.told;
        if is_news {
            self.told.clone_from(&servers);
            self.sink.found(servers);
        }
        is_news
    }
}

/// Asks for a host again and again, and says what is known of it after each answer.
async fn ask(host: String, mut known: Host, dns: Arc<Dns>, words: UnboundedSender<Learned>) {
    let mut pace = Pace::default();
    loop {
        let taken = known.take(dns.addresses(&host).await);
        let pause = pace.after(&taken, &dns.resolver);
        let last = Last { addresses: known.addresses(), is_known: known.is_known() };
        if words.send(Learned { host: host.clone(), last, bad: taken.err() }).is_err() {
            return;
        }
        sleep(pause).await;
    }
}
