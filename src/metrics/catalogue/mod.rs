//! The one list of metrics: name, kind, unit, labels, meaning, and where in a reading the value is.

mod gateway;
mod listener;
mod upstream;
mod worker;

use super::reading::{Counts, Durations, Reading};

/// A family of metrics: one name, a sample for each combination of its labels' values.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name without the suffix that its kind brings (`_total`, `_info`), with that of its unit.
    pub name: &'static str,
    /// What kind of numbers it has.
    pub kind: Kind,
    /// Their unit, where it is not a plain count.
    pub unit: Option<Unit>,
    /// The names of its labels. Their values come from the config or from a fixed list, so their
    /// number is bounded.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence without the last full stop.
    pub help: &'static str,
    /// Hands each sample over: the labels' values in their order, and the number.
    pub read: fn(&Reading, &mut Sink<'_>),
}

/// What takes samples.
pub type Sink<'a> = dyn FnMut(&[&str], Value<'_>) + 'a;

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One that only grows.
    Counter,
    /// One that goes up and down.
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
    /// The word at the end of the name.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }
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
    [gateway::FAMILIES, listener::FAMILIES, upstream::FAMILIES, worker::FAMILIES]
        .into_iter()
        .flatten()
}

impl Family {
    const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        read: fn(&Reading, &mut Sink<'_>),
    ) -> Family {
        Family { name, kind, unit: None, labels, help, read }
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

    const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        read: fn(&Reading, &mut Sink<'_>),
    ) -> Family {
        Family {
            unit: Some(Unit::Seconds),
            ..Family::new(Kind::Histogram, name, labels, help, read)
        }
    }

    const fn in_seconds(self) -> Family {
        Family { unit: Some(Unit::Seconds), ..self }
    }

    const fn in_bytes(self) -> Family {
        Family { unit: Some(Unit::Bytes), ..self }
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

/// A sample for each reason, after the labels that are the same for all of them.
fn by_reason<const N: usize>(labels: [&str; N], counts: &Counts, out: &mut Sink<'_>) {
    for (reason, count) in counts {
        let mut all = labels.to_vec();
        all.push(reason);
        out(&all, Value::Count(*count));
    }
}
