//! The difference between two configs, key by key.

use super::key::{Class, Key};
use super::text::Written;
use super::upstream::{BY_HAND, OF_SERVER};
use super::{Config, Server, Upstream, UpstreamKind};

/// A key whose value differs, or a section that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The section, with its name: `listener.edge`, or `upstream.app.servers.b` for a server.
    pub section: String,
    /// The key; `None`: the section as a whole comes or goes.
    pub key: Option<&'static str>,
    /// The value as a file has it, of what goes its bind, servers or address; `None`: there is
    /// none.
    pub before: Option<String>,
    /// The value as a file has it, of what comes its bind, servers or address; `None`: there is
    /// none.
    pub after: Option<String>,
    /// When the change takes effect.
    pub class: Class,
}

impl Difference {
    /// The dotted path of what differs.
    pub fn path(&self) -> String {
        match self.key {
            Some(key) => format!("{}.{key}", self.section),
            None => self.section.clone(),
        }
    }
}

impl Config {
    /// What differs when `after` takes the place of this config, in the order of the manual: what
    /// goes stands behind what comes and what stays. The order of listeners, upstreams and servers
    /// is no difference.
    pub fn differences(&self, after: &Config) -> Vec<Difference> {
        let (old, new) = (self.sections(), after.sections());
        let mut all = Vec::new();
        for section in &new {
            match old.iter().find(|one| one.path == section.path) {
                Some(before) => of_section(before, section, &mut all),
                None => all.push(coming(section.path.clone(), essence(section))),
            }
            let path = &section.path;
            if let (Some(before), Some(after)) = (self.upstream_at(path), after.upstream_at(path)) {
                of_servers(path, servers_of(before), servers_of(after), &mut all);
            }
        }
        let goes = |one: &&Written| new.iter().all(|section| section.path != one.path);
        all.extend(old.iter().filter(goes).map(|one| going(one.path.clone(), essence(one))));
        all
    }

    /// Takes the keys of a class as they are in `other`, in every section that both have.
    pub fn keep(&mut self, other: &Config, class: Class) {
        for listener in &mut self.listeners {
            if let Some(old) = other.listeners.iter().find(|old| old.name == listener.name) {
                listener.keep(old, class);
                listener.sockets.keep(&old.sockets, class);
                listener.timeouts.keep(&old.timeouts, class);
            }
        }
        for upstream in &mut self.upstreams {
            if let Some(old) = other.upstreams.iter().find(|old| old.name == upstream.name) {
                upstream.keep(old, class);
            }
        }
        self.gateway.keep(&other.gateway, class);
        self.ring.keep(&other.ring, class);
        self.admin.keep(&other.admin, class);
        self.status.keep(&other.status, class);
        self.log.keep(&other.log, class);
        self.access_log.keep(&other.access_log, class);
    }

    fn upstream_at(&self, path: &str) -> Option<&Upstream> {
        let name = path.strip_prefix("upstream.")?;
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }
}

/// What a listener binds, or who answers for an upstream: what tells one from another of its kind.
fn essence(section: &Written) -> Option<String> {
    let is_essence = |name: &str| ["bind", "servers", "builtin"].contains(&name);
    let found = section.values.iter().find(|(key, _)| is_essence(key.name));
    found.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn coming(section: String, after: Option<String>) -> Difference {
    Difference { section, key: None, before: None, after, class: Class::Live }
}

fn going(section: String, before: Option<String>) -> Difference {
    Difference { section, key: None, before, after: None, class: Class::Live }
}

/// The difference in a section that is in both configs, without its servers.
fn of_section(before: &Written, after: &Written, all: &mut Vec<Difference>) {
    let value = |of: &Written, key: &Key| {
        let found = of.values.iter().find(|(one, _)| one.name == key.name);
        found.map(|(_, value)| value.clone())
    };
    let is_gone = |key: &&'static Key| value(after, key).is_none();
    let stays = after.values.iter().map(|(key, _)| *key);
    let gone = before.values.iter().map(|(key, _)| *key).filter(is_gone);
    for key in stays.chain(gone).filter(|key| key.name != "servers") {
        let (was, is) = (value(before, key), value(after, key));
        if was != is {
            all.push(of_key(&after.path, key, was, is));
        }
    }
}

fn of_key(
    section: &str,
    key: &'static Key,
    before: Option<String>,
    after: Option<String>,
) -> Difference {
    let section = section.to_owned();
    Difference { section, key: Some(key.name), before, after, class: key.class }
}

fn servers_of(upstream: &Upstream) -> &[Server] {
    match &upstream.kind {
        UpstreamKind::Servers { servers, .. } => servers,
        UpstreamKind::Builtin(_) => &[],
    }
}

/// The difference among the servers of an upstream that is in both configs.
fn of_servers(upstream: &str, before: &[Server], after: &[Server], all: &mut Vec<Difference>) {
    let path = |server: &Server| format!("{upstream}.servers.{}", server.name);
    let named = |list: &[Server], name: &str| list.iter().find(|one| one.name == name).cloned();
    for server in after {
        let address = server.address.to_string();
        let Some(old) = named(before, &server.name) else {
            all.push(Difference {
                class: class_of("servers"),
                ..coming(path(server), Some(address))
            });
            continue;
        };
        let mut differs = |name: &str, was: String, is: String| {
            if was != is {
                let key = OF_SERVER.iter().find(|key| key.name == name).expect("a declared key");
                all.push(of_key(&path(server), key, Some(was), Some(is)));
            }
        };
        differs("address", old.address.to_string(), address);
        differs("weight", old.weight.to_string(), server.weight.to_string());
    }
    for server in before.iter().filter(|server| named(after, &server.name).is_none()) {
        let address = server.address.to_string();
        all.push(Difference { class: class_of("servers"), ..going(path(server), Some(address)) });
    }
}

/// The class of a key of an upstream.
fn class_of(name: &str) -> Class {
    BY_HAND.iter().find(|key| key.name == name).expect("a declared key").class
}
