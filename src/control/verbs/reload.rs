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
use humantime_serde::re::humantime::format_duration;
use tokio::time::{sleep, timeout};

use super::refusal::{Answer, Refusal, conflict, wrong};
use super::steer::begin_change;
use crate::api::reload::{Change, Reload, Reloaded, Takes};
use crate::api::{Request, SCHEMA, patience};
use crate::base::{GateId, IdMap, ServerId};
use crate::config::{Auto, Class, Config, Difference};
use crate::control::handle::POLL;
use crate::control::state::{ControlState, View};
use crate::metrics::Reading;
use crate::ring::PassiveSocket;
use crate::topology::{GateSpec, Topology};
use crate::worker::Order;

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
            Ok(Reloaded { refused: Some(because), .. }) | Err((_, because)) => {
                for line in because.lines() {
                    tracing::error!(signal = %"SIGHUP", "nothing was changed: {line}");
                }
            }
            Ok(Reloaded { changes, file, .. }) if changes.is_empty() => {
                let words = "nothing differs from the config file";
                tracing::info!(signal = %"SIGHUP", file, "{words}");
            }
            Ok(_) => {}
        }
    });
}

async fn carried_out(state: ControlState, request: Reload) -> Result<Reloaded, Refusal> {
    let _change = begin_change(&state).await?;
    let mut config = state.ground().read().map_err(wrong)?;
    let before = state.view();
    let differences = before.config.differences(&config);
    let mut refused = needs_restart(&differences);
    let limit = limit_refused(&state, &before.config, &config);
    if request.allow_partial {
        config.keep(&before.config, Class::Restart);
        if limit.is_some() {
            config.gateway.max_connections = before.config.gateway.max_connections;
        }
        refused.clear();
    } else {
        refused.extend(limit);
    }
    let reading = state.reading();
    let change = |one| change(&reading, &before, &config, one);
    let mut answer = Reloaded {
        applied: false,
        changes: differences.iter().map(change).collect(),
        failed: None,
        file: state.ground().file(),
        generation: before.generation,
        open: state.open(),
        refused: (!refused.is_empty()).then(|| refused.join("; ")),
        schema: SCHEMA,
    };
    if answer.refused.is_some() || request.dry_run {
        return Ok(answer);
    }
    let overridden = if request.reset { overridden(&before) } else { Vec::new() };
    // The text may differ though nothing does that is in force.
    if before.config.differences(&config).is_empty() {
        take_files_word(&before, &before, &overridden);
        answer.applied = true;
    } else {
        match go_over(&state, before, config, &overridden).await {
            Ok(failed) => {
                (answer.applied, answer.failed) = (true, failed);
                answer.generation = state.view().generation;
                log(&answer);
            }
            Err(because) => answer.refused = Some(because),
        }
    }
    if request.reset && answer.applied {
        resume_all(&state);
    }
    state.forget_reading();
    Ok(answer)
}

/// The log's lines about a config that is in force.
fn log(answer: &Reloaded) {
    let made = || answer.changes.iter().filter(|change| change.takes != Takes::Restart);
    for Change { key, before, after, .. } in made() {
        tracing::info!(key, before, after, "reloaded");
    }
    let generation = answer.generation;
    tracing::info!(generation, changes = made().count(), "the config is in force");
    if let Some(failed) = &answer.failed {
        tracing::error!("not yet: {failed}");
    }
}

/// Keys that cannot change while the gateway runs.
fn needs_restart(differences: &[Difference]) -> Vec<String> {
    let restarts = differences.iter().filter(|one| one.class == Class::Restart);
    restarts.map(|one| format!("{} needs a restart", one.path())).collect()
}

/// Why the gateway's limit cannot become what the config says.
fn limit_refused(state: &ControlState, before: &Config, after: &Config) -> Option<String> {
    let limit = after.gateway.max_connections;
    if limit == before.gateway.max_connections {
        return None;
    }
    let slots: u64 = state.view().counters.iter().map(|counters| counters.slots.get()).sum();
    match limit {
        Auto::Fixed(clients) if u64::from(clients) > slots => Some(format!(
            "gateway.max_connections = {clients} needs a restart: the start made room for {slots}"
        )),
        Auto::Fixed(_) => None,
        Auto::Auto => Some(
            "gateway.max_connections = \"auto\" needs a restart: it is worked out there".to_owned(),
        ),
    }
}

