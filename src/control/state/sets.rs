//! The servers of each upstream as they are now: those of the config file, those that an operator
//! has put in their place, those that a search has found.

use std::collections::BTreeMap;

use crate::config::{Config, Origin, Server, ServerSet, Upstream, UpstreamKind};

/// The sets of servers where the config file does not have the last word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// By upstream: what an operator has put in place of the file's list.
    by_hand: BTreeMap<String, ServerSet>,
    /// By upstream: what a search has found last.
    found: BTreeMap<String, Vec<Server>>,
    /// By upstream: how often its list became another one.
    changes: BTreeMap<String, u64>,
}

impl Sets {
    /// What a config says, with the lists of operators in place of the file's.
    pub fn listed(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for upstream in &mut config.upstreams {
            let by_hand = self.by_hand.get(&upstream.name);
            if let (UpstreamKind::Servers { set, origin: Origin::List, .. }, Some(by_hand)) =
                (&mut upstream.kind, by_hand)
            {
                set.clone_from(by_hand);
            }
        }
        config
    }

    /// What the topology is made of: every server at its address, those that were found among them.
    pub fn in_force(&self, config: &Config) -> Config {
        let mut config = self.listed(config);
        let binds: Vec<_> = config.listeners.iter().flat_map(|one| one.bind.clone()).collect();
        // The gateway would be a client of its own.
        let is_own = |server: &Server| binds.iter().any(|it| Config::reaches(server.address, *it));
        for upstream in config.upstreams.iter_mut().filter(|one| one.is_searched()) {
            let found = self.found.get(&upstream.name).into_iter().flatten();
            let servers = found.filter(|server| !is_own(server)).cloned().collect();
            if let UpstreamKind::Servers { set, .. } = &mut upstream.kind {
                *set = ServerSet::of(servers);
            }
        }
        config
    }

    /// The revision of an upstream's list: another one with each change of it.
    pub fn revision(&self, upstream: &str) -> u64 {
        1 + self.changes.get(upstream).copied().unwrap_or(0)
    }

    /// Whether an operator's list is in place of the file's.
    pub fn is_by_hand(&self, upstream: &str) -> bool {
        self.by_hand.contains_key(upstream)
    }

    /// An operator puts this set in place of the file's list of an upstream.
    pub fn put(&mut self, config: &Config, upstream: &str, set: ServerSet) {
        let before = self.in_force(config);
        if config.upstream(upstream).and_then(Upstream::set) == Some(&set) {
            self.by_hand.remove(upstream);
        } else {
            self.by_hand.insert(upstream.to_owned(), set);
        }
        self.note_change(upstream);
        self.stay(&before, config);
    }

    /// The servers that a search of this upstream has found last; `None`: it has not answered yet.
    pub fn found(&self, upstream: &str) -> Option<&[Server]> {
        self.found.get(upstream).map(Vec::as_slice)
    }

    /// A search has found these servers; whether that is news.
    pub fn find(&mut self, upstream: &str, servers: Vec<Server>) -> bool {
        let before = self.found.insert(upstream.to_owned(), servers);
        before.as_ref() != self.found.get(upstream)
    }

    /// The file has become another one. Where its list of an upstream is another, or is asked for
    /// by `reset`, the file has its word again.
    pub fn follow(&mut self, before: &Config, after: &Config, reset: bool) {
        let in_force = self.in_force(before);
        for Upstream { name, kind, .. } in &before.upstreams {
            let is_other = match (kind, after.upstream(name).map(|one| &one.kind)) {
                (
                    UpstreamKind::Servers { set, origin, .. },
                    Some(UpstreamKind::Servers { set: set_after, origin: origin_after, .. }),
                ) => (set, origin) != (set_after, origin_after),
                _ => true,
            };
            if is_other || reset && self.is_by_hand(name) {
                self.by_hand.remove(name);
                self.note_change(name);
            }
        }
        self.stay(&in_force, after);
    }

    /// Servers that are to be found out from now on stay those that were in force, until an answer
    /// has come.
    fn stay(&mut self, in_force: &Config, after: &Config) {
        let listed = self.listed(after);
        let is_searched = |name: &str| listed.upstream(name).is_some_and(Upstream::is_searched);
        self.found.retain(|name, _| is_searched(name));
        for upstream in listed.upstreams.iter().filter(|one| one.is_searched()) {
            let name = &upstream.name;
            if let Some(set) = in_force.upstream(name).and_then(Upstream::set)
                && !self.found.contains_key(name)
            {
                self.found.insert(name.clone(), set.servers.clone());
            }
        }
    }

