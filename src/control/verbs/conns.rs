//! Connections listed and ended: asks the workers, and puts their answers together.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{Query as Parameters, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::oneshot::{self, Receiver};
use tokio::time::{sleep, timeout};

use super::refusal::{self, Refusal, conflict, not_now, wrong};
use crate::api::conns::{
    Conn, ConnCounts, ConnGroup, ConnTls, Conns, CountConns, Kill, Killed, ListConns, WouldKill,
};
use crate::api::{Request, SCHEMA, patience};
use crate::base::Side;
use crate::control::events::line;
use crate::control::handle::{Ended, POLL, WorkerHandle, answer_of};
use crate::control::state::ControlState;
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::query::{By, ConnId, MOST_ROWS, Query};
use crate::worker::{Answer, Counted, Group, Order, Purpose, Reply, Row, Task};

pub(super) fn routes() -> Router<ControlState> {
    Router::new()
        .route(ListConns::PATH, get(list))
        .route(CountConns::PATH, get(count_by))
        .route(Kill::PATH, post(kill))
}

async fn list(
    State(state): State<ControlState>,
    Parameters(request): Parameters<ListConns>,
) -> refusal::Answer<ListConns> {
    let ListConns { filter, sort, limit } = request;
    let query =
        Query::parse(&filter, sort.as_deref(), limit, &state.view().names).map_err(wrong)?;
    let _permit = permitted(state.permits().show()).await?;
    let answer = in_time(ask(&state, &query, None, Purpose::Show)).await?;
    Ok(Json(shown(&state, &answer)))
}

async fn count_by(
    State(state): State<ControlState>,
    Parameters(request): Parameters<CountConns>,
) -> refusal::Answer<CountConns> {
    let CountConns { by, filter, limit } = request;
    let query = Query::parse(&filter, None, limit, &state.view().names).map_err(wrong)?;
    let by: By = by.parse().map_err(wrong)?;
    let _permit = permitted(state.permits().show()).await?;
    let answer = in_time(ask(&state, &query, None, Purpose::Count(by))).await?;
    let title = |(group, counted): (Group, Counted)| {
        let title = match group {
            Group::Source(address) => Some(address.to_string()),
            Group::Pair(holder, local) => Some(format!("{holder} to {local}")),
            Group::Server(..) | Group::Listener(_) => counted.title,
        };
        (title.unwrap_or_default(), counted.connections)
    };
    let groups = answer.tally.groups.into_iter().map(title);
    let mut groups: Vec<ConnGroup> =
        groups.map(|(name, connections)| ConnGroup { connections, name }).collect();
    let order = |one: &ConnGroup| (Reverse(one.connections), one.name.clone());
    groups.sort_by_cached_key(order);
    let others = groups.split_off(groups.len().min(query.limit as usize));
    let other_connections: u64 = others.iter().map(|one| one.connections).sum();
    Ok(Json(ConnCounts {
        by: by.word().to_owned(),
        groups,
        matched: answer.matched,
        nameless: answer.addresses_missing,
        open: state.open(),
        other_connections: other_connections + answer.tally.ungrouped,
        other_groups: others.len() as u64,
        schema: SCHEMA,
    }))
}

/// How many connections each pair of addresses has at a listener, unless the workers are asked by
/// others already.
pub(in crate::control) async fn pairs(
    state: &ControlState,
    listener: &str,
) -> Option<Vec<(IpAddr, SocketAddr, u64)>> {
    let filter = format!("listener={listener}");
    let query = Query::parse(&filter, None, Some(1), &state.view().names).ok()?;
    let _permit = permitted(state.permits().show()).await.ok()?;
    let answer = in_time(ask(state, &query, None, Purpose::Count(By::Pair))).await.ok()?;
    let pair = |(group, counted): (Group, Counted)| match group {
        Group::Pair(holder, local) => Some((holder, local, counted.connections)),
        _ => None,
    };
    Some(answer.tally.groups.into_iter().filter_map(pair).collect())
}

/// How many connections a filter means, unless the workers are asked by others already.
pub(super) async fn matched(state: &ControlState, filter: &str) -> Option<u64> {
    let query = Query::parse(filter, None, Some(1), &state.view().names).ok()?;
    let _permit = permitted(state.permits().show()).await.ok()?;
    let answer = in_time(ask(state, &query, None, Purpose::Show)).await;
    answer.ok().map(|answer| answer.matched)
}

