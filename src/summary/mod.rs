//! What readings of a gateway say to a person: figures and tables, for a terminal and a page alike.
//!
//! One definition of each table serves `status`, `conns`, `top` and the status page: a [`Head`]
//! also names the value's place in the page's document, where a script finds it again in the next
//! reading.

mod busiest;
mod cell;
mod changes;
mod conns;
#[cfg(test)]
pub(crate) mod sample;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

pub use busiest::busiest;
pub use cell::{Cell, Kind, Level, span};
pub use changes::changes;
pub use conns::{conns, listing};
pub use text::{FIGURE_GAP, figure_lines, laid_out, screenful};

use crate::base::limits::STALLED_AFTER;
use crate::base::plain_word;
use crate::doctor::count;
use crate::metrics::Reading;
use crate::metrics::reading::Counts;

/// Rates of less time than this are noise.
const SECONDS_MIN: f64 = 0.05;

/// The name of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// For people.
    pub title: &'static str,
    /// Its place in the row of the page's document, dots between the steps; `#`: the row's name.
    pub path: &'static str,
    /// The place of what it is a share of.
    pub of: &'static str,
    /// Of which kind the values are.
    pub kind: Kind,
    /// Where there is no room, the greatest goes first.
    pub spare: u8,
}

impl Head {
    /// Of a value that stands alone.
    const fn new(title: &'static str, path: &'static str, kind: Kind, spare: u8) -> Head {
        Head { title, path, of: "", kind, spare }
    }

    /// Of a share of what is at `of`.
    const fn share(title: &'static str, path: &'static str, of: &'static str, spare: u8) -> Head {
        Head { title, path, of, kind: Kind::Share, spare }
    }
}

/// Rows of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The title of the table.
    pub title: &'static str,
    /// Their place in the page's document.
    pub path: &'static str,
    /// By column.
    pub heads: &'static [Head],
    /// As long as `heads`, each.
    pub rows: Vec<Row>,
}

impl Table {
    /// Of `columns`, each with its width, those for which `room` has room with `gap` between two;
    /// one at least.
    pub fn fit(
        &self,
        mut columns: Vec<(usize, usize)>,
        gap: usize,
        room: usize,
    ) -> Vec<(usize, usize)> {
        let total = |columns: &[(usize, usize)]| -> usize {
            columns.iter().map(|(_, wide)| wide + gap).sum::<usize>().saturating_sub(gap)
        };
        while columns.len() > 1 && total(&columns) > room {
            let spare = |at: &usize| (self.heads[columns[*at].0].spare, *at);
            let at = (0..columns.len()).max_by_key(spare).expect("there is more than one");
            columns.remove(at);
        }
        columns
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name in the table's place in the page's document.
    pub key: String,
    /// By column.
    pub cells: Vec<Cell>,
}

/// A reading in figures and tables, with rates if there is an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The gateway's version.
    pub version: String,
    /// `ready` or `draining`.
    pub stage: &'static str,
    /// Since its start.
    pub up: Duration,
    /// When a drain ends what is left.
    pub drain_left: Option<Duration>,
    /// Present failures and losses, a line each.
    pub troubles: Vec<String>,
    /// Connections, of what may be held.
    pub connections: Cell,
    /// The limit that this comes from.
    pub bound_by: String,
    /// Over all listeners and workers.
    pub figures: Vec<(Head, Cell)>,
    /// Listeners.
    pub listeners: Table,
    /// Servers of upstreams.
    pub servers: Table,
    /// Upstreams that the gateway itself answers.
    pub builtins: Vec<String>,
    /// Workers and their rings.
    pub workers: Table,
    /// Why connections were closed and clients refused.
    pub endings: Table,
}

impl Summary {
    /// The summary of `now`. Rates are since `earlier`, unless that is another process's.
    pub fn of(now: &Reading, earlier: Option<&Reading>) -> Summary {
        let pace = Pace::between(now, earlier);
        let drain_left = now.drain.deadline_seconds.filter(|_| now.drain.draining);
        Summary {
            version: plain_word(&now.build.version).into_owned(),
            stage: if now.drain.draining { "draining" } else { "ready" },
            up: seconds(now.at_seconds),
            drain_left: drain_left.map(|deadline| seconds(deadline - now.at_seconds)),
            troubles: troubles(now),
            connections: Cell::Share { used: open(now), all: now.budget.limit },
            bound_by: plain_word(&now.budget.bound_by).into_owned(),
            figures: tables::figures(now, pace),
            listeners: tables::listeners(now, pace),
            servers: tables::servers(now, pace),
            builtins: now
                .upstreams
                .iter()
                .filter(|upstream| upstream.servers.is_empty())
                .map(|upstream| plain_word(&upstream.name).into_owned())
                .collect(),
            workers: tables::workers(now, pace),
            endings: tables::endings(now, pace),
        }
    }

    /// The tables, the most telling first.
    pub fn tables(&self) -> [&Table; 4] {
        [&self.listeners, &self.servers, &self.workers, &self.endings]
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

fn troubles(now: &Reading) -> Vec<String> {
    let log = now.access_log.as_ref().filter(|log| log.failing.is_some() || log.lost() > 0);
    let words = log.map(|log| {
        let failing = log.failing.as_ref().map(|failing| {
            let since = span(seconds(now.at_seconds - failing.since_seconds));
            format!("not written for {since} ({}), ", plain_word(&failing.because))
        });
        format!("access log: {}{} lost", failing.unwrap_or_default(), count(log.lost(), "line"))
    });
    words.into_iter().collect()
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
