//! The config file read again, and the gateway made what it says: all of it, or nothing.
//!
//! The steps: read and check the file; compare it with the config that runs; get whatever can fail
//! (sockets, locks); let the queues of sockets that go be served; hand what is new to the workers'
//! rings and have every worker go over; then let go of what is gone. Until the workers are told, a
//! failure leaves everything as it was.

mod ready;
mod shown;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use tokio::time::{sleep, timeout};

use super::conns;
use super::drain;
use super::refusal::{Answer, Refusal, conflict, wrong};
use super::steer::begin_change;
use crate::api::reload::{Change, Reload, Reloaded, Takes};
use crate::api::{Request, SCHEMA, patience};
use crate::base::ServerId;
use crate::config::{Auto, Class, Config, Difference};
use crate::control::asker::{self, Asker};
use crate::control::change::{self, take_words};
use crate::control::handle::POLL;
use crate::control::searching::learn;
use crate::control::secrets::guard_secrets;
use crate::control::state::{ControlState, View};
use crate::doctor::count;
use crate::host::service_manager::{say_ready, say_reloading};
use crate::metrics::reading::{LastReload, Severity};
use crate::tls::{LoadError, Loaded};
use crate::worker::Order;
use ready::Ready;
use shown::{by_hand, overdue_filter, overridden};

/// How long the queues of sockets that go are served at most, and how long they must be empty.
const LAST_CLIENTS: Duration = Duration::from_secs(1);
const EMPTY_POLLS: u32 = 20;
const QUEUE_POLL: Duration = Duration::from_millis(10);

/// What to do about keys that cannot change.
const TAKE_THE_OTHERS: &str = "`portcullis reload --allow-partial` takes the other keys, and \
                               `portcullis upgrade` takes all, and disconnects nobody";

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(Reload::PATH, post(reload))
}

/// A reload ends what it has begun, though the asker leaves.
async fn reload(State(state): State<ControlState>, Json(request): Json<Reload>) -> Answer<Reload> {
    let task = tokio::task::spawn_local(asker::carry(carried_out(state, request)));
    task.await.map_err(conflict)?.map(Json)
}

/// SIGHUP.
pub(in crate::control) fn by_signal(state: &ControlState) {
    let reload = carried_out(state.clone(), Reload::default());
    // The log has the answer.
    tokio::task::spawn_local(asker::with(Some(Asker::Signal("SIGHUP")), reload));
}

async fn carried_out(state: ControlState, request: Reload) -> Result<Reloaded, Refusal> {
    if !request.dry_run {
        say_reloading();
    }
    let answer = attempt(&state, request).await;
    if !request.dry_run {
        say_ready();
        let since_1970 = state.sources().clock.calendar().duration_since(SystemTime::UNIX_EPOCH);
        let successful = matches!(&answer, Ok(answer) if answer.applied && answer.failed.is_none());
        let at_seconds_since_1970 = since_1970.map_or(0.0, |time| time.as_secs_f64());
        state.sources().present.note_reload(LastReload { at_seconds_since_1970, successful });
        tell(&state, &answer);
        state.forget_reading();
    }
    answer
}

