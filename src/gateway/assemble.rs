//! What a gateway of this config and these sockets is, before anything is started: pure.

use std::sync::Arc;

use super::sockets::Passive;
use crate::base::{GateId, Id, IdMap, WorkerId};
use crate::config::{Config, Level};
use crate::ring::PassiveSocket;
use crate::topology::{Asked, GateSpec, Register, Topology};
use crate::worker::{Plan, PrefacePlan, QuietPlan};

/// Connections that a worker makes quiet in one turn.
const QUIETED_PER_TURN: u32 = 100;

/// What the parts of a gateway go by.
pub(super) struct Assembled {
    pub(super) topology: Arc<Topology>,
    /// By gate.
    pub(super) sockets: IdMap<GateId, PassiveSocket>,
    pub(super) register: Register,
}

/// The topology that the config asks for, with the passive socket of each gate, and the register
/// that has given the ids in it.
pub(super) fn topology(config: &Config, sockets: &[Passive]) -> Assembled {
    let gate = |passive: &Passive| GateSpec {
        listener: config.listeners[passive.listener].name.clone(),
        owner: WorkerId::at(passive.owner),
        address: passive.address,
        inherited: passive.inherited,
    };
    let gates: Vec<GateSpec> = sockets.iter().map(gate).collect();
    let asked = Asked { listeners: &config.listeners, upstreams: &config.upstreams, gates: &gates };
    let mut register = Register::default();
    let topology = Arc::new(register.next(&Topology::default(), asked));
    // A new register gives gates their ids in the order in which it is asked for them.
    let sockets = sockets.iter().map(|passive| passive.socket.clone());
    let sockets = topology.gates.ids().zip(sockets).collect();
    Assembled { topology, sockets, register }
}

/// The plan of one worker.
pub(super) fn plan(config: &Config, topology: &Arc<Topology>, worker: usize) -> Plan {
    Plan {
        worker: WorkerId::at(worker),
        topology: topology.clone(),
        logged: config.log.level >= Level::Debug,
        access: None,
        quiet: QuietPlan { after: config.ring.quiet_after, per_turn: QUIETED_PER_TURN },
        prefaces: PrefacePlan::default(),
    }
}
