//! Connections that are held, with other loads beside them, until somebody has done something to
//! the target.

mod exchange;
mod figures;
mod flows;
mod ground;
mod held;
mod marks;
mod newcomers;
mod script;
mod talk;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::engine::{self, Phase, Until};
use crate::flags::{self, Beside};
use crate::load::common::{Buffers, Common, share};
use crate::load::plan::Size;
use crate::load::verdict::Verdict;
use marks::Marks;
use script::{Members, newcomers};

/// Connections that are held and checked, with messages, newcomers and streams beside them.
#[derive(Args)]
#[command(
    after_help = "Examples: half a minute in which somebody may do something to the target; and \
the same until stdin ends:
  portcullis-bench crowd --target 127.0.0.1:7000 --connections 10000 \\
      --beside pingpong:1000@20000,churn:300,bulk:16,slow:100,halfclose:100 --seconds 30s
  portcullis-bench crowd --target 127.0.0.1:7000 --connections 10000 --beside churn:300 --told

Beside: pingpong:CONNECTIONS@MESSAGES_PER_SECOND (each counts from when it was due),
churn:CONNECTIONS_PER_SECOND (each with one message), bulk:CONNECTIONS[@BYTES_PER_SECOND] (both
ways), slow:CONNECTIONS (which send, and read 16 KiB four times a second), halfclose:CONNECTIONS
(which send 512 KiB, say FIN, and read on).

With --told, lines on stdin are marks: `begin` and `end SECONDS` of a time in which something is
done to the target, of which it moves connections for so long; `forgive` begins one in which only
held ones that are not asked meanwhile must not be lost; `check` asks each held one. Each is
answered by a line of JSON, and the first line says that all are open."
)]
pub(crate) struct Crowd {
    #[command(flatten)]
    common: Common,
    /// Connections that are held
    #[arg(long, default_value_t = 10_000, value_parser = flags::connections)]
    connections: u64,
    /// What goes on beside them
    #[arg(long, value_name = "LIST", value_parser = flags::beside)]
    beside: Option<Beside>,
    /// How long they are held once all are open
    #[arg(long, default_value = "30s", value_parser = flags::duration)]
    seconds: Duration,
    /// Hold them until stdin ends instead, and take marks from it
    #[arg(long, conflicts_with = "seconds")]
    told: bool,
    /// Held ones that are being opened, checked or closed at one time
    #[arg(long, default_value_t = 1_024, value_parser = flags::count)]
    window: u64,
    /// Held ones asked per second, one after the other
    #[arg(long, default_value_t = 100, value_parser = flags::count)]
    probes: u64,
}

impl Crowd {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let beside = self.beside.unwrap_or_default();
        let all = self.connections + beside.connections() + newcomers(beside.churn);
        let at_once = self.window + beside.connections();
        // Newcomers close first, and their ports rest for a minute.
        let tuples = all + beside.churn * 60;
        let plan = self.common.plan(Size { connections: all, tuples, at_once })?;
        let threads = self.common.threads(self.connections);
        let run = if self.told { Until::Done } else { Until::Elapsed(self.seconds) };
        let phases = vec![
            (Phase::Open, Until::Done),
            (Phase::Run, run),
            (Phase::Check, Until::Done),
            (Phase::Close, Until::Done),
        ];
        let job = self.common.job(&plan, phases, threads, self.connections);
        let marks = Arc::new(Marks::new(threads));
        // Threads inherit which signals wait until the run hears them.
        engine::hold_signals()?;
        if self.told {
            marks.hear();
        }
        let mut outcome = engine::run(&job, |index| {
            let of = |total: u64| share(total, index, threads);
            let kinds = [beside.pingpong, beside.bulk, beside.slow, beside.halfclose];
            let steady: u64 = kinds.into_iter().map(of).sum();
            let slots = of(self.connections) + steady + of(newcomers(beside.churn));
            let buffers = Buffers::for_messages(flows::PART_BYTES);
            let setup = self.common.setup(&plan, slots as u32, buffers);
            let pairs = setup.servers.len();
            Ok((setup, Members::new(self, marks.clone(), index, threads, pairs)))
        })?;
        let figures = figures::of(&marks, &mut outcome.tally);
        let messages = outcome.tally.get("messages") as f64;
        let verdict = Verdict {
            scenario: "crowd",
            answers: &["held_opened", "messages", "new_served"],
            outcome: &outcome,
            measured: Phase::Run,
            asked: json!({
                "connections": self.connections, "beside": beside.to_string(),
                "probes": self.probes, "told": self.told,
                "seconds": (!self.told).then(|| flags::seconds(self.seconds)),
            }),
            units: vec![("message", messages)],
            figures,
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}