async fn attempt(state: &ControlState, request: Reload) -> Result<Reloaded, Refusal> {
    let _change = begin_change(state).await?;
    let mut config = state.ground().read().map_err(wrong)?;
    let before = state.view();
    let differences = before.config.differences(&config);
    let mut refused = needs_restart(&differences);
    let limit = limit_refused(state, &before.config, &config);
    if request.allow_partial {
        config.keep(&before.config, Class::Restart);
        if limit.is_some() {
            config.gateway.max_connections = before.config.gateway.max_connections;
        }
        refused.clear();
    } else {
        refused.extend(limit);
    }
    let (loaded, wrong) = load(state, &config);
    let reading = state.reading();
    let mut changes = Vec::new();
    for difference in &differences {
        let mut change = shown::change(&reading, &before, &config, difference);
        if let Some(filter) = overdue_filter(&before, &config, difference) {
            change.ends = conns::matched(state, &filter).await.unwrap_or(0);
        }
        changes.push(change);
    }
    changes.extend(shown::renewed(&before.topology, &loaded, &differences));
    let mut answer = Reloaded {
        applied: false,
        by_hand: if request.reset { Vec::new() } else { by_hand(state, &before) },
        changes,
        failed: None,
        file: state.ground().file(),
        generation: before.generation,
        open: state.open(),
        refused: refusal(&wrong, &refused),
        schema: SCHEMA,
    };
    if answer.refused.is_some() || request.dry_run {
        return Ok(answer);
    }
    let overridden = if request.reset { overridden(&before) } else { Vec::new() };
    let sets = state.sources().present.sets();
    // The text may differ though nothing does that is in force.
    let is_same = before.config.differences(&config).is_empty() && before.topology.has(&loaded);
    let by_hand = before.config.upstreams.iter().any(|one| sets.is_by_hand(&one.name));
    if is_same && !(request.reset && by_hand) {
        take_words(&before, &before, &overridden);
        answer.applied = true;
    } else {
        let then = (request.reset, &*overridden);
        match go_over(state, before, (config, &loaded), then).await {
            Ok(failed) => {
                (answer.applied, answer.failed) = (true, failed);
                answer.generation = state.view().generation;
            }
            Err(because) => answer.refused = Some(because),
        }
    }
    if answer.applied {
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    if request.reset && answer.applied {
        drain::end_all(state).await;
        resume_all(state);
    }
    state.forget_reading();
    Ok(answer)
}

/// Reads the files of TLS, before anything is changed: where one is of no use, none is taken, and
/// the words say why.
fn load(state: &ControlState, config: &Config) -> (Loaded, Vec<String>) {
    match Loaded::load(config, state.sources().clock.calendar()) {
        Ok(loaded) => {
            guard_secrets(&loaded);
            (loaded, Vec::new())
        }
        Err(errors) => (Loaded::default(), errors.iter().map(LoadError::to_string).collect()),
    }
}

/// Why a reload changes nothing: files that are wrong, or keys that cannot change.
fn refusal(wrong: &[String], refused: &[String]) -> Option<String> {
    if !wrong.is_empty() {
        return Some(wrong.join("; "));
    }
    (!refused.is_empty()).then(|| format!("{}; {TAKE_THE_OTHERS}", refused.join("; ")))
}

/// Tells what came of a reload; the log has a line for each change besides.
fn tell(state: &ControlState, answer: &Result<Reloaded, Refusal>) {
    let tell = |severity, words: &str| state.tell(severity, "gateway", words);
    let answer = match answer {
        Ok(Reloaded { refused: Some(because), .. }) | Err((_, because)) => {
            let because: Vec<&str> = because.lines().collect();
            let words = format!("reload refused, nothing was changed: {}", because.join("; "));
            return tell(Severity::Error, &words);
        }
        Ok(answer) => answer,
    };
    let made = || answer.changes.iter().filter(|change| change.takes != Takes::Restart);
    for Change { key, before, after, .. } in made() {
        tracing::info!(key, before, after, "reloaded");
    }
    let Reloaded { file, generation, .. } = answer;
    let changes = count(made().count() as u64, "change");
    tell(
        Severity::Info,
        &match answer.changes.is_empty() {
            true => format!("reload: nothing differs from the config file {file}"),
            false => format!("reload: the config is in force, generation {generation}, {changes}"),
        },
    );
    if let Some(failed) = &answer.failed {
        tell(Severity::Error, &format!("not yet: {failed}"));
    }
}

/// Keys that cannot change while the gateway runs.
fn needs_restart(differences: &[Difference]) -> Vec<String> {
    let restarts = differences.iter().filter(|one| one.class == Class::Restart);
    restarts.map(needs_restart_words).collect()
}

fn needs_restart_words(difference: &Difference) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let (path, before, after) =
        (difference.path(), value(&difference.before), value(&difference.after));
    format!("{path} needs an upgrade: it is {before} as long as this process runs, not {after}")
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
            "gateway.max_connections = {clients} needs an upgrade: the start made room for {slots}"
        )),
        Auto::Fixed(_) => None,
        Auto::Auto => Some(
            "gateway.max_connections = \"auto\" needs an upgrade: it is worked out there"
                .to_owned(),
        ),
    }
}

/// Ends every pause.
fn resume_all(state: &ControlState) {
    let view = state.view();
    for listener in view.paused().collect::<Vec<_>>() {
        view.set_paused(listener, false);
        state.workers().iter().for_each(|worker| worker.order(Order::Resume(listener)));
        let name = &view.topology.listeners[listener].name;
        state.tell(Severity::Info, &format!("listener/{name}"), "resumed by a reload");
    }
}

/// Goes over to a config; says what of it has not been carried out in time.
///
/// # Errors
/// When it cannot be had. Nothing has changed then.
async fn go_over(
    state: &ControlState,
    before: Arc<View>,
    (config, loaded): (Config, &Loaded),
    (reset, overridden): (bool, &[ServerId]),
) -> Result<Option<String>, String> {
    let sources = state.sources();
    let limit = config.gateway.max_connections;
    let mut sets = sources.present.sets().as_ref().clone();
    sets.follow(&before.config, &config, reset);
    learn(&mut sets, &config, &sources.events).await;
    let Ready { next, sockets, access_log, take_place } =
        Ready::new(state, &before, config, sets, loaded)?;
    drop(before);
    serve_last_clients(state).await;
    if let Auto::Fixed(clients) = limit {
        sources.budget.set_limit(clients);
    }
    if let Some(log) = &sources.log {
        log.set(&next.config.log);
    }
    if let Some(writing) = access_log {
        sources.access_log.replace(writing);
    }
    if let Some(take_place) = take_place {
        take_place();
    }
    let behind = change::go_over(state, next, sockets, overridden).await;
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
