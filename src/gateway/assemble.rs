//! What a gateway of this config and these sockets is, before anything is started: pure.

use std::sync::Arc;

use super::sockets::Passive;
use crate::base::{Id, WorkerId};
use crate::config::{Config, Level};
use crate::topology::{Asked, GateSpec, Register, Topology};
use crate::worker::{Plan, QuietPlan};

/// Connections that a worker makes quiet in one turn.
const QUIETED_PER_TURN: u32 = 100;

/// The topology that the config asks for; its gates have the ids of their places in `sockets`.
pub(super) fn topology(config: &Config, sockets: &[Passive]) -> Topology {
    let gate = |passive: &Passive| GateSpec {
        listener: config.listeners[passive.listener].name.clone(),
        owner: WorkerId::at(passive.owner),
        address: passive.address,
        inherited: passive.inherited,
    };
    let gates: Vec<GateSpec> = sockets.iter().map(gate).collect();
    let asked = Asked { listeners: &config.listeners, upstreams: &config.upstreams, gates: &gates };
    Register::default().next(&Topology::default(), asked)
}

/// The plan of one worker.
pub(super) fn plan(config: &Config, topology: &Arc<Topology>, worker: usize) -> Plan {
    Plan {
        worker: WorkerId::at(worker),
        topology: topology.clone(),
        logged: config.log.level >= Level::Debug,
        access: None,
        quiet: QuietPlan { after: config.ring.quiet_after, per_turn: QUIETED_PER_TURN },
    }
}