/// The rows, what they were chosen from, and what tells how old another answer is: the times are
/// those of readings.
fn shown(state: &ControlState, answer: &Answer) -> Conns {
    Conns {
        at_seconds: state.sources().clock.micros().0 as f64 / 1e6,
        matched: answer.matched,
        nameless: answer.addresses_missing,
        open: state.open(),
        rows: answer.rows.iter().map(|one| row_of(&one.row)).collect(),
        schema: SCHEMA,
        start_time_seconds: state.sources().process_start.start_time_seconds,
    }
}

fn row_of(row: &Row) -> Conn {
    let Row { id, facts, parties, addresses: found, tls } = row;
    let local = |side: Side| found[side].map(|found| found.local.to_string());
    let peer = |side: Side| found[side].and_then(|found| found.peer).map(|peer| peer.to_string());
    Conn {
        age_millis: facts.age().as_millis() as u64,
        client: peer(Side::Client),
        id: id.to_string(),
        idle_millis: facts.idle().as_millis() as u64,
        listener: parties.listener.name.clone(),
        local: local(Side::Client),
        server: parties.server.as_ref().map(|server| server.name.clone()),
        server_address: peer(Side::Upstream),
        source: local(Side::Upstream),
        state: facts.state.word().to_owned(),
        tls: tls.as_ref().map(|tls| ConnTls {
            cipher: tls.suite.spoken_name().into_owned(),
            client_name: tls.common_name.as_deref().map(str::to_owned),
            server_name: tls.server_name.as_deref().map(str::to_owned),
            version: tls.suite.version().to_owned(),
        }),
        to_client_bytes: facts.to_client_bytes,
        to_upstream_bytes: facts.to_upstream_bytes,
        unique_id: facts.unique_id.map(|id| id.to_string()),
        upstream: parties.upstream.name.clone(),
        via: found[Side::Client].and_then(|found| found.via).map(|via| via.to_string()),
        worker: facts.worker,
    }
}

/// The permit that is waited for, unless other requests hold it too long.
async fn permitted<T>(permit: impl Future<Output = T>) -> Result<T, Refusal> {
    timeout(patience::PERMIT, permit).await.map_err(|_| {
        let seconds = patience::PERMIT.as_secs();
        not_now(format!(
            "others ask for connections or end some, and had not finished within {seconds} s; try \
             again"
        ))
    })
}

/// The answer of the workers, unless they take too long.
async fn in_time<T>(asked: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = || not_now("the workers did not answer in time; the log says if one stands still");
    timeout(patience::WORKERS, asked).await.map_err(|_| late())?
}

/// Asks every worker that can have one of those meant, and waits for all answers. The request holds
/// its permit.
async fn ask(
    state: &ControlState,
    query: &Query,
    only: Option<&[ConnId]>,
    purpose: Purpose,
) -> Result<Answer, Refusal> {
    let mut asked = Vec::new();
    let mut all = Answer::default();
    let workers = state.workers();
    for (index, worker) in workers.iter().enumerate().filter(|(i, _)| query.admits_worker(*i)) {
        let here = |id: &&ConnId| usize::from(id.worker) == index;
        let only: Option<Vec<_>> = only.map(|ids| ids.iter().filter(here).copied().collect());
        if only.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        let question = Question { worker, query, only, purpose };
        asked.push((question.put(), question));
    }
    let nobodys = |id: &&ConnId| usize::from(id.worker) >= workers.len();
    all.stale.extend(only.unwrap_or_default().iter().filter(nobodys));
    for (answer, question) in asked {
        gather(&mut all, question.answered(answer).await?);
    }
    all.rows.sort_by_key(|one| (Reverse(one.sort_key), one.row.id.worker, one.row.id.slot));
    all.rows.truncate(query.limit as usize);
    Ok(all)
}

/// A question to one worker.
struct Question<'a> {
    worker: &'a WorkerHandle,
    query: &'a Query,
    only: Option<Vec<ConnId>>,
    purpose: Purpose,
}

