//! Drains: of the process, of a part of it, of a share; and the end of one.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use humantime_serde::re::humantime::format_duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::refusal::{Answer, Refusal, conflict, unknown, wrong};
use super::steer::{begin_change, pause};
use crate::api::drain::{CancelDrain, Cancelled, DRAIN_MAX_SECONDS, Drain, Draining, RATE_MAX};
use crate::api::{Request, SCHEMA, patience};
use crate::base::ServerId;
use crate::control::drains::{self, Ask, Leave, Of, SHARE_OF, Speed, Undo};
use crate::control::handle::POLL;
use crate::control::state::{ControlState, View};
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::topology::UpstreamKind;
use crate::upstream::AdminState;
use crate::worker::{Account, DrainOrder, Order, Part, Whom};

/// The share that is all.
const ALL: u8 = 100;

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(Drain::PATH, post(drain)).route(CancelDrain::PATH, post(cancel))
}

/// Every field may be left out, so the body may be empty.
async fn drain(State(state): State<ControlState>, body: Bytes) -> Answer<Drain> {
    let request: Drain = match body.is_empty() {
        true => Drain::default(),
        false => serde_json::from_slice(&body).map_err(wrong)?,
    };
    let speed = speed(&request)?;
    let drain = match (&request.part, request.share) {
        (None, None) => of_process(&state, &request, speed).await?,
        (_, _) if request.grace_millis.is_some() => {
            return Err(wrong("a grace belongs to the drain of the process, and to no part of it"));
        }
        (part, share) => of_part(&state, part.as_deref(), share, speed).await?,
    };
    let now = state.now();
    let open = match drain.of {
        Of::Process => state.open(),
        _ => {
            let standing = drain.account.standing();
            standing.left + standing.ended
        }
    };
    Ok(Json(Draining {
        drain: drain.name,
        draining: true,
        grace_seconds: drain.begins.since(now).as_secs_f64(),
        open,
        over_seconds: drain.deadline.since(drain.begins).as_secs_f64(),
        rate: drain.rate,
        schema: SCHEMA,
    }))
}

/// How fast, if every number of the request is in its range.
fn speed(request: &Drain) -> Result<Speed, Refusal> {
    let most_millis = DRAIN_MAX_SECONDS * 1000;
    if let Some(millis) = request.over_millis.filter(|one| !(1..=most_millis).contains(one)) {
        return Err(wrong(format!("over_millis {millis}: must be 1 to {most_millis}")));
    }
    if let Some(millis) = request.grace_millis.filter(|one| *one > most_millis) {
        return Err(wrong(format!("grace_millis {millis}: must be 0 to {most_millis}")));
    }
    if let Some(rate) = request.rate.filter(|rate| !(1..=RATE_MAX).contains(rate)) {
        return Err(wrong(format!("rate {rate}: must be 1 to {RATE_MAX} connections a second")));
    }
    if let Some(share) = request.share.filter(|share| !(1..=ALL).contains(share)) {
        return Err(wrong(format!("share {share}: must be 1 to {ALL}")));
    }
    Ok(Speed { over: request.over_millis.map(Duration::from_millis), rate: request.rate })
}

/// The loop drains the process. Asked once more without saying how, it says how far it is.
async fn of_process(
    state: &ControlState,
    request: &Drain,
    speed: Speed,
) -> Result<drains::Drain, Refusal> {
    let leave = Leave { speed, grace: request.grace_millis.map(Duration::from_millis) };
    if let Some(process) = state.drains().process() {
        return match leave == Leave::default() {
            true => Ok(process),
            false => Err(conflict(
                "the gateway drains already: `portcullis status` says how far it is, and \
                 `portcullis drain --cancel` ends that",
            )),
        };
    }
    ask(state, |reply| Ask::Drain(leave, reply)).await?;
    state.drains().process().ok_or_else(|| conflict("the drain is cancelled already"))
}

