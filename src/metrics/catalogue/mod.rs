//! The one list of metrics: name, kind, unit, labels, meaning, and where in a reading the value is.
//!
//! The reading itself stands here, too: it has the numbers that are declared below, and a metric
//! is found in it.

mod changes;
mod gateway;
pub mod listener;
pub mod server;
pub mod upstream;
pub mod worker;

use serde::{Deserialize, Serialize};

use super::counter::Counts;
use super::histogram::Durations;
use super::told::{
    AccessLog, Budget, Build, Certificate, ConfigText, Drain, DrainProgress, Event, Host, Identity,
    Io, Process, Sources, Trouble, UpgradeProgress,
};
use listener::Listener;
use upstream::Upstream;
use worker::Worker;

/// Everything that a gateway says about itself at one moment. Rates are for the reader to make, of
/// two readings and their `at_seconds`.
///
/// Numbers that grow never shrink while the process lives. Workers go on while they are read, so
/// sums may be a few connections apart; when nothing happens any more they agree exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// [`reading::SCHEMA`](super::reading::SCHEMA).
    pub schema: u32,
    /// When this was read, in seconds of the gateway's own clock, which never goes back.
    pub at_seconds: f64,
    /// When this was read, by the calendar; `None`: a former version does not say.
    #[serde(default)]
    pub at_seconds_since_1970: Option<f64>,
    /// Version and commit of the program.
    pub build: Build,
    /// How it reaches the kernel.
    #[serde(default)]
    pub io: Io,
    /// Which gateway it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Identity>,
    /// The config that it runs with.
    pub config: ConfigText,
    /// The process.
    pub process: Process,
    /// Limits that the whole machine shares.
    pub host: Host,
    /// The limit of connections, and the permits in use.
    pub budget: Budget,
    /// What sources have, and which are refused.
    #[serde(default)]
    pub sources: Sources,
    /// How the end comes on.
    pub drain: Drain,
    /// Every drain under way, that of the process among them.
    #[serde(default)]
    pub drains: Vec<DrainProgress>,
    /// How far an upgrade under way is, in the process that hands over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeProgress>,
    /// What is wrong at present, the worst first.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// The last events, at most 20, the oldest first.
    #[serde(default)]
    pub events: Vec<Event>,
    /// Certificates of all listeners, in the order of the config.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// The counts of the access log's lines; `None`: there is no access log.
    pub access_log: Option<AccessLog>,
    /// By worker.
    pub workers: Vec<Worker>,
    /// In the order of the config.
    pub listeners: Vec<Listener>,
    /// What was counted of listeners that the config no longer has, without names, so that sums
    /// over all listeners never fall; `None`: none was removed.
    #[serde(default)]
    pub removed: Option<Listener>,
    /// In the order of the config.
    pub upstreams: Vec<Upstream>,
}

impl Reading {
    /// Every listener, those that were removed as one of them: what totals are sums over.
    pub fn all_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().chain(&self.removed)
    }
}

/// A family of metrics: one name, a sample for each combination of its labels' values.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name without the suffix that its kind brings (`_total`, `_info`), with that of its unit.
    pub name: &'static str,
    /// The kind of its numbers.
    pub kind: Kind,
    /// Their unit, where it is not a plain count.
    pub unit: Option<Unit>,
    /// The names of its labels. Their values come from the config or from a fixed list, so their
    /// number is bounded.
    pub labels: &'static [&'static str],
    /// Its help, in one sentence without the last full stop.
    pub help: &'static str,
    /// Hands each sample over: the labels' values in their order, and the number.
    pub read: fn(&Reading, &mut Sink<'_>),
}

/// A consumer of samples.
pub type Sink<'a> = dyn FnMut(&[&str], Value<'_>) + 'a;

/// A consumer of things that have a number each: the labels' values of one, and the thing.
pub(super) type Show<'a, T> = dyn FnMut(&[&str], &T) + 'a;

/// The kind of a family's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Durations by bucket.
    Histogram,
    /// Always 1: what it says stands in the labels.
    Info,
}

impl Kind {
    /// The word that OpenMetrics has for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

/// The unit of a family's numbers, by which its name ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// The unit of a family of this name.
    const fn of(name: &str) -> Option<Unit> {
        let name = name.as_bytes();
        if ends_with(name, b"_seconds") {
            Some(Unit::Seconds)
        } else if ends_with(name, b"_bytes") {
            Some(Unit::Bytes)
        } else {
            None
        }
    }

    /// The word at the end of the name.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }
}

const fn ends_with(name: &[u8], suffix: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(suffix.len()) else { return false };
    let mut index = 0;
    while index < suffix.len() {
        if name[start + index] != suffix[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The number of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A count.
    Count(u64),
    /// A measure.
    Number(f64),
    /// A histogram.
    Durations(&'a Durations),
}

/// Every family, in the order of the exposition.
pub fn families() -> impl Iterator<Item = &'static Family> {
    let declared = [listener::FAMILIES, server::FAMILIES, upstream::FAMILIES, worker::FAMILIES];
    let by_hand = gateway::FAMILIES.iter().chain(changes::FAMILIES);
    by_hand.chain(declared.into_iter().flatten().flatten())
}

impl Family {
    /// A family whose unit is the one that its name ends with.
    pub(super) const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        read: fn(&Reading, &mut Sink<'_>),
    ) -> Family {
        Family { name, kind, unit: Unit::of(name), labels, help, read }
    }

    const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        read: fn(&Reading, &mut Sink<'_>),
    ) -> Family {
        Family::new(Kind::Counter, name, labels, help, read)
    }

    const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        read: fn(&Reading, &mut Sink<'_>),
    ) -> Family {
        Family::new(Kind::Gauge, name, labels, help, read)
    }

    /// The name that its samples have; a histogram's have `_bucket`, `_sum` and `_count` besides.
    pub fn sample_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

/// A type that can be a metric's value.
pub(super) trait Shown {
    /// Hands its samples over: one with these labels' values, or several, each with one more label.
    fn show(&self, labels: &[&str], out: &mut Sink<'_>);
}

impl Shown for u64 {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        out(labels, Value::Count(*self));
    }
}

impl Shown for f64 {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        out(labels, Value::Number(*self));
    }
}

impl Shown for bool {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        u64::from(*self).show(labels, out);
    }
}

/// Without a value there is no sample.
impl<T: Shown> Shown for Option<T> {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        if let Some(value) = self {
            value.show(labels, out);
        }
    }
}

impl Shown for Durations {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        out(labels, Value::Durations(self));
    }
}

impl Shown for Counts {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        for (reason, count) in self {
            count.show(&[labels, &[reason]].concat(), out);
        }
    }
}

/// One number for each side of a connection.
pub(super) struct Sides {
    pub(super) client: u64,
    pub(super) upstream: u64,
}

impl Shown for Sides {
    fn show(&self, labels: &[&str], out: &mut Sink<'_>) {
        self.client.show(&[labels, &["client"]].concat(), out);
        self.upstream.show(&[labels, &["upstream"]].concat(), out);
    }
}
