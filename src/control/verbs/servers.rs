//! The servers of an upstream as a set.

use std::collections::HashSet;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};

use super::refusal::{Answer, Refusal, conflict, unknown, wrong};
use super::steer::begin_change;
use crate::api::servers::{
    BasedOn, ListChange, ListServers, ListedServer, ServerList, ServersSet, SetServers,
};
use crate::api::{Request, SCHEMA};
use crate::base::ServerId;
use crate::config::{MAX_WEIGHT, Origin, ServerSet, Terms, UpstreamKind};
use crate::control::asker;
use crate::control::change::take_sets;
use crate::control::state::{ControlState, Sets, View};
use crate::metrics::reading::Severity;

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(ListServers::PATH, get(list).post(set))
}

async fn list(
    State(state): State<ControlState>,
    Query(request): Query<ListServers>,
) -> Answer<ListServers> {
    let (view, name) = (state.view(), request.upstream);
    let sets = state.sources().present.sets();
    let (mut set, origin) = listed(&sets, &view, &name)?;
    if origin != Origin::List {
        // Somebody else has the list; this is what it comes to.
        set = ServerSet::of(sets.found(&name).unwrap_or_default().to_vec());
    }
    let health = state.sources().searches().health().remove(&name);
    Ok(Json(ServerList {
        by_hand: sets.is_by_hand(&name),
        origin: origin.to_string(),
        revision: sets.revision(&name),
        schema: SCHEMA,
        servers: in_use(&view, &name),
        text: set.written(sets.revision(&name)),
        trouble: health.and_then(|health| health.trouble()),
        upstream: name,
    }))
}

/// A change ends what it has begun, though the asker leaves.
async fn set(
    State(state): State<ControlState>,
    Json(request): Json<SetServers>,
) -> Answer<SetServers> {
    let task = tokio::task::spawn_local(asker::carry(carried_out(state, request)));
    task.await.map_err(conflict)?.map(Json)
}

async fn carried_out(state: ControlState, request: SetServers) -> Result<ServersSet, Refusal> {
    let _change = begin_change(&state).await?;
    let SetServers { change, on, upstream: name } = request;
    let before = state.view();
    let mut sets = state.sources().present.sets().as_ref().clone();
    let (now, origin) = listed(&sets, &before, &name)?;
    if origin != Origin::List {
        return Err(conflict(format!(
            "upstream {name} takes its servers from {origin}: change them there"
        )));
    }
    let (next, named) = changed(now.clone(), change)?;
    let present = sets.revision(&name);
    let based_on = match on {
        BasedOn::Text => named,
        BasedOn::Any => None,
        BasedOn::Revision(revision) => Some(revision),
    };
    if let Some(revision) = based_on.filter(|revision| *revision != present) {
        return Err(conflict(format!(
            "the servers of {name} are of revision {present}, and this change was made of \
             revision {revision}: look at them again with `portcullis servers {name}`"
        )));
    }
    let [added, removed] = [(&next, &now), (&now, &next)].map(|(of, but)| lines_but(of, but));
    sets.put(&before.config, &name, next);
    let revision = sets.revision(&name);
    take_sets(&state, sets).await.map_err(conflict)?;
    let named = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what}: {}", names.join(", ")),
    };
    let [came, went] = [named("added", &added), named("removed", &removed)];
    let words = format!("its list of servers is another, revision {revision}{came}{went}");
    state.tell(Severity::Info, &format!("upstream/{name}"), &words);
    let is = in_use(&state.view(), &name);
    let is_gone = |was: &ListedServer| {
        !is.iter().any(|one| (&one.name, &one.address) == (&was.name, &was.address))
    };
    let gone = in_use(&before, &name).into_iter().filter(is_gone);
    let leaving = gone.map(|one| u64::from(one.open)).sum();
    Ok(ServersSet { added, leaving, removed, revision, schema: SCHEMA, upstream: name })
}

/// The names of the lines of a list that another has not, at the same place.
fn lines_but(list: &ServerSet, other: &ServerSet) -> Vec<String> {
    let known: HashSet<_> = other.lines().map(|(name, at, _)| (name, at)).collect();
    let lines = list.lines().filter(|(name, at, _)| !known.contains(&(*name, at.clone())));
    lines.map(|(name, ..)| name.to_owned()).collect()
}

/// The list of an upstream, and who knows its servers.
fn listed(sets: &Sets, view: &View, name: &str) -> Result<(ServerSet, Origin), Refusal> {
    let config = sets.listed(&view.config);
    match config.upstream(name).map(|one| &one.kind) {
        Some(UpstreamKind::Servers { set, origin, .. }) => Ok((set.clone(), origin.clone())),
        Some(UpstreamKind::Builtin(_)) => Err(conflict(format!(
            "upstream {name} has no servers: the gateway itself answers there"
        ))),
        None => Err(unknown(view.names.upstream(name).expect_err("no config has it"))),
    }
}

fn in_use(view: &View, name: &str) -> Vec<ListedServer> {
    let named = view.names.upstreams.iter().find(|one| one.name == name);
    let listed = |(id, name): &(ServerId, String)| {
        let server = &view.topology.servers[*id];
        ListedServer {
            address: server.address.to_string(),
            name: name.clone(),
            backup: server.terms.backup,
            max_connections: server.terms.max_connections,
            open: server.standing.open(),
            state: server.standing.state().to_owned(),
            weight: server.standing.weight(),
        }
    };
    named.map_or(&[][..], |one| &one.servers).iter().map(listed).collect()
}

/// The list after a change, and the revision that the change says it is based on.
fn changed(mut now: ServerSet, change: ListChange) -> Result<(ServerSet, Option<u64>), Refusal> {
    match change {
        ListChange::Set { file, text } => ServerSet::parse(&text, &file).map_err(wrong),
        ListChange::Add { address, name, weight, max_connections, backup } => {
            let terms = Terms { weight, max_connections, backup };
            let added = ServerSet::one(name.as_deref(), &address, terms).map_err(wrong)?;
            if let Some((name, ..)) = added.lines().find(|(name, ..)| now.has(name)) {
                return Err(conflict(format!(
                    "there is a server {name} already: remove it first, or give this one another \
                     name"
                )));
            }
            now.extend(added);
            Ok((now, None))
        }
        ListChange::Remove(names) => {
            for name in &names {
                if !now.has(name) {
                    return Err(no_such_server(&now, name));
                }
            }
            now.servers.retain(|one| !names.contains(&one.name));
            now.names.retain(|one| !names.contains(&one.name));
            if now.is_empty() {
                return Err(conflict(
                    "these are all servers of the upstream, and it needs one: add another first, \
                     or drain them",
                ));
            }
            Ok((now, None))
        }
        ListChange::Weight { name, weight } => {
            if weight > MAX_WEIGHT {
                return Err(wrong(format!("weight {weight}: must be 0 to {MAX_WEIGHT}")));
            }
            if !now.has(&name) {
                return Err(no_such_server(&now, &name));
            }
            let servers = now.servers.iter_mut().filter(|one| one.name == name);
            servers.for_each(|one| one.terms.weight = weight);
            let names = now.names.iter_mut().filter(|one| one.name == name);
            names.for_each(|one| one.terms.weight = weight);
            Ok((now, None))
        }
    }
}

fn no_such_server(set: &ServerSet, name: &str) -> Refusal {
    let all: Vec<&str> = set.lines().map(|(name, ..)| name).collect();
    unknown(format!("{name:?}: the list has no such server; it has {}", all.join(", ")))
}