/// Asks the loop, and waits for its answer.
async fn ask(
    state: &ControlState,
    request: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Ask,
) -> Result<(), Refusal> {
    let (reply, answer) = oneshot::channel();
    state.ask(request(reply));
    let is_at_its_end = |_| conflict("the gateway is at its end, and takes no order any more");
    answer.await.map_err(is_at_its_end)?.map_err(conflict)
}

/// Drains a part, or a share of it, or a share of everybody.
async fn of_part(
    state: &ControlState,
    named: Option<&str>,
    share: Option<u8>,
    speed: Speed,
) -> Result<drains::Drain, Refusal> {
    let _change = begin_change(state).await?;
    let view = state.view();
    let part = named.map_or(Ok(Part::Whole), |named| part_of(&view, named))?;
    if let Some(other) = of(state, part) {
        let name = other.name;
        let words = cancel_words(named);
        return Err(conflict(format!("{name} drains already; `{words}` ends that")));
    }
    let undo = match share {
        Some(_) => Undo::default(),
        None => close_to_new_ones(state, &view, part).await?,
    };
    let name = match (named, share) {
        (None, _) => "share".to_owned(),
        (Some(named), None) => named.to_owned(),
        (Some(named), Some(_)) => format!("{SHARE_OF}{named}"),
    };
    let percent = share.unwrap_or(ALL);
    let open = open_at(state, &view, part) * u64::from(percent) / u64::from(ALL);
    let within = speed.time(open, view.config.gateway.drain_timeout);
    let now = state.now();
    let (account, lines) = Account::open(state.workers().len(), speed.rate, now);
    let drain = drains::Drain {
        of: Of::Part(part, percent),
        name,
        begins: now,
        deadline: now.after(within),
        rate: speed.rate,
        account,
        undo,
    };
    state.drains().begin(drain.clone());
    for (worker, line) in state.workers().iter().zip(lines) {
        let whom = Whom::Part(part, percent);
        let order = DrainOrder { whom, pace: speed.pace(), within, line };
        worker.order(Order::Drain(Box::new(order)));
    }
    let listed = async {
        while drain.account.standing().time_left.is_none() {
            sleep(POLL).await;
        }
    };
    // A worker that stands still lists its connections when it turns again.
    let _ = timeout(patience::CHANGE, listed).await;
    state.forget_reading();
    let connections = count(drain.account.standing().left, "connection");
    let rate = speed.rate.map(|rate| format!(", {rate} a second at most")).unwrap_or_default();
    let within = format_duration(Duration::from_secs(within.as_secs()));
    let words = format!("drains: {connections} in {within} at most{rate}");
    state.tell(Severity::Info, drain.subject(), &drain.said(&words));
    Ok(drain)
}

/// The part of this name.
fn part_of(view: &View, named: &str) -> Result<Part, Refusal> {
    let (kind, name) = named.split_once('/').unwrap_or((named, ""));
    match kind {
        "listener" => view.names.listener(name).map(Part::Listener).map_err(unknown),
        "server" => view.names.server(name).map(Part::Server).map_err(unknown),
        "upstream" => view.names.upstream(name).map(Part::Upstream).map_err(unknown),
        _ => Err(wrong(format!(
            "{named:?}: must be listener/NAME, server/UPSTREAM/NAME or upstream/NAME"
        ))),
    }
}

/// The drain of this part, or of a share of it.
fn of(state: &ControlState, part: Part) -> Option<drains::Drain> {
    state.drains().find(|of| matches!(of, Of::Part(other, _) if other == part))
}

fn cancel_words(named: Option<&str>) -> String {
    let part = named.map(|named| format!(" {named}")).unwrap_or_default();
    format!("portcullis drain{part} --cancel")
}

