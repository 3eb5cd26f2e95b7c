//! Whatever can fail of a change, before anything is changed.

use std::sync::Arc;

use crate::access_log::Writing;
use crate::base::{GateId, IdMap};
use crate::config::{self, Class, Config};
use crate::control::reopen::{Reopen, TakePlace};
use crate::control::state::{ControlState, Next, Sets, View};
use crate::ring::PassiveSocket;
use crate::tls::Loaded;
use crate::topology::{GateSpec, Topology};

/// A change that can be made now. Dropped, it leaves nothing behind.
pub(super) struct Ready {
    pub(super) next: Next,
    /// Of its new gates.
    pub(super) sockets: IdMap<GateId, PassiveSocket>,
    /// The access log, or none, in place of the one before; `None`: that one goes on.
    pub(super) access_log: Option<Option<Writing>>,
    /// The endpoints.
    pub(super) take_place: Option<TakePlace>,
}

impl Ready {
    /// Gets what the config takes.
    ///
    /// # Errors
    /// When something cannot be had. Nothing has changed then.
    pub(super) fn new(
        state: &ControlState,
        before: &View,
        config: Config,
        sets: Sets,
        loaded: &Loaded,
    ) -> Result<Ready, String> {
        let gates = state.ground().prepare(&config)?;
        let ready = Ready::with(state, before, config, (sets, loaded), gates);
        if ready.is_err() {
            state.ground().abandon();
        }
        ready
    }

    fn with(
        state: &ControlState,
        before: &View,
        config: Config,
        (sets, loaded): (Sets, &Loaded),
        gates: Vec<(GateSpec, PassiveSocket)>,
    ) -> Result<Ready, String> {
        let sources = state.sources();
        let specs: Vec<GateSpec> = gates.iter().map(|(spec, _)| spec.clone()).collect();
        let next = sources.present.next(config, sets, &specs, Some(loaded));
        let next = next.map_err(|exhausted| exhausted.to_string())?;
        if sources.class_of(&next.topology) == Some(Class::Restart) {
            return Err(
                "the gateway started without servers, so that its rings have no slots for \
                        connections to any: the first server needs a restart"
                    .to_owned(),
            );
        }
        let sockets = new_sockets(&before.topology, &next.topology, gates);
        let access_log = access_log(state, &before.config.access_log, &next.config.access_log)?;
        let prepare = |reopen: Arc<dyn Reopen>| reopen.prepare(&before.config, &next.config);
        let take_place = state.reopen().map(prepare).transpose()?;
        Ok(Ready { next, sockets, access_log, take_place })
    }
}

/// Opens the access log that takes the place of the one before; `None`: the same goes on.
fn access_log(
    state: &ControlState,
    before: &config::AccessLog,
    after: &config::AccessLog,
) -> Result<Option<Option<Writing>>, String> {
    let is_same = (&before.path, before.format, before.queue_lines)
        == (&after.path, after.format, after.queue_lines);
    if is_same {
        return Ok(None);
    }
    let opened = Writing::open(after, state.workers().len(), &state.sources().clock);
    opened.map(Some).map_err(|error| error.to_string())
}

/// The sockets of the gates that are new.
fn new_sockets(
    before: &Topology,
    after: &Topology,
    mut gates: Vec<(GateSpec, PassiveSocket)>,
) -> IdMap<GateId, PassiveSocket> {
    // Gates that stay have the sockets that they had: what is left belongs to the new ones.
    let is_of = |id: GateId, topology: &Topology, spec: &GateSpec| {
        let gate = &topology.gates[id];
        let listener = &topology.listeners[gate.listener].name;
        (listener, gate.owner, gate.address, gate.inherited)
            == (&spec.listener, spec.owner, spec.address, spec.inherited)
    };
    let mut take = |id| {
        let place = gates.iter().position(|(spec, _)| is_of(id, after, spec));
        gates.remove(place.expect("a gate is one of those asked for")).1
    };
    let (stay, new): (Vec<GateId>, Vec<GateId>) =
        after.gates.ids().partition(|id| before.gates.get(*id).is_some());
    stay.into_iter().for_each(|id| drop(take(id)));
    new.into_iter().map(|id| (id, take(id))).collect()
}