impl Question<'_> {
    fn put(&self) -> Receiver<Reply> {
        let (reply, answer) = oneshot::channel();
        let Question { worker, query, only, purpose } = self;
        let (query, only) = ((*query).clone(), only.clone());
        if worker.has_time() {
            worker.order(Order::Scan(Box::new(Task { query, only, purpose: *purpose, reply })));
        } else {
            let _ = reply.send(Reply::Busy);
        }
        answer
    }

    /// Waits for the answer; again where the worker still scans for an asker that has left.
    async fn answered(&self, mut answer: Receiver<Reply>) -> Result<Answer, Refusal> {
        loop {
            match answer_of(answer).await {
                Ok(Reply::Done(answer)) => return Ok(answer),
                Ok(Reply::Busy) => {
                    sleep(POLL).await;
                    answer = self.put();
                }
                Err(Ended) => return Err(not_now("a worker has ended")),
            }
        }
    }
}

fn gather(all: &mut Answer, mut one: Answer) {
    all.matched += one.matched;
    all.addresses_missing += one.addresses_missing;
    all.killed += one.killed;
    all.tally.ungrouped += one.tally.ungrouped;
    for (group, counted) in one.tally.groups {
        let known = all.tally.groups.entry(group);
        known.and_modify(|all| all.connections += counted.connections).or_insert(counted);
    }
    all.rows.append(&mut one.rows);
    all.stale.append(&mut one.stale);
}

/// Connections that may be ended without a confirmation; a dry run shows as many.
const UNCONFIRMED: u32 = 1000;

/// Ends connections: at a pace, and no more than [`MOST_ROWS`] of each worker, so that the answer
/// comes in time. What is left is said, and ended by the next request.
async fn kill(
    State(state): State<ControlState>,
    Json(request): Json<Kill>,
) -> Result<Response, Refusal> {
    let Kill { ids, filter, dry_run, yes } = request;
    let query = Query::parse(&filter, None, Some(MOST_ROWS), &state.view().names).map_err(wrong)?;
    let mut ids: Vec<ConnId> =
        ids.iter().map(|id| id.parse()).collect::<Result<_, _>>().map_err(wrong)?;
    ids.sort_unstable_by_key(|id| (id.worker, id.slot, id.generation));
    ids.dedup();
    if ids.is_empty() == query.is_open() {
        let words = if ids.is_empty() {
            "nobody is named: write ids as conns shows them, or a filter"
        } else {
            "ids and a filter: write one of them"
        };
        return Err(wrong(words));
    }
    let only = (!ids.is_empty()).then_some(&ids[..]);
    let mut query = query.living();
    if dry_run {
        query.limit = UNCONFIRMED;
        let _permit = permitted(state.permits().show()).await?;
        let found = in_time(ask(&state, &query, only, Purpose::Show)).await?;
        let would = WouldKill { conns: shown(&state, &found), stale: words(&found.stale) };
        return Ok(Json(would).into_response());
    }
    let answer = match yes {
        true => {
            let _permit = permitted(state.permits().kill()).await?;
            in_time(ask(&state, &query, only, Purpose::Kill)).await?
        }
        false => kill_unconfirmed(&state, &query, only).await?,
    };
    let by = if ids.is_empty() { format!("by {filter:?}") } else { "by their ids".to_owned() };
    let said = format!("kill {by}: {} ended", count(answer.killed, "connection"));
    line(Severity::Info, "gateway", &said);
    let Answer { matched, killed, stale, .. } = answer;
    let (left, stale) = (matched.saturating_sub(killed), words(&stale));
    Ok(Json(Killed { killed, left, matched, schema: SCHEMA, stale }).into_response())
}

/// Ends connections if they are few. Two scans have no more time than one.
async fn kill_unconfirmed(
    state: &ControlState,
    query: &Query,
    only: Option<&[ConnId]>,
) -> Result<Answer, Refusal> {
    let mut shows = query.clone();
    shows.limit = 0;
    // A request that only shows holds no permit to kill, so that neither waits for the other for
    // ever.
    let permits = async { (state.permits().kill().await, state.permits().show().await) };
    let (_permit, show_permit) = permitted(permits).await?;
    in_time(async move {
        let found = ask(state, &shows, only, Purpose::Show).await?;
        drop(show_permit);
        if found.matched > u64::from(UNCONFIRMED) {
            let words = format!(
                "{} match, and more than {UNCONFIRMED} are ended only when confirmed: \
                 write --yes, look first with --dry-run, or narrow the filter",
                count(found.matched, "connection")
            );
            return Err(conflict(words));
        }
        ask(state, query, only, Purpose::Kill).await
    })
    .await
}

fn words(ids: &[ConnId]) -> Vec<String> {
    ids.iter().map(ConnId::to_string).collect()
}
