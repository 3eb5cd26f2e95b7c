//! The difference between two topologies, and its application.

use std::sync::Arc;

use super::{Gate, Listener, Route, Server, Topology, Upstream};
use crate::base::{GateId, Id, IdMap, ListenerId, RouteId, ServerId, UpstreamId};

/// One thing that comes, goes or becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit<I, T> {
    /// Its id.
    pub id: I,
    /// Its old state; `None`: it was not there.
    pub before: Option<Arc<T>>,
    /// Its new state; `None`: it is gone.
    pub after: Option<Arc<T>>,
}

/// A difference between two topologies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of a listener.
    Listener(Edit<ListenerId, Listener>),
    /// Of a gate.
    Gate(Edit<GateId, Gate>),
    /// Of a route.
    Route(Edit<RouteId, Route>),
    /// Of an upstream.
    Upstream(Edit<UpstreamId, Upstream>),
    /// Of a server.
    Server(Edit<ServerId, Server>),
}

/// The changes from `old` to `new`. Each thing occurs at most once, so the order does not matter.
pub fn diff(old: &Topology, new: &Topology) -> Vec<Change> {
    let mut changes = Vec::new();
    edits(&old.listeners, &new.listeners, Change::Listener, &mut changes);
    edits(&old.gates, &new.gates, Change::Gate, &mut changes);
    edits(&old.routes, &new.routes, Change::Route, &mut changes);
    edits(&old.upstreams, &new.upstreams, Change::Upstream, &mut changes);
    edits(&old.servers, &new.servers, Change::Server, &mut changes);
    changes
}

/// Applies `changes` to `old`.
pub fn apply(old: &Topology, changes: impl IntoIterator<Item = Change>) -> Topology {
    let mut new = old.clone();
    for change in changes {
        match change {
            Change::Listener(edit) => edit.carry_out(&mut new.listeners),
            Change::Gate(edit) => edit.carry_out(&mut new.gates),
            Change::Route(edit) => edit.carry_out(&mut new.routes),
            Change::Upstream(edit) => edit.carry_out(&mut new.upstreams),
            Change::Server(edit) => edit.carry_out(&mut new.servers),
        }
    }
    new
}

impl<I: Id, T> Edit<I, T> {
    fn carry_out(self, things: &mut IdMap<I, Arc<T>>) {
        match self.after {
            Some(after) => things.insert(self.id, after),
            None => things.remove(self.id),
        };
    }
}

fn edits<I: Id + PartialEq, T: PartialEq>(
    old: &IdMap<I, Arc<T>>,
    new: &IdMap<I, Arc<T>>,
    change: impl Fn(Edit<I, T>) -> Change,
    changes: &mut Vec<Change>,
) {
    for (id, before) in old.iter() {
        let after = new.get(id);
        if after.is_none_or(|after| after != before) {
            changes.push(change(Edit { id, before: Some(before.clone()), after: after.cloned() }));
        }
    }
    for (id, after) in new.iter().filter(|(id, _)| old.get(*id).is_none()) {
        changes.push(change(Edit { id, before: None, after: Some(after.clone()) }));
    }
}