/// A difference, and how many connections it ends.
fn change(reading: &Reading, view: &View, after: &Config, difference: &Difference) -> Change {
    let takes = match difference.class {
        Class::Live => Takes::Live,
        Class::NewConnections => Takes::NewConnections,
        Class::Restart => Takes::Restart,
    };
    let is_gone = difference.key.is_none() && difference.after.is_none();
    // Another address is another server.
    let is_moved = difference.key == Some("address");
    let ends = if is_gone || is_moved { open_at(reading, &difference.section) } else { 0 };
    Change {
        after: difference.after.clone(),
        before: difference.before.clone(),
        ends,
        key: difference.path(),
        note: note(view, after, difference),
        takes,
    }
}

/// Connections of a listener, an upstream or a server.
fn open_at(reading: &Reading, section: &str) -> u64 {
    if let Some(name) = section.strip_prefix("listener.") {
        let listener = reading.listeners.iter().find(|one| one.name == name);
        return listener.map_or(0, |one| one.open);
    }
    let Some(path) = section.strip_prefix("upstream.") else { return 0 };
    let (name, server) = match path.split_once(".servers.") {
        Some((name, server)) => (name, Some(server)),
        None => (path, None),
    };
    let upstream = reading.upstreams.iter().filter(|one| one.name == name);
    let servers = upstream.flat_map(|one| &one.servers);
    servers.filter(|one| server.is_none_or(|name| one.name == name)).map(|one| one.open).sum()
}

/// The server whose section this is, or whose key's section.
fn server_at(view: &View, section: &str) -> Option<ServerId> {
    let (upstream, server) = section.strip_prefix("upstream.")?.split_once(".servers.")?;
    view.names.server(&format!("{upstream}/{server}")).ok()
}

/// What else there is to know of a difference.
fn note(view: &View, after: &Config, difference: &Difference) -> Option<String> {
    let key = difference.key?;
    if key == "weight" {
        let server = &view.topology.servers[server_at(view, &difference.section)?];
        let (now, file) = (server.standing.weight(), server.weight);
        return (now != file).then(|| format!("overrides weight {now}, which was set by hand"));
    }
    let timeouts = |config: &Config| {
        let mut listeners = config.listeners.iter();
        let found = listeners.find(|one| difference.section == format!("listener.{}", one.name));
        found.map(|one| one.timeouts.clone())
    };
    let is_shorter = timeouts(after)?.is_shorter_at(key, &timeouts(&view.config)?);
    let within = format_duration(after.gateway.drain_timeout);
    is_shorter.then(|| format!("connections that it makes overdue end over {within}"))
}

/// Servers whose weight is not the file's.
fn overridden(view: &View) -> Vec<ServerId> {
    let is_other = |id: &ServerId| {
        let server = &view.topology.servers[*id];
        server.standing.weight() != server.weight
    };
    view.topology.servers.ids().filter(is_other).collect()
}

/// Ends every pause.
fn resume_all(state: &ControlState) {
    let view = state.view();
    for listener in view.paused().collect::<Vec<_>>() {
        view.set_paused(listener, false);
        state.workers().iter().for_each(|worker| worker.order(Order::Resume(listener)));
    }
}

/// Goes over to a config; says what of it has not been carried out in time.
///
/// # Errors
/// When it cannot be had. Nothing has changed then.
async fn go_over(
    state: &ControlState,
    before: Arc<View>,
    config: Config,
    overridden: &[ServerId],
) -> Result<Option<String>, String> {
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
    sources.adopt(topology, config, sockets);
    let after = state.view();
    take_files_word(&before, &after, overridden);
    // It has the sockets that go.
    drop(before);
    let behind = workers_behind(&after).await;
    state.ground().commit();
    let let_go = async {
        while !state.ground().has_let_go() {
            sleep(POLL).await;
        }
    };
    if !behind.is_empty() {
        return Ok(Some(format!(
            "workers {behind:?} do not turn and have not gone over; they will as soon as they turn"
        )));
    }
    let is_late = timeout(patience::CHANGE, let_go).await.is_err();
    Ok(is_late.then(|| "a worker has not let go of a socket that is given up".to_owned()))
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

/// Clients that wait in the queues of sockets that go are served, and no new ones come there. Those
/// that nobody serves in time (their listener is paused, or at its limit) are reset with the close.
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
    if timeout(LAST_CLIENTS, served).await.is_err()
        && let Some(clients @ 1..) = state.ground().stop_clients()
    {
        tracing::warn!(clients, "clients that wait at an address which is given up are reset");
    }
}

/// Weights are those of the file where its line is another, or its word is asked for. Elsewhere
/// they stay as they are, set by hand or not.
fn take_files_word(before: &View, after: &View, overridden: &[ServerId]) {
    for (id, server) in after.topology.servers.iter() {
        let was = before.topology.servers.get(id).map(|server| server.weight);
        if was.is_some_and(|was| was != server.weight) || overridden.contains(&id) {
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
