//! What is handed over beside connections: names, passive sockets, locks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::legacy::standings;
use crate::api::handover::{self, FoundSet, RouteName, ServerName, Things};
use crate::config::{ConfigSource, Place, ServerSet};
use crate::control::ground::Passive;
use crate::control::reopen::Handed;
use crate::control::state::{ControlState, View};
use crate::courier::Flags;

/// What is said, and the descriptors that go with it.
pub(super) struct Bundle {
    pub(super) things: Things,
    passive: Vec<Passive>,
    endpoints: Handed,
}

impl Bundle {
    /// What this gateway has, for a successor with this config.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn of(state: &ControlState, config: &ConfigSource) -> io::Result<Bundle> {
        let passive = state.ground().passive()?;
        let endpoints = state.reopen().map(|open| open.share()).transpose()?.unwrap_or_default();
        let view = state.view();
        let (routes, servers) = names(&view);
        let said = |one: &Passive| handover::Passive {
            listener: one.listener.clone(),
            asked: one.asked,
            address: one.address,
            inherited: one.inherited,
            queues: one.sockets.len(),
            lock: one.lock.as_ref().map(|(path, _)| path.clone()),
        };
        let paused = view.paused().map(|id| view.topology.listeners[id].name.clone());
        let things = Things {
            routes,
            servers,
            passive: passive.iter().map(said).collect(),
            status: endpoints.status.as_ref().map(|(address, _)| *address),
            admin: endpoints.admin.as_ref().map(|(path, _)| path.clone()),
            standing: standings(state),
            paused: paused.collect(),
            sets: sets(state),
            config_text: match &config.place {
                Place::Input(text) => Some(text.to_string()),
                Place::Embedded | Place::Default | Place::File(_) => None,
            },
            ..Things::default()
        };
        let mut bundle = Bundle { things, passive, endpoints };
        // Those of the flags are one more.
        bundle.things.descriptors = bundle.own().count() + 1;
        Ok(bundle)
    }

    fn own(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let passive = self.passive.iter().flat_map(|one| {
            let lock = one.lock.as_ref().map(|(_, file)| file.as_fd());
            one.sockets.iter().map(|socket| socket.as_fd()).chain(lock)
        });
        let status = self.endpoints.status.as_ref().map(|(_, socket)| socket.as_fd());
        let admin = self.endpoints.admin.as_ref().map(|(_, lock)| lock.as_fd());
        passive.chain(status).chain(admin)
    }

    /// All descriptors, in the order in which they are said.
    pub(super) fn descriptors<'a>(&'a self, flags: &'a Flags) -> Vec<BorrowedFd<'a>> {
        self.own().chain([flags.as_fd()]).collect()
    }
}

/// The sets of servers that the config file does not say.
fn sets(state: &ControlState) -> Vec<FoundSet> {
    let sets = state.sources().present.sets();
    let said = |(is_by_hand, upstream, revision, set): (bool, &str, u64, ServerSet)| FoundSet {
        upstream: upstream.to_owned(),
        is_by_hand,
        revision,
        text: set.written(revision),
    };
    sets.all().map(said).collect()
}

/// What the numbers of routes and of servers mean.
fn names(view: &View) -> (Vec<RouteName>, Vec<ServerName>) {
    let topology = &view.topology;
    let upstream = |id| topology.upstreams[id].name.clone();
    let routes = topology.routes.iter().map(|(id, route)| RouteName {
        number: id.0,
        listener: topology.listeners[route.listener].name.clone(),
        upstream: upstream(route.upstream),
    });
    let servers = topology.servers.iter().map(|(id, server)| ServerName {
        number: id.0,
        upstream: upstream(server.upstream),
        name: server.name.clone(),
        address: Some(server.address),
    });
    (routes.collect(), servers.collect())
}
