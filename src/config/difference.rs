//! The difference between two configs, key by key.

use std::collections::HashMap;

use super::key::{Class, Key};
use super::server_set::OF_SERVER;
use super::text::Written;
use super::upstream::BY_HAND;
use super::{Config, ServerSet, Terms};

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
            if let Some(name) = path.strip_prefix("upstream.")
                && let (Some(before), Some(after)) = (self.upstream(name), after.upstream(name))
            {
                let none = ServerSet::default();
                let [before, after] = [before, after].map(|one| one.set().unwrap_or(&none));
                of_servers(path, before, after, &mut all);
            }
        }
        let goes = |one: &&Written| new.iter().all(|section| section.path != one.path);
        all.extend(old.iter().filter(goes).map(|one| going(one.path.clone(), essence(one))));
        all
    }

    /// Takes the keys of a class as they are in `other`, in every section that both have.
    pub fn keep(&mut self, other: &Config, class: Class) {
        for listener in &mut self.listeners {
            if let Some(old) = other.listener(&listener.name) {
                listener.keep(old, class);
                if let (Some(limits), Some(old)) = (&mut listener.per_source, &old.per_source) {
                    limits.keep(old, class);
                }
                if let (Some(tls), Some(old)) = (&mut listener.tls, &old.tls) {
                    tls.keep(old, class);
                }
                listener.preamble.keep(&old.preamble, class);
                listener.sniffing.keep(&old.sniffing, class);
                listener.access.keep(&old.access, class);
                listener.sockets.keep(&old.sockets, class);
                listener.sockets.guards.keep(&old.sockets.guards, class);
                listener.timeouts.keep(&old.timeouts, class);
            }
        }
        for upstream in &mut self.upstreams {
            if let Some(old) = other.upstream(&upstream.name) {
                upstream.keep(old, class);
                if let (Some(check), Some(old)) = (&mut upstream.check, &old.check) {
                    check.keep(old, class);
                }
                if let (Some(tls), Some(old)) = (&mut upstream.tls, &old.tls) {
                    tls.keep(old, class);
                }
                upstream.guards.keep(&old.guards, class);
                upstream.forwarding.keep(&old.forwarding, class);
            }
        }
        self.gateway.keep(&other.gateway, class);
        self.ring.keep(&other.ring, class);
        self.resolver.keep(&other.resolver, class);
        self.admin.keep(&other.admin, class);
        self.status.keep(&other.status, class);
        self.log.keep(&other.log, class);
        self.access_log.keep(&other.access_log, class);
    }
}

/// What a listener binds, or who answers for an upstream: what tells one from another of its kind.
fn essence(section: &Written) -> Option<String> {
    let is_essence =
        |name: &str| ["bind", "servers", "srv", "servers_from", "builtin"].contains(&name);
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

/// The difference among the servers of an upstream that is in both configs.
fn of_servers(path: &str, before: &ServerSet, after: &ServerSet, all: &mut Vec<Difference>) {
    let section = |name: &str| format!("{path}.servers.{name}");
    let by_name = |set: &ServerSet| -> HashMap<String, (String, Terms)> {
        set.lines().map(|(name, at, terms)| (name.to_owned(), (at, terms))).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let class = class_of("servers");
    for (name, address, terms) in after.lines() {
        let Some((old_address, old_terms)) = old.get(name) else {
            all.push(Difference { class, ..coming(section(name), Some(address)) });
            continue;
        };
        let mut differs = |key: &str, was: String, is: String| {
            if was != is {
                let key = OF_SERVER.iter().find(|one| one.name == key).expect("a declared key");
                all.push(of_key(&section(name), key, Some(was), Some(is)));
            }
        };
        differs("address", old_address.clone(), address);
        differs("weight", old_terms.weight.to_string(), terms.weight.to_string());
        let most = |terms: Terms| terms.max_connections.map_or("off".into(), |it| it.to_string());
        differs("max_connections", most(*old_terms), most(terms));
        differs("backup", old_terms.backup.to_string(), terms.backup.to_string());
    }
    for (name, address, _) in before.lines().filter(|(name, ..)| !new.contains_key(*name)) {
        all.push(Difference { class, ..going(section(name), Some(address)) });
    }
}

/// The class of a key of an upstream.
fn class_of(name: &str) -> Class {
    BY_HAND.iter().find(|key| key.name == name).expect("a declared key").class
}
