//! Going over to another topology: the steps that a reload and a change of a set of servers share.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::handle::POLL;
use super::state::{ControlState, Next, Sets, View};
use crate::api::patience;
use crate::base::{GateId, IdMap, ServerId};
use crate::config::{Config, OnRemoval};
use crate::discovery::Search;
use crate::metrics::reading::Severity;
use crate::ring::PassiveSocket;
use crate::topology::Gone;
use crate::upstream::AdminState;

/// Goes over to what is next; `sockets` has those of its new gates, `overridden` servers that take
/// their weight from their line again. Says which workers have not gone over in time.
pub(super) async fn go_over(
    state: &ControlState,
    next: Next,
    sockets: IdMap<GateId, PassiveSocket>,
    overridden: &[ServerId],
) -> Vec<usize> {
    let before = state.view();
    let draining: Vec<ServerId> =
        state.drains().of_parts().iter().filter_map(|drain| drain.of.server()).collect();
    let gone = state.sources().adopt(next, sockets);
    let after = state.view();
    take_words(&before, &after, overridden);
    after.topology.set_rules(&after.config.upstreams);
    state.sources().follow_checks();
    end_gone(state, &before, &after, gone, &draining);
    state.sources().follow(Search::of(&state.sources().present.sets().listed(&after.config)));
    // It has the sockets that go.
    drop(before);
    state.forget_reading();
    workers_behind(&after).await
}

/// Goes over to other sets of servers, with all else as it is.
///
/// # Errors
/// When ids are exhausted. Nothing has changed then.
pub(super) async fn take_sets(state: &ControlState, sets: Sets) -> Result<(), String> {
    let config = state.view().config.clone();
    take_config(state, config, sets).await
}

/// Goes over to a config that needs no other socket than there are, and to sets of servers.
///
/// # Errors
/// As [`take_sets`].
pub(super) async fn take_config(
    state: &ControlState,
    config: Config,
    sets: Sets,
) -> Result<(), String> {
    let view = state.view();
    let gates = view.topology.gate_specs();
    let next = state.sources().present.next(config, sets, &gates, None);
    let next = next.map_err(|exhausted| exhausted.to_string())?;
    drop(view);
    let behind = go_over(state, next, IdMap::new(), &[]).await;
    if !behind.is_empty() {
        let words = format!("workers {behind:?} do not turn and have not gone over yet");
        state.tell(Severity::Error, "gateway", &words);
    }
    Ok(())
}

/// Weights are those of a server's line where that is another, or its word is asked for. Elsewhere
/// they stay as they are, set by hand or not.
pub(super) fn take_words(before: &View, after: &View, overridden: &[ServerId]) {
    for (id, server) in after.topology.servers.iter() {
        if overridden.contains(&id) {
            server.standing.set_admin(AdminState::Ready);
        }
        let was = before.topology.servers.get(id).map(|server| server.terms.weight);
        if was.is_some_and(|was| was != server.terms.weight) || overridden.contains(&id) {
            server.standing.set_weight(server.terms.weight);
        }
    }
}

/// Has the workers end the connections of what is gone: of listeners and of servers that drained
/// from now on, of other servers when their time is over, unless they have come back by then.
fn end_gone(state: &ControlState, before: &View, after: &View, gone: Gone, draining: &[ServerId]) {
    state.note_removed(&gone, &after.topology, after.generation);
    if after.config.gateway.on_removal == OnRemoval::Keep {
        return;
    }
    let mut by_time: BTreeMap<Duration, Gone> = BTreeMap::new();
    for (id, server) in gone.servers {
        let name = &before.topology.upstreams[server.upstream].name;
        let upstream = after.config.upstream(name).or_else(|| before.config.upstream(name));
        let time = match draining.contains(&id) {
            true => Some(Duration::ZERO),
            false => upstream.and_then(|upstream| upstream.removed_timeout),
        };
        if let Some(time) = time {
            by_time.entry(time).or_default().servers.push((id, server));
        }
    }
    by_time.entry(Duration::ZERO).or_default().listeners = gone.listeners;
    for (time, gone) in by_time {
        let (state, generation) = (state.clone(), after.generation);
        if time.is_zero() {
            state.sources().end_left(&gone);
        } else {
            tokio::task::spawn_local(async move {
                sleep(time).await;
                let is_removed = |server: &ServerId| state.is_removed(*server, generation);
                let servers = gone.servers.into_iter().filter(|(id, _)| is_removed(id)).collect();
                state.sources().end_left(&Gone { servers, ..Gone::default() });
            });
        }
    }
}

/// The workers that have not gone over a second later.
async fn workers_behind(view: &View) -> Vec<usize> {
    let behind = || {
        let workers = view.counters.iter().enumerate();
        let behind = workers.filter(|(_, one)| one.generation.get() != view.generation);
        behind.map(|(worker, _)| worker).collect::<Vec<_>>()
    };
    let all = async {
        while !behind().is_empty() {
            sleep(POLL).await;
        }
    };
    let _ = timeout(patience::GO_OVER, all).await;
    behind()
}