    /// The sets as a successor takes them: whether an operator put it, its upstream, its revision.
    pub fn all(&self) -> impl Iterator<Item = (bool, &str, u64, ServerSet)> {
        let by_hand = self.by_hand.iter().map(|(name, set)| (true, name.as_str(), set.clone()));
        let found = self.found.iter();
        let found = found.map(|(name, set)| (false, name.as_str(), ServerSet::of(set.clone())));
        let all = by_hand.chain(found);
        all.map(|(by_hand, name, set)| (by_hand, name, self.revision(name), set))
    }

    /// Takes a predecessor's set, as long as the config leaves a place for it. Gives what a search
    /// had found in its place, if that is another.
    pub fn resume(
        &mut self,
        config: &Config,
        (is_by_hand, upstream, revision): (bool, &str, u64),
        set: ServerSet,
    ) -> Option<Vec<Server>> {
        let kind = config.upstream(upstream).map(|one| &one.kind);
        let Some(UpstreamKind::Servers { origin, .. }) = kind else { return None };
        if is_by_hand {
            if *origin == Origin::List {
                self.by_hand.insert(upstream.to_owned(), set);
                self.changes.insert(upstream.to_owned(), revision.saturating_sub(1));
            }
            return None;
        }
        let listed = self.listed(config);
        if !listed.upstream(upstream).is_some_and(Upstream::is_searched) {
            return None;
        }
        let own = self.found.insert(upstream.to_owned(), set.servers.clone());
        own.filter(|own| !own.is_empty() && *own != set.servers)
    }

    fn note_change(&mut self, upstream: &str) {
        *self.changes.entry(upstream.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(servers: &str) -> Config {
        let text = format!(
            "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
             [upstream.app]\n{servers}\n"
        );
        Config::parse(&text, "test.toml", &|_| None).expect("a config")
    }

    fn set(text: &str) -> ServerSet {
        ServerSet::parse(&format!("servers = {text}"), "a set").expect("a set").0
    }

    fn names(sets: &Sets, config: &Config) -> Vec<String> {
        let in_force = sets.in_force(config);
        let set = in_force.upstreams[0].set().expect("servers");
        set.servers.iter().map(|server| server.name.clone()).collect()
    }

    const A: &str = "servers = [\"10.0.0.1:1\"]";

    #[test]
    fn an_operators_list_stays_until_the_files_own_is_another() {
        let (mut sets, before) = (Sets::default(), config(A));
        assert_eq!(sets.revision("app"), 1);
        sets.put(&before, "app", set("[\"10.0.0.2:1\"]"));
        assert_eq!((names(&sets, &before), sets.revision("app")), (vec!["10.0.0.2:1".into()], 2));
        let same = config(&format!("{A}\nconnect_timeout = \"1s\""));
        sets.follow(&before, &same, false);
        assert!(sets.is_by_hand("app"), "the file's list is what it was");
        let mut reset = sets.clone();
        reset.follow(&same, &same, true);
        assert_eq!((names(&reset, &same), reset.revision("app")), (vec!["10.0.0.1:1".into()], 3));
        sets.follow(&same, &config("servers = [\"10.0.0.3:1\"]"), false);
        assert!(!sets.is_by_hand("app"));
    }

    #[test]
    fn what_was_found_is_used_but_for_what_leads_back() {
        let mut sets = Sets::default();
        let config =
            config("servers = [\"10.0.0.1:1\", \"db:7000\"]\nsource_addresses = [\"10.0.0.9\"]");
        assert_eq!(names(&sets, &config), [] as [String; 0], "nobody has answered yet");
        let found = set("[\"10.0.0.1:1\", \"127.0.0.1:7000\", \"10.0.0.2:7000\"]").servers;
        assert!(sets.find("app", found.clone()));
        assert!(!sets.find("app", found));
        assert_eq!(names(&sets, &config), ["10.0.0.1:1", "10.0.0.2:7000"]);
    }

    #[test]
    fn until_the_first_answer_servers_stay_what_they_were() {
        let (mut sets, list) = (Sets::default(), config(A));
        let named = config("servers = [\"10.0.0.3:1\", \"db:1\"]");
        let file = config("servers_from = { file = \"/app.servers\" }");
        sets.follow(&list, &named, false);
        assert_eq!(names(&sets, &named), ["10.0.0.1:1"], "nobody is without servers for a moment");
        sets.find("app", set("[\"10.0.0.3:1\", \"10.0.0.4:1\"]").servers);
        sets.follow(&named, &file, false);
        assert_eq!(names(&sets, &file), ["10.0.0.3:1", "10.0.0.4:1"], "by another origin, too");
        sets.follow(&file, &list, false);
        assert_eq!(names(&sets, &list), ["10.0.0.1:1"]);
        assert_eq!(sets.found("app"), None, "what was found is forgotten");
        sets.put(&list, "app", set("[\"10.0.0.1:1\", \"db:1\"]"));
        assert_eq!(names(&sets, &list), ["10.0.0.1:1"]);
    }
}
