//! The config file read again, and the gateway made what it says: all of it, or nothing.
//!
//! The steps: read and check the file; compare it with the config that runs; get whatever can fail
//! (sockets, locks); let the queues of sockets that go be served; hand what is new to the workers'
//! rings and have every worker go over; then let go of what is gone. Until the workers are told, a
//! failure leaves everything as it was.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use tokio::time::{sleep, timeout};

use super::refusal::{Answer, Refusal, conflict, wrong};
use super::steer::begin_change;
use crate::api::reload::{Change, Reload, Reloaded, Takes};
use crate::api::{Request, SCHEMA, patience};
use crate::base::{GateId, IdMap, ServerId};
use crate::config::{Auto, Class, Config, Difference};
use crate::control::handle::POLL;
use crate::control::state::{ControlState, View};
use crate::ring::PassiveSocket;
use crate::topology::{GateSpec, Topology};

/// How long the queues of sockets that go are served at most, and how long they must be empty.
const LAST_CLIENTS: Duration = Duration::from_secs(1);
const EMPTY_POLLS: u32 = 20;
const QUEUE_POLL: Duration = Duration::from_millis(10);

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(Reload::PATH, post(reload))
}

/// A reload ends what it has begun, though the asker leaves.
async fn reload(State(state): State<ControlState>, Json(request): Json<Reload>) -> Answer<Reload> {
    let task = tokio_uring::spawn(carried_out(state, request));
    task.await.map_err(conflict)?.map(Json)
}

/// SIGHUP: the log has the answer.
pub(in crate::control) fn by_signal(state: &ControlState) {
    let state = state.clone();
    tokio_uring::spawn(async move {
        match carried_out(state, Reload::default()).await {
            Ok(Reloaded { refused: None, changes, file, .. }) => {
                if changes.is_empty() {
                    let words = "nothing differs from the config file";
                    tracing::info!(signal = %"SIGHUP", file, "{words}");
                }
            }
            Ok(Reloaded { refused: Some(because), .. }) | Err((_, because)) => {
                for line in because.lines() {
                    tracing::error!(signal = %"SIGHUP", "nothing was changed: {line}");
                }
            }
        }
    });
}

async fn carried_out(state: ControlState, request: Reload) -> Result<Reloaded, Refusal> {
    let _change = begin_change(&state).await?;
    let mut config = state.ground().read().map_err(wrong)?;
    let before = state.view();
    let differences = before.config.differences(&config);
    let mut refused = reasons(&state, &differences, &config);
    if request.allow_partial {
        config.keep(&before.config, Class::Restart);
        refused.clear();
    }
    let over = if request.reset { overridden(&before) } else { Vec::new() };
    let mut answer = Reloaded {
        applied: false,
        changes: differences.iter().map(|one| change(&before, one)).collect(),
        file: state.ground().file(),
        generation: before.generation,
        open: state.open(),
        refused: (!refused.is_empty()).then(|| refused.join("; ")),
        schema: SCHEMA,
    };
    if answer.refused.is_some() || request.dry_run {
        return Ok(answer);
    }
    if before.config.differences(&config).is_empty() {
        // The text may differ all the same; there is nothing to go over to.
        take_files_word(&before, &before, &over);
        state.forget_reading();
        return Ok(Reloaded { applied: true, ..answer });
    }
    match go_over(&state, before, config, &over).await {
        Ok(generation) => {
            for Change { key, before, after, .. } in &answer.changes {
                tracing::info!(key, before, after, "reloaded");
            }
            tracing::info!(generation, changes = answer.changes.len(), "the config is in force");
            Ok(Reloaded { applied: true, generation, ..answer })
        }
        Err(because) => {
            answer.refused = Some(because);
            Ok(answer)
        }
    }
}

/// Why a config cannot take the place of the one that runs.
fn reasons(state: &ControlState, differences: &[Difference], config: &Config) -> Vec<String> {
    let restarts = differences.iter().filter(|one| one.class == Class::Restart);
    let mut reasons: Vec<String> =
        restarts.map(|one| format!("{} needs a restart", one.path())).collect();
    let slots: u64 = state.view().counters.iter().map(|counters| counters.slots.get()).sum();
    let is_bounded = differences.iter().any(|one| one.path() == "gateway.max_connections");
    match config.gateway.max_connections {
        Auto::Fixed(clients) if is_bounded && u64::from(clients) > slots => reasons.push(format!(
            "gateway.max_connections = {clients} needs a restart: the start made room for {slots}"
        )),
        Auto::Auto if is_bounded => reasons.push(
            "gateway.max_connections = \"auto\" needs a restart: it is worked out there".to_owned(),
        ),
        _ => {}
    }
    reasons
}

/// A difference, and how many connections it ends.
fn change(view: &View, difference: &Difference) -> Change {
    let takes = match difference.class {
        Class::Live => Takes::Live,
        Class::NewConnections => Takes::NewConnections,
        Class::Restart => Takes::Restart,
    };
    let ends = if difference.key.is_none() && difference.after.is_none() {
        ended(view, &difference.section)
    } else {
        0
    };
    Change {
        after: difference.after.clone(),
        before: difference.before.clone(),
        ends,
        key: difference.path(),
        note: note(view, difference),
        takes,
    }
}

