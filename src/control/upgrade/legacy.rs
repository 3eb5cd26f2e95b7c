//! What a predecessor leaves: what it has counted, and how its servers stand.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::api::handover::{Legacy, ServerStanding};
use crate::api::patience;
use crate::base::{ServerId, UpstreamId};
use crate::checks::Told;
use crate::control::handle::answer_of;
use crate::control::state::ControlState;
use crate::metrics::reading::CheckResults;
use crate::metrics::{Former, Reading};
use crate::topology::{Server, Upstream};
use crate::upstream::{AdminState, Observed};
use crate::worker::Order;

/// What there is now.
pub(super) fn legacy(state: &ControlState) -> Legacy {
    state.forget_reading();
    Legacy {
        reading: serde_json::to_value(&*state.reading()).ok(),
        samples: Some(state.samples().history(state.sources().clock.began())),
        standing: standings(state),
    }
}

/// How the servers stand that do not as their lines say.
pub(super) fn standings(state: &ControlState) -> Vec<ServerStanding> {
    let (view, checks) = (state.view(), state.sources().checks());
    let topology = &view.topology;
    let of_server = |(id, server): (ServerId, &Arc<Server>)| {
        let standing = &server.standing;
        let (weight, admin) = (standing.weight(), standing.admin());
        let said = ServerStanding {
            upstream: topology.upstreams[server.upstream].name.clone(),
            name: server.name.clone(),
            weight: (weight != server.terms.weight).then_some(weight),
            admin: match admin {
                AdminState::Ready => None,
                AdminState::Drain => Some(DRAIN.to_owned()),
                AdminState::Maintenance => Some(MAINTENANCE.to_owned()),
            },
            down: (standing.observed() == Observed::Down)
                .then(|| checks.told(id).and_then(|told| told.because).unwrap_or_default()),
        };
        let is_plain = said.weight.is_none() && said.admin.is_none() && said.down.is_none();
        (!is_plain).then_some(said)
    };
    topology.servers.iter().filter_map(of_server).collect()
}

const DRAIN: &str = "drain";
const MAINTENANCE: &str = "maintenance";

/// Has servers stand as they stood in a predecessor.
pub(super) fn take_standings(state: &ControlState, standings: &[ServerStanding]) {
    let view = state.view();
    let topology = &view.topology;
    for (id, server) in topology.servers.iter() {
        let upstream = &topology.upstreams[server.upstream].name;
        let is_it = |one: &&ServerStanding| one.upstream == *upstream && one.name == server.name;
        let Some(said) = standings.iter().find(is_it) else { continue };
        if let Some(weight) = said.weight {
            server.standing.set_weight(weight);
        }
        match said.admin.as_deref() {
            Some(DRAIN) => server.standing.set_admin(AdminState::Drain),
            Some(MAINTENANCE) => server.standing.set_admin(AdminState::Maintenance),
            _ => {}
        }
        if let Some(because) = &said.down {
            state.sources().checks().take_down(id, because.clone());
        }
    }
}

/// Goes on counting where a predecessor has stopped.
pub(super) async fn take_legacy(state: &ControlState, legacy: Legacy) {
    take_standings(state, &legacy.standing);
    if let Some(samples) = &legacy.samples {
        state.samples().resume(samples);
    }
    let Some(reading) = legacy.reading else { return };
    match serde_json::from_value(reading) {
        Ok(reading) => resume(state, reading).await,
        Err(error) => tracing::warn!(%error, "counters begin at 0: the former ones cannot be read"),
    }
}

/// What a worker of the predecessor counted goes to the worker of its number, and all else to the
/// first.
async fn resume(state: &ControlState, reading: Reading) {
    let (view, sources) = (state.view(), state.sources());
    let (topology, searches) = (&view.topology, sources.searches().health());
    let mut former: Vec<Former> = Vec::new();
    former.resize_with(reading.workers.len().max(1), Former::default);
    for (former, worker) in former.iter_mut().zip(reading.workers) {
        former.worker = worker;
    }
    let first = &mut former[0];
    for listener in reading.listeners {
        let Ok(id) = view.names.listener(&listener.name) else { continue };
        first.listeners.push((id, listener));
    }
    for mut upstream in reading.upstreams {
        let named = |(_, one): &(UpstreamId, &Arc<Upstream>)| one.name == upstream.name;
        let Some((id, _)) = topology.upstreams.iter().find(named) else { continue };
        for server in std::mem::take(&mut upstream.servers) {
            let is_it =
                |(_, one): &(ServerId, &Arc<Server>)| one.upstream == id && one.name == server.name;
            if let Some((id, _)) = topology.servers.iter().find(is_it) {
                if let Some(CheckResults { passed, failed, unable, .. }) = server.check {
                    let former = Told { passed, failed, unable, ..Told::default() };
                    sources.checks().count_on(id, &former);
                }
                first.servers.push((id, server));
            }
        }
        if let (Some(search), Some(health)) = (&upstream.search, searches.get(&upstream.name)) {
            health.count_on(&search.answers);
        }
        first.upstreams.push((id, upstream));
    }
    sources.events.resume(reading.events);
    reading.access_log.into_iter().for_each(|log| sources.access_log.count_on(log));
    sources.present.resume_cpu(reading.process.cpu_seconds.unwrap_or(0.0));
    if let Some(removed) = &reading.removed {
        sources.present.resume_removed(removed);
    }
    let mut answers = Vec::new();
    // Where there were more workers than there are, some go on from several.
    for (worker, former) in state.workers().iter().cycle().zip(former) {
        let (done, answer) = oneshot::channel();
        worker.order(Order::CountOn(Box::new(former), done));
        answers.push(answer);
    }
    // Nobody sees a reading before they have.
    for answer in answers {
        let _ = timeout(patience::CHANGE, answer_of(answer)).await;
    }
    state.forget_reading();
}
