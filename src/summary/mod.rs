//! What readings of a gateway say to a person: figures and tables, for a terminal and a page alike.
//!
//! One definition of each table serves `status`, `conns`, `top` and the status page: a [`Head`]
//! also names the value's place in the page's document, where a script finds it again in the next
//! reading.

mod busiest;
mod cell;
mod changes;
mod conns;
mod said;
#[cfg(test)]
pub(crate) mod sample;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

pub use busiest::busiest;
pub use cell::{Cell, Kind, Level, span};
pub use changes::changes;
pub use conns::{conns, counts, listing};
pub use said::{Said, events, lasted, upgrade_words};
pub use table::{Head, Row, Table};
pub use text::{FIGURE_GAP, figure_lines, laid_out, screenful};

use crate::base::limits::STALLED_AFTER;
use crate::base::plain_word;
use crate::metrics::Reading;
use crate::metrics::reading::Counts;

/// Rates of less time than this are noise.
const SECONDS_MIN: f64 = 0.05;

/// How many tables a summary has.
pub const TABLES: usize = 7;

/// A reading in figures and tables, with rates if there is an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The gateway's version.
    pub version: String,
    /// Which gateway it is, where the reading says so.
    pub gateway: Option<String>,
    /// `ready`, `upgrading` or `draining`.
    pub stage: &'static str,
    /// How far it is with that: `ends within 12 s`, `move, 4,100 moved, 900 left`; often nothing.
    pub how_far: Option<String>,
    /// Since its start.
    pub up: Duration,
    /// Whether all is well, in a few words.
    pub verdict: String,
    /// What is wrong at present, the worst first.
    pub troubles: Vec<Said>,
    /// Connections, of what may be held.
    pub connections: Cell,
    /// The limit that this comes from.
    pub bound_by: String,
    /// Over all listeners and workers.
    pub figures: Vec<(Head, Cell)>,
    /// Drains under way.
    pub drains: Table,
    /// Listeners.
    pub listeners: Table,
    /// Servers of upstreams.
    pub servers: Table,
    /// A server or an upstream is in trouble.
    pub servers_fail: bool,
    /// Upstreams that the gateway itself answers.
    pub builtins: Vec<String>,
    /// Workers and their rings.
    pub workers: Table,
    /// Why connections were closed and clients refused.
    pub endings: Table,
    /// Sources that were refused most.
    pub sources: Table,
    /// Listeners where TLS ends.
    pub tls: Table,
    /// What happened last, a line each, the oldest first.
    pub events: Vec<String>,
}

impl Summary {
    /// The summary of `now`. Rates are since `earlier`, unless that is another process's.
    pub fn of(now: &Reading, earlier: Option<&Reading>) -> Summary {
        let pace = Pace::between(now, earlier);
        let (stage, how_far) = said::stage(now);
        Summary {
            version: plain_word(&now.build.version).into_owned(),
            gateway: now.gateway.as_ref().map(|it| plain_word(&it.to_string()).into_owned()),
            stage,
            how_far,
            up: seconds(now.at_seconds),
            verdict: said::verdict(&now.troubles),
            troubles: said::troubles(now),
            connections: Cell::Share { used: open(now), all: now.budget.limit },
            bound_by: plain_word(&now.budget.bound_by).into_owned(),
            figures: tables::figures(now, pace),
            drains: tables::drains(now),
            listeners: tables::listeners(now, pace),
            servers: tables::servers(now, pace),
            servers_fail: said::servers_fail(&now.troubles),
            builtins: now
                .upstreams
                .iter()
                .filter(|upstream| upstream.servers.is_empty())
                .map(|upstream| plain_word(&upstream.name).into_owned())
                .collect(),
            workers: tables::workers(now, pace),
            endings: tables::endings(now, pace),
            sources: tables::sources(now),
            tls: tables::tls(now, pace),
            events: now.events.iter().map(said::event).collect(),
        }
    }

    /// The stage, and how far the gateway is with it.
    pub fn stage_words(&self) -> String {
        let how_far = self.how_far.iter().map(|words| format!(", {words}"));
        std::iter::once(self.stage.to_owned()).chain(how_far).collect()
    }

    /// The tables, each always at the same place.
    pub fn tables(&self) -> [&Table; TABLES] {
        let Summary { drains, listeners, servers, workers, endings, sources, tls, .. } = self;
        [drains, listeners, servers, workers, endings, sources, tls]
    }

    /// The places of the tables, the most telling first: servers that fail come before listeners.
    pub fn order(&self) -> [usize; TABLES] {
        if self.servers_fail { [0, 2, 1, 6, 5, 3, 4] } else { [0, 1, 2, 6, 5, 3, 4] }
    }
}

/// When something was read, and of which process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment {
    /// The start time, which tells a process from the one before it.
    process: Option<f64>,
    at_seconds: f64,
}

impl Moment {
    fn of(reading: &Reading) -> Moment {
        let process = reading.process.start_time_seconds;
        Moment { process, at_seconds: reading.at_seconds }
    }

    /// Seconds since an earlier moment of the same process, if they are enough for a rate.
    fn since(self, earlier: Moment) -> Option<f64> {
        let passed = self.at_seconds - earlier.at_seconds;
        (self.process == earlier.process && passed >= SECONDS_MIN).then_some(passed)
    }
}

/// The earlier reading of the same process, and how long ago it was.
#[derive(Clone, Copy)]
struct Pace<'a> {
    earlier: Option<(&'a Reading, f64)>,
}

impl<'a> Pace<'a> {
    fn between(now: &Reading, earlier: Option<&'a Reading>) -> Pace<'a> {
        let earlier = earlier
            .and_then(|earlier| Some((earlier, Moment::of(now).since(Moment::of(earlier))?)));
        Pace { earlier }
    }

    /// Per second, of a number that grows; one that was not there yet was 0.
    fn rate(self, now: u64, then: impl FnOnce(&'a Reading) -> Option<u64>) -> Option<f64> {
        let (earlier, passed) = self.earlier?;
        Some(now.saturating_sub(then(earlier).unwrap_or(0)) as f64 / passed)
    }
}

fn open(reading: &Reading) -> u64 {
    reading.workers.iter().map(|worker| worker.open).sum()
}

fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// A length of time, none if negative.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
