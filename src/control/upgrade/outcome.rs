//! The answer to the asker of an upgrade, and when a process that has succeeded ends.

use std::path::PathBuf;
use std::time::Duration;

use super::plan::Plan;
use super::predecessor::{FIRST_STEP, Handing};
use crate::api::SCHEMA;
use crate::api::upgrade::{Upgrade, Upgraded};
use crate::config::Place;
use crate::control::drains::Ask;
use crate::control::state::{ControlState, Stage};
use crate::host::kernel_files::own_program;

/// From the answer of the last request to the end: it is on its way by then.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
/// How long a successor must prove itself where nobody says.
const PROBATION: Duration = Duration::from_secs(2);
/// How long none may move, and those that cannot at once are tried again, where nobody says.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Hands everything over, or leaves everything as it was.
///
/// # Errors
/// When it cannot be tried.
pub(in crate::control) async fn carried_out(
    state: ControlState,
    request: Upgrade,
) -> Result<Upgraded, String> {
    if std::process::id() == 1 {
        return Err("this process is PID 1 of its container, which ends with it: start the \
            gateway below an init (docker run --init), or drain it and start another"
            .to_owned());
    }
    let plan = plan(&state, &request)?;
    let Some(handover) = state.begin_upgrade(FIRST_STEP) else {
        return Err("an upgrade is under way; `portcullis upgrade --abort` takes it back".into());
    };
    let change = state.begin_change().await;
    if state.stage() != Stage::Ready {
        state.end_upgrade(false);
        return Err("the gateway drains: a start of the next one takes its addresses over".into());
    }
    let outcome = Handing::new(&state, plan, handover).carry_out().await;
    let outcome = Upgraded { pid: std::process::id(), schema: SCHEMA, ..outcome };
    state.end_upgrade(outcome.committed);
    drop(change);
    if outcome.committed {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(LAST_ANSWERS).await;
            state.ask(Ask::Succeeded);
        });
    }
    Ok(outcome)
}

fn plan(state: &ControlState, request: &Upgrade) -> Result<Plan, String> {
    let binary = match &request.binary {
        Some(binary) => PathBuf::from(binary),
        None => {
            own_program().ok_or("/proc/self/exe cannot be read: name the program by --binary")?
        }
    };
    let mut config = state.ground().source();
    if let Some(path) = &request.config {
        config.place = Place::File(PathBuf::from(path));
    }
    let time = |millis: Option<u64>, usual| millis.map_or(usual, Duration::from_millis);
    let probation = time(request.probation_millis, PROBATION);
    Ok(Plan { binary, config, probation, timeout: time(request.timeout_millis, TIMEOUT) })
}
