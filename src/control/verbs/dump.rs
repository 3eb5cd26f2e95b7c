//! One text for a bug report: the version, the doctor's findings, the config, the metrics, and the
//! history of each worker, with every address replaced.

use std::fmt::{self, Write};
use std::path::Path;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::redact::redact;
use crate::api::{DUMP_PATH, patience};
use crate::base::Millis;
use crate::control::events::line;
use crate::control::handle::{Ended, WorkerHandle, answer_of};
use crate::control::state::ControlState;
use crate::doctor::Diagnosis;
use crate::host::facts::Facts;
use crate::metrics::plain_text;
use crate::metrics::reading::Severity;
use crate::ring::{Completion, Done};
use crate::worker::{HistoryEntry, HistoryKind, Order};

pub(super) fn routes() -> Router<ControlState> {
    Router::new().route(DUMP_PATH, get(dump))
}

/// Collects everything.
async fn dump(State(state): State<ControlState>) -> String {
    line(Severity::Info, "gateway", "a dump is made");
    let histories = histories(state.workers()).await;
    let mut text = String::new();
    write(&mut text, &state, &histories).expect("memory takes every line");
    redact(&text)
}

/// Why there is no history of a worker.
enum NoHistory {
    /// It has ended.
    Ended,
    /// It stands still, or has much to do.
    Late,
}

/// A worker's history, or why there is none.
type History = Result<Vec<HistoryEntry>, NoHistory>;

/// Each worker's history; all are asked at once and have the same time.
async fn histories(workers: &[WorkerHandle]) -> Vec<History> {
    let ask = |worker: &WorkerHandle| {
        worker.has_time().then(|| {
            let (reply, answer) = oneshot::channel();
            worker.order(Order::Recall(reply));
            answer
        })
    };
    let answers: Vec<_> = workers.iter().map(ask).collect();
    let over = sleep(patience::RECALL);
    tokio::pin!(over);
    let mut histories = Vec::new();
    for answer in answers {
        let Some(answer) = answer else {
            histories.push(Err(NoHistory::Late));
            continue;
        };
        histories.push(tokio::select! {
            // An answer that is there counts, even when the time is over.
            biased;
            history = answer_of(answer) => history.map_err(|Ended| NoHistory::Ended),
            () = &mut over => Err(NoHistory::Late),
        });
    }
    histories
}

fn write(out: &mut String, state: &ControlState, histories: &[History]) -> fmt::Result {
    let (sources, view) = (state.sources(), state.view());
    let reading = state.reading();
    let Millis(now) = state.now();
    writeln!(out, "# portcullis {}, {} s after its start", reading.build.version, now / 1000)?;
    writeln!(
        out,
        "# Each ip4-N and ip6-N stands for one address. Names and paths are as they are."
    )?;
    let facts = Facts::read(Path::new("/"), sources.given.clone());
    writeln!(out, "\n## doctor\n\n{}", Diagnosis::new(facts, &view.config, None))?;
    let sha256 = view.config.file_sha256.as_deref().unwrap_or("none, it is the embedded one");
    writeln!(out, "\n## config\n")?;
    writeln!(
        out,
        "# As a file of its own: give each ip4-N and ip6-N an address. Defaults are written."
    )?;
    writeln!(out, "# SHA-256 of the file that was read: {sha256}")?;
    if view.config.files.len() > 1 {
        let files = view.config.files.join(", ");
        writeln!(out, "# It is that of these, one behind the other: {files}")?;
    }
    for setting in &state.ground().source().settings {
        writeln!(out, "# Set by the command line: {setting:?}")?;
    }
    writeln!(out, "{}", view.config.written())?;
    writeln!(out, "\n## metrics\n\n{}", plain_text(&reading))?;
    for (worker, history) in histories.iter().enumerate() {
        writeln!(out, "\n## worker {worker}: what its ring completed last, and which ended\n")?;
        match history {
            Ok(entries) => entries.iter().try_for_each(|entry| write_entry(out, entry))?,
            Err(NoHistory::Ended) => writeln!(out, "it has ended")?,
            Err(NoHistory::Late) => {
                writeln!(out, "it did not answer within {} s", patience::RECALL.as_secs())?;
            }
        }
    }
    Ok(())
}

/// One line: the moment in seconds, the connection as slot-generation, the entry in words.
fn write_entry(out: &mut String, HistoryEntry { at, kind }: &HistoryEntry) -> fmt::Result {
    let (seconds, micros) = (at.0 / 1_000_000, at.0 % 1_000_000);
    write!(out, "{seconds}.{micros:06} ")?;
    match kind {
        HistoryKind::Completed(Completion::Accepted { gate: listener, conn, more }) => {
            writeln!(out, "{} accepted at={} more={more}", conn.0, listener.0)
        }
        HistoryKind::Completed(Completion::QueueReady { gate: listener }) => {
            writeln!(out, "queue-ready at={}", listener.0)
        }
        HistoryKind::Completed(Completion::GateRemoved { gate }) => {
            writeln!(out, "gate-removed at={}", gate.0)
        }
        HistoryKind::Completed(Completion::AcceptEnded { gate: listener, error }) => {
            writeln!(out, "accept-ended at={} error={error:?}", listener.0)
        }
        HistoryKind::Completed(Completion::Done(Done { token, result, more, .. })) => writeln!(
            out,
            "{}-{} {:?} {:?} {result:?} more={more}",
            token.conn.0, token.generation, token.side, token.kind
        ),
        HistoryKind::Completed(Completion::Lent { conn, side, result }) => {
            writeln!(out, "{} lent {side:?} {result:?}", conn.0)
        }
        HistoryKind::Completed(Completion::Adopted { key, result }) => {
            writeln!(out, "adopted key={key} {result:?}")
        }
        HistoryKind::Ended { conn, generation, reason } => {
            writeln!(out, "{}-{generation} ended reason={}", conn.0, reason.word())
        }
    }
}
