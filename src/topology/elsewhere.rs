//! Connections that count here while another process still has them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Listener, Server, Topology};
use crate::base::{ListenerId, RouteId, ServerId};
use crate::budget::Budget;

/// So many connections, and what they count for beside the budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Connections.
    pub all: u32,
    /// By route: each counts for a listener.
    pub by_route: BTreeMap<RouteId, u32>,
    /// By server.
    pub by_server: BTreeMap<ServerId, u32>,
}

impl Left {
    /// With these as well.
    pub fn join(&mut self, others: &Left) {
        self.all += others.all;
        for (route, count) in &others.by_route {
            *self.by_route.entry(*route).or_default() += count;
        }
        for (server, count) in &others.by_server {
            *self.by_server.entry(*server).or_default() += count;
        }
    }
}

/// The connections of a predecessor that count for the limits of this process: those of the
/// gateway, of listeners and of servers.
#[derive(Debug, Default)]
pub struct Elsewhere {
    all: u32,
    listeners: HashMap<ListenerId, (Arc<Listener>, u32)>,
    servers: HashMap<ServerId, (Arc<Server>, u32)>,
}

impl Elsewhere {
    /// How many are left there.
    pub fn all(&self) -> u32 {
        self.all
    }

    /// Counts those that are left, whatever the limits. Before it none are.
    pub fn begin(&mut self, left: &Left, budget: &Budget, topology: &Topology) {
        budget.take_over(left.all);
        self.all = left.all;
        for (listener, count) in by_listener(left, topology) {
            let kept = topology.listeners[listener].clone();
            if let Some(quota) = &kept.quota {
                quota.take_over(count);
                self.listeners.insert(listener, (kept, count));
            }
        }
        for (server, count) in &left.by_server {
            let Some(kept) = topology.servers.get(*server) else { continue };
            (0..*count).for_each(|_| kept.standing.connections().take_over());
            self.servers.insert(*server, (kept.clone(), *count));
        }
    }

    /// Fewer are left: the permits of the others are free. A count that has grown stays.
    pub fn shrink(&mut self, left: &Left, budget: &Budget, topology: &Topology) {
        let now = by_listener(left, topology);
        for (listener, (kept, count)) in &mut self.listeners {
            let gone = count.saturating_sub(now.get(listener).copied().unwrap_or(0));
            *count -= gone;
            if let Some(quota) = &kept.quota {
                give_up(quota, gone);
            }
        }
        for (server, (kept, count)) in &mut self.servers {
            let gone = count.saturating_sub(left.by_server.get(server).copied().unwrap_or(0));
            *count -= gone;
            (0..gone).for_each(|_| kept.standing.connections().leave());
        }
        let gone = self.all.saturating_sub(left.all);
        self.all -= gone;
        give_up(budget, gone);
    }
}

fn by_listener(left: &Left, topology: &Topology) -> HashMap<ListenerId, u32> {
    let mut counts = HashMap::new();
    for (route, count) in &left.by_route {
        if let Some(route) = topology.routes.get(*route) {
            *counts.entry(route.listener).or_default() += count;
        }
    }
    counts
}

fn give_up(budget: &Budget, connections: u32) {
    (0..connections).for_each(|_| budget.leave());
    budget.give_back(connections);
}