/// Has a part get no new connections: a listener pauses, servers are to drain.
async fn close_to_new_ones(state: &ControlState, view: &View, part: Part) -> Result<Undo, Refusal> {
    let servers = match part {
        Part::Whole => Vec::new(),
        Part::Listener(id) => {
            let paused = pause(state, view, id, true).await.then_some(id);
            return Ok(Undo { paused, drained: Vec::new() });
        }
        Part::Server(id) => vec![id],
        Part::Upstream(id) => match &view.topology.upstreams[id].kind {
            UpstreamKind::Servers { servers, .. } => servers.clone(),
            UpstreamKind::Builtin(_) => {
                let name = &view.topology.upstreams[id].name;
                return Err(conflict(format!(
                    "upstream/{name} has no servers, the gateway itself answers there: drain the \
                     listeners that go to it"
                )));
            }
        },
    };
    let standing = |id: &ServerId| &view.topology.servers[*id].standing;
    let is_ready = |id: &ServerId| standing(id).admin() == AdminState::Ready;
    let drained: Vec<_> = servers.into_iter().filter(is_ready).collect();
    drained.iter().for_each(|id| standing(id).set_admin(AdminState::Drain));
    Ok(Undo { paused: None, drained })
}

/// Connections of a part, as they are counted.
fn open_at(state: &ControlState, view: &View, part: Part) -> u64 {
    let at_server = |id: ServerId| u64::from(view.topology.servers[id].standing.open());
    match part {
        Part::Whole => state.open(),
        Part::Server(id) => at_server(id),
        Part::Upstream(id) => match &view.topology.upstreams[id].kind {
            UpstreamKind::Servers { servers, .. } => servers.iter().map(|id| at_server(*id)).sum(),
            UpstreamKind::Builtin(_) => state.open(),
        },
        Part::Listener(id) => {
            let name = &view.topology.listeners[id].name;
            let reading = state.reading();
            let listener = reading.listeners.iter().find(|one| one.name == *name);
            listener.map_or(0, |one| one.open)
        }
    }
}

async fn cancel(
    State(state): State<ControlState>,
    Json(request): Json<CancelDrain>,
) -> Answer<CancelDrain> {
    let named = request.part.as_deref();
    if let (None, Some(process)) = (named, state.drains().process()) {
        ask(&state, Ask::Cancel).await?;
        return Ok(Json(cancelled(&process, state.open())));
    }
    let _change = begin_change(&state).await?;
    let view = state.view();
    let part = named.map_or(Ok(Part::Whole), |named| part_of(&view, named))?;
    let Some(drain) = of(&state, part) else {
        let name = named.unwrap_or("the gateway");
        return Err(conflict(format!("{name} does not drain; `portcullis status` says what does")));
    };
    let left = drain.account.standing().left;
    end(&state, &view, &drain).await;
    Ok(Json(cancelled(&drain, left)))
}

fn cancelled(drain: &drains::Drain, left: u64) -> Cancelled {
    let ended = drain.account.standing().ended;
    Cancelled { drain: drain.name.clone(), ended, left, schema: SCHEMA }
}

/// Ends the drain of a part: connections that it has not closed stay, and new ones come again.
async fn end(state: &ControlState, view: &View, drain: &drains::Drain) {
    // From here on it is not one that comes to its end by itself.
    state.drains().end(&drain.account);
    for worker in state.workers() {
        worker.order(Order::Cancel(drain.account.clone()));
    }
    let is_over = async {
        while !drain.account.is_over() {
            sleep(POLL).await;
        }
    };
    // A worker that stands still ends nobody either, and hears it when it turns again.
    let _ = timeout(patience::CHANGE, is_over).await;
    for id in &drain.undo.drained {
        // A reload may have taken it away, or an operator may have said something else.
        if let Some(server) = view.topology.servers.get(*id)
            && server.standing.admin() == AdminState::Drain
        {
            server.standing.set_admin(AdminState::Ready);
        }
    }
    if let Some(id) = drain.undo.paused {
        pause(state, view, id, false).await;
    }
    state.forget_reading();
    let ended = count(drain.account.standing().ended, "connection");
    let words = format!("the drain is cancelled; it has ended {ended}");
    state.tell(Severity::Info, drain.subject(), &drain.said(&words));
}

/// Ends the drain of every part: the file's word is that none drains.
pub(super) async fn end_all(state: &ControlState) {
    for drain in state.drains().of_parts() {
        end(state, &state.view(), &drain).await;
    }
}