/// Connections of a listener or a server that goes.
fn ended(view: &View, section: &str) -> u64 {
    if let Some(id) =
        section.strip_prefix("listener.").and_then(|name| view.names.listener(name).ok())
    {
        let counters = view.counters.iter().map(|counters| &counters.listeners[id]);
        let counters = counters.map(|one| {
            let closed: u64 = one.closed.iter().map(|reason| reason.get()).sum();
            one.accepted.get().saturating_sub(closed)
        });
        return counters.sum();
    }
    server_at(view, section).map_or(0, |id| view.topology.servers[id].standing.open().into())
}

/// The server whose section this is, or whose key's section.
fn server_at(view: &View, section: &str) -> Option<ServerId> {
    let (upstream, server) = section.strip_prefix("upstream.")?.split_once(".servers.")?;
    view.names.server(&format!("{upstream}/{server}")).ok()
}

/// What else there is to know of a difference.
fn note(view: &View, difference: &Difference) -> Option<String> {
    let key = difference.key?;
    if key == "weight" {
        let standing = &view.topology.servers[server_at(view, &difference.section)?];
        let (now, file) = (standing.standing.weight(), standing.weight);
        return (now != file).then(|| format!("overrides weight {now}, which was set by hand"));
    }
    if key == "address" {
        let open = view.topology.servers[server_at(view, &difference.section)?].standing.open();
        return (open > 0).then(|| format!("{open} connections to the old address end in time"));
    }
    let shortens = ["idle_timeout", "first_byte_timeout", "half_close_timeout", "max_lifetime"];
    let within = humantime_serde::re::humantime::format_duration(view.config.gateway.drain_timeout);
    shortens.contains(&key).then(|| format!("connections that it makes overdue end over {within}"))
}

/// Servers and listeners on which an operator's word is another than the file's.
fn overridden(view: &View) -> Vec<ServerId> {
    let servers = view.topology.servers.iter();
    let is_other =
        |(_, one): &(ServerId, &Arc<crate::topology::Server>)| one.standing.weight() != one.weight;
    servers.filter(is_other).map(|(id, _)| id).collect()
}

/// Goes over to a config. A reload that fails before the workers are told changes nothing.
async fn go_over(
    state: &ControlState,
    before: Arc<View>,
    config: Config,
    over: &[ServerId],
) -> Result<u64, String> {
    let gates = state.ground().prepare(&config)?;
    let specs: Vec<GateSpec> = gates.iter().map(|(spec, _)| spec.clone()).collect();
    let sources = state.sources();
    let topology = Arc::new(sources.present.topology_for(&config, &specs));
    if sources.class_of(&topology) == Some(Class::Restart) {
        state.ground().abandon();
        return Err("the gateway started without servers, so that its rings have no slots for \
                    connections to any: the first server needs a restart"
            .to_owned());
    }
    let sockets = new_sockets(&before.topology, &topology, gates);
    serve_last_clients(state).await;
    if let Auto::Fixed(clients) = config.gateway.max_connections {
        sources.budget.set_limit(clients);
    }
    let generation = sources.adopt(topology, config, sockets);
    let after = state.view();
    take_files_word(&before, &after, over);
    // It has the sockets that go.
    drop(before);
    let hang = workers_behind(&after).await;
    let gone = timeout(patience::CHANGE, async {
        while !state.ground().commit() {
            sleep(POLL).await;
        }
    });
    let is_gone = gone.await.is_ok();
    state.forget_reading();
    match hang.as_slice() {
        [] if is_gone => Ok(generation),
        [] => Err("a worker has not let go of a socket that is no longer listened on".to_owned()),
        all => Err(format!(
            "workers {all:?} have not gone over: they do not turn; the others have, and these will \
             as soon as they do"
        )),
    }
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

/// Clients that wait in the queues of sockets that go are served, and no new ones come there.
async fn serve_last_clients(state: &ControlState) {
    let served = async {
        let mut empty = 0;
        while empty < EMPTY_POLLS {
            let waiting = state.ground().stop_clients();
            match waiting {
                None => return,
                Some(0) => empty += 1,
                Some(_) => empty = 0,
            }
            sleep(QUEUE_POLL).await;
        }
    };
    let _ = timeout(LAST_CLIENTS, served).await;
}

/// Weights are those of the file where its line is another, or its word is asked for. Elsewhere
/// they stay as they are, set by hand or not.
fn take_files_word(before: &View, after: &View, over: &[ServerId]) {
    for (id, server) in after.topology.servers.iter() {
        let was = before.topology.servers.get(id).map(|server| server.weight);
        if was.is_some_and(|was| was != server.weight) || over.contains(&id) {
            let (servers, place) = after.among_servers(id);
            servers.set_weight(place, server.weight);
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
