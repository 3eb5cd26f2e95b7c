//! What the control plane takes its readings from, as the start knows it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nix::sys::stat::fstat;

use super::host::Host;
use super::sockets::Passive;
use crate::base::Clock;
use crate::budget::Budget;
use crate::config::{self, Config, Upstream};
use crate::control::{Books, ListenerBook, SteeredListener, Steering, UpstreamBook, WorkerHandle};
use crate::host::facts::{Facts, Given};
use crate::host::usage::ProcessStart;
use crate::ring::PassiveSocket;
use crate::topology::{Topology, UpstreamKind};
use crate::upstream::Servers;

/// Opens the books of a gateway whose workers turn.
pub(super) fn open(
    config: &Config,
    host: &Host,
    clock: Clock,
    budget: Arc<Budget>,
    sockets: &[Passive],
    workers: Vec<WorkerHandle>,
    steering: Steering,
) -> Books {
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
        let own = || sockets.iter().filter(|passive| passive.listener == index);
        let addresses: BTreeSet<_> = own().map(|passive| passive.address).collect();
        ListenerBook {
            name: listener.name.clone(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            limit: listener.max_connections,
            sockets: queues(own().map(|passive| passive.socket.clone())),
        }
    });
    Books {
        clock,
        workers: workers.into(),
        budget,
        bound_by: host.bound_by.to_owned(),
        config: config.clone(),
        given: given(&host.facts),
        config_sha256: config.file_sha256.clone(),
        listeners: listeners.collect(),
        upstreams: config.upstreams.iter().map(upstream).collect(),
        steering,
        access_log: None,
        birth: ProcessStart::read(Path::new("/")),
    }
}

/// What facts were read with, to read them again.
fn given(facts: &Facts) -> Given {
    let memlock_bytes = facts.process.memlock_bytes.unwrap_or(u64::MAX);
    Given {
        files: (facts.process.files_soft, facts.process.files_hard),
        memlock_bytes: (memlock_bytes, memlock_bytes),
        locked_elsewhere_bytes: facts.process.locked_elsewhere_bytes,
        kernel: facts.kernel.clone(),
    }
}

/// Each queue once: workers that share an inherited socket have a descriptor each for it.
fn queues(sockets: impl Iterator<Item = PassiveSocket>) -> Vec<PassiveSocket> {
    let mut known = BTreeSet::new();
    let is_new = |socket: &PassiveSocket| match fstat(socket) {
        Ok(found) => known.insert(found.st_ino),
        Err(_) => true,
    };
    sockets.filter(is_new).collect()
}

fn upstream(upstream: &Upstream) -> UpstreamBook {
    let servers = match &upstream.kind {
        config::UpstreamKind::Servers { servers, .. } => {
            servers.iter().map(|one| (one.name.clone(), one.address.to_string())).collect()
        }
        config::UpstreamKind::Builtin(_) => Vec::new(),
    };
    UpstreamBook { name: upstream.name.clone(), servers }
}

/// What operators may change of what there is.
pub(super) fn steering(topology: &Topology, workers: usize) -> Steering {
    let listeners = topology.listeners.iter().map(|(id, listener)| {
        let gates = topology.gates.values().filter(|gate| gate.listener == id).count();
        // Every worker has a gate for each socket.
        SteeredListener::new((gates * workers) as u32, listener.still.arc())
    });
    let upstreams = topology.upstreams.values().map(|upstream| match &upstream.kind {
        UpstreamKind::Servers { balance, pool, .. } => Some(Servers::over(*balance, pool.arc())),
        UpstreamKind::Builtin(_) => None,
    });
    Steering::new(listeners.collect(), upstreams.collect())
}
