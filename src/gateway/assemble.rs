//! The topology and plans of a gateway from its config and sockets, before any start: pure.

use std::sync::Arc;

use super::held::Held;
use crate::base::limits::PREFACE_PLACES;
use crate::base::{GateId, Id, IdMap, WorkerId};
use crate::config::Config;
use crate::ring::PassiveSocket;
use crate::tls::Loaded;
use crate::topology::{Asked, GateSpec, Register, Topology};
use crate::worker::{AccessQueue, Plan, PrefacePlan, Settings};

/// The topology that the parts of a gateway share.
pub(super) struct Assembled {
    pub(super) topology: Arc<Topology>,
    /// By gate.
    pub(super) sockets: IdMap<GateId, PassiveSocket>,
    pub(super) register: Register,
}

/// The gates that these are, one for each worker and address, and their sockets.
pub(super) fn gates(held: &[Held]) -> impl Iterator<Item = (GateSpec, PassiveSocket)> {
    held.iter().flat_map(|one| {
        one.sockets.iter().enumerate().map(|(owner, socket)| {
            let spec = GateSpec {
                listener: one.listener.clone(),
                owner: WorkerId::at(owner),
                address: one.address,
                inherited: one.inherited,
                queue_of: WorkerId::at(owner % one.queues),
            };
            (spec, socket.clone())
        })
    })
}

/// The topology that the config asks for, for so many connections, with the passive socket of each
/// gate, and the register that has given the ids in it.
pub(super) fn topology(
    config: &Config,
    held: &[Held],
    connections: u32,
    loaded: &Loaded,
) -> Assembled {
    let (gates, sockets): (Vec<GateSpec>, Vec<PassiveSocket>) = gates(held).unzip();
    let Config { listeners, upstreams, .. } = config;
    let asked = Asked { listeners, upstreams, gates: &gates, tls: Some(loaded) };
    let mut register = Register::for_connections(connections);
    let topology =
        Arc::new(register.next(&Topology::default(), asked).expect("the config bounds each kind"));
    topology.set_rules(&config.upstreams);
    // A new register gives gates their ids in the order in which it is asked for them.
    let sockets = topology.gates.ids().zip(sockets).collect();
    Assembled { topology, sockets, register }
}

/// The plan of one worker; `notes` takes what it notes for the access log. A successor's accepts
/// nobody before an order opens its doors.
pub(super) fn plan(
    (config, topology): (&Config, &Arc<Topology>),
    worker: usize,
    notes: Option<Arc<AccessQueue>>,
    opens_doors: bool,
) -> Plan {
    Plan {
        worker: WorkerId::at(worker),
        topology: topology.clone(),
        settings: Settings::of(config, notes),
        opens_doors,
        prefaces: PrefacePlan { places: PREFACE_PLACES, ..PrefacePlan::default() },
    }
}
