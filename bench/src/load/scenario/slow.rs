//! Clients that do not read for a while, or write a few bytes now and then; all must arrive.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, json};

use super::bulk::{Bulk, Direction, Manner};
use crate::engine::Phase;
use crate::flags;
use crate::load::common::Common;
use crate::load::verdict::Verdict;

/// What one send of a client takes that is in no hurry to read.
const SEND_BYTES: u32 = 16 << 10;

/// Who is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    /// They send as much as goes and read nothing
    Reader,
    /// They send a few bytes at intervals and read what comes
    Writer,
    /// They send a few bytes at intervals and read nothing
    Both,
}

/// Clients that do not read for a while, or dribble what they write; everything must arrive.
#[derive(Args)]
#[command(
    after_help = "Examples: 100 clients that send and do not read for 10 s, then read all of \
it; and 1,000 that send 3 bytes every second:
  portcullis-bench slow --target 127.0.0.1:7000 --connections 100 --seconds 10 \\
      --target-pid $(pgrep -x portcullis)
  portcullis-bench slow --target 127.0.0.1:7000 --connections 1000 --who writer --interval 1s"
)]
pub(crate) struct Slow {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 100, value_parser = flags::connections)]
    connections: u64,
    /// How long they are slow
    #[arg(long, default_value = "10s", value_parser = flags::duration)]
    seconds: Duration,
    /// What is slow about them; whoever reads nothing reads everything afterwards
    #[arg(long, value_enum, default_value_t = Who::Reader)]
    who: Who,
    /// What a slow writer sends at a time
    #[arg(long, default_value_t = 3)]
    #[arg(value_parser = flags::size_u32::<{ SEND_BYTES as u64 }>)]
    bytes: u32,
    /// How long each of them waits before it sends again
    #[arg(long, default_value = "100ms", value_parser = flags::duration)]
    interval: Duration,
}

impl Slow {
    /// A transfer to an echo.
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let (connections, seconds) = (self.connections, self.seconds);
        let (common, direction) = (self.common.clone(), Direction::Both);
        let writes = self.who != Who::Reader;
        let manner = Manner {
            stalled: self.who != Who::Writer,
            dribble: writes.then_some((self.bytes, self.interval)),
        };
        let bytes = if writes { self.bytes } else { SEND_BYTES };
        let outcome = Bulk { common, connections, seconds, direction, bytes }.stream(manner)?;
        let mut figures = Map::new();
        if let Some((before, after)) = outcome.around(Phase::Run).filter(|_| manner.stalled) {
            let each = |bytes: i64| bytes as f64 / connections.max(1) as f64;
            figures.insert(
                "stalled_bytes_per_connection".into(),
                json!({
                    "sent_and_unread": each(outcome.tally.get("up") as i64),
                    "target_user_pss": after.pss_since(before).map(each),
                    "target_cgroup": after.cgroup_since(before).map(each),
                }),
            );
        }
        let mut asked = json!({
            "connections": connections, "stalled_seconds": flags::seconds(seconds),
            "who": format!("{:?}", self.who).to_lowercase(),
        });
        if writes {
            asked["bytes"] = json!(self.bytes);
            asked["interval_seconds"] = json!(self.interval.as_secs_f64());
        }
        let verdict = Verdict {
            scenario: "slow",
            answers: &["down"],
            outcome: &outcome,
            measured: Phase::Run,
            asked,
            units: Vec::new(),
            figures,
            max_lag: self.common.max_lag,
            json: self.common.json,
            doubts: Vec::new(),
        };
        Ok(verdict.tell())
    }
}
