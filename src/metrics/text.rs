//! The exposition: a reading as text for a monitoring system, in one of two formats.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use super::catalogue::Reading;
use super::catalogue::{Family, Kind, Unit, Value, families};
use super::histogram::Durations;

/// A format of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own text format 0.0.4, which everybody reads.
    Text,
}

impl Format {
    /// The format for an HTTP `accept` header: OpenMetrics if it is named, else the other.
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
    let reading = Arc::new(reading.clone());
    let mut registry = Registry::default();
    for family in families() {
        registry.register_collector(Box::new(Exposition { family, reading: reading.clone() }));
    }
    let mut exposition = String::new();
    text::encode(&mut exposition, &registry).expect("a string takes every write");
    exposition
}

/// The reading as Prometheus text: each family's samples are those of OpenMetrics, below a head of
/// its own. There a family is called as its samples are, units are no lines of their own, and
/// nothing marks the end.
pub fn plain_text(reading: &Reading) -> String {
    let reading = Arc::new(reading.clone());
    let mut exposition = String::new();
    for family in families() {
        let (name, help) = (family.sample_name(), family.help);
        let kind = if family.kind == Kind::Info { Kind::Gauge } else { family.kind };
        exposition += &format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.word());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Exposition { family, reading: reading.clone() }));
        let mut encoded = String::new();
        text::encode_registry(&mut encoded, &registry).expect("a string takes every write");
        let samples = encoded.split_inclusive('\n').filter(|line| !line.starts_with('#'));
        exposition.extend(samples);
    }
    exposition
}

/// A family of a reading as the crate takes it: owned.
#[derive(Debug)]
struct Exposition {
    family: &'static Family,
    reading: Arc<Reading>,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let family = self.family;
        let unit = family.unit.map(unit_of);
        let name = match family.unit {
            Some(unit) => family.name.trim_end_matches(unit.word()).trim_end_matches('_'),
            None => family.name,
        };
        let help = format!("{}.", family.help);
        let metric = encoder.encode_descriptor(name, &help, unit.as_ref(), kind_of(family))?;
        encode_samples(family, &self.reading, metric)
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
