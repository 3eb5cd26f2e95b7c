//! The exposition: a reading as text for a monitoring system, in one of two formats.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use super::catalogue::{Family, Kind, Unit, Value, families};
use super::reading::{Durations, Reading};

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own text format 0.0.4, which everybody reads.
    Text,
}

impl Format {
    /// What an HTTP client that says `accept` gets: OpenMetrics if it names it, else the other.
    pub fn accepted(accept: Option<&str>) -> Format {
        let named = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if named { Format::OpenMetrics } else { Format::Text }
    }

    /// The value of the HTTP header Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The reading in this format.
    pub fn show(self, reading: &Reading) -> String {
        match self {
            Format::OpenMetrics => openmetrics(reading),
            Format::Text => plain_text(reading),
        }
    }
}

/// The reading as OpenMetrics text.
pub fn openmetrics(reading: &Reading) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(reading.clone())));
    let mut exposition = String::new();
    text::encode(&mut exposition, &registry).expect("a string takes every write");
    exposition
}

/// The reading as Prometheus text. The samples are those of OpenMetrics; there a family is called
/// as its samples are, units are no lines of their own, and nothing marks the end.
pub fn plain_text(reading: &Reading) -> String {
    let mut text = String::new();
    let mut all = families();
    let mut family = None;
    for line in openmetrics(reading).lines() {
        if line.starts_with("# HELP ") {
            family = all.next();
        }
        match (line.split(' ').nth(1).filter(|_| line.starts_with('#')), family) {
            (Some("HELP"), Some(family)) => {
                text += &format!("# HELP {} {}\n", family.sample_name(), family.help);
            }
            (Some("TYPE"), Some(family)) => {
                let kind = if family.kind == Kind::Info { Kind::Gauge } else { family.kind };
                text += &format!("# TYPE {} {}\n", family.sample_name(), kind.word());
            }
            (Some(_), _) => {}
            (None, _) => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

/// A reading as the crate takes it: owned.
#[derive(Debug)]
struct Exposition(Reading);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in families() {
            let unit = family.unit.map(unit_of);
            let name = match family.unit {
                Some(unit) => family.name.trim_end_matches(unit.word()).trim_end_matches('_'),
                None => family.name,
            };
            let help = format!("{}.", family.help);
            let metric = encoder.encode_descriptor(name, &help, unit.as_ref(), kind_of(family))?;
            encode_samples(family, &self.0, metric)?;
        }
        Ok(())
    }
}

fn kind_of(family: &Family) -> MetricType {
    match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    }
}

fn unit_of(unit: Unit) -> registry::Unit {
    match unit {
        Unit::Seconds => registry::Unit::Seconds,
        Unit::Bytes => registry::Unit::Bytes,
    }
}

fn encode_samples(
    family: &Family,
    reading: &Reading,
    mut metric: MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut outcome = Ok(());
    (family.read)(reading, &mut |values, value| {
        assert_eq!(values.len(), family.labels.len(), "{}", family.name);
        let labels: Vec<_> = family.labels.iter().copied().zip(values.iter().copied()).collect();
        let encoded = match (family.kind, labels.is_empty()) {
            (Kind::Info, _) => metric.encode_info(&labels),
            (_, true) => encode(family.kind, value, &mut metric),
            (_, false) => metric
                .encode_family(&labels)
                .and_then(|mut metric| encode(family.kind, value, &mut metric)),
        };
        outcome = outcome.and(encoded);
    });
    outcome
}

fn encode(kind: Kind, value: Value<'_>, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&count, None)
        }
        (Kind::Counter, Value::Number(number)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(&number, None)
        }
        (Kind::Gauge, Value::Count(count)) => metric.encode_gauge(&count),
        (Kind::Gauge, Value::Number(number)) => metric.encode_gauge(&number),
        (Kind::Histogram, Value::Durations(durations)) => encode_histogram(durations, metric),
        (kind, value) => panic!("{value:?} is no {kind:?}"),
    }
}

fn encode_histogram(
    durations: &Durations,
    metric: &mut MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    let bounds = durations.bounds_seconds.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(durations.counts.iter().copied()).collect();
    let count = durations.count();
    metric.encode_histogram::<NoLabelSet>(durations.sum_seconds, count, &buckets, None)
}
