//! What a run counted: successes, failures by kind, latencies.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use portcullis::base::{BAD_RECORD, Errno};
use serde_json::{Map, Value, json};

use super::net::End;

/// The longest latency that is told apart; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(600);

/// Names of failures that are told apart by the places that they name.
const NAMES_MAX: usize = 64;

/// Counts of one thread, or of all.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) failed: u64,
    latencies: BTreeMap<&'static str, Histogram<u64>>,
}

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Counts a failure by its name. Names tell places; when there are many, new ones no longer do.
    pub(crate) fn fail(&mut self, step: &str, what: &str) {
        self.fail_as(format!("{step}: {what}"), 1);
        self.failed += 1;
    }

    /// Counts as many failures of one name.
    pub(crate) fn fail_many(&mut self, step: &str, what: &str, count: u64) {
        if count > 0 {
            self.fail_as(format!("{step}: {what}"), count);
            self.failed += count;
        }
    }

    fn fail_as(&mut self, name: String, more: u64) {
        let known = self.failures.len() < NAMES_MAX || self.failures.contains_key(&name);
        let name = if known { name } else { without_numbers(&name) };
        *self.failures.entry(name).or_default() += more;
    }

    pub(crate) fn latency(&mut self, of: &'static str, nanos: u64) {
        self.latencies.entry(of).or_insert_with(empty).saturating_record(nanos.max(1));
    }

    pub(crate) fn quantile_nanos(&self, of: &str, quantile: f64) -> Option<u64> {
        let histogram = self.latencies.get(of).filter(|one| !one.is_empty())?;
        Some(histogram.value_at_quantile(quantile))
    }

    pub(crate) fn add(&mut self, other: Tally) {
        for (what, more) in other.counts {
            self.count(what, more);
        }
        for (what, more) in other.failures {
            self.fail_as(what, more);
        }
        self.failed += other.failed;
        for (of, histogram) in other.latencies {
            let mine = self.latencies.entry(of).or_insert_with(empty);
            mine.add(histogram).expect("histograms have the same bounds");
        }
    }

    /// Every latency by percentile, in microseconds.
    pub(crate) fn latencies(&self) -> Value {
        let all = self.latencies.iter().map(|(of, one)| {
            let micros = |quantile| one.value_at_quantile(quantile) as f64 / 1e3;
            let value = json!({
                "count": one.len(), "mean": one.mean() / 1e3, "min": one.min() as f64 / 1e3,
                "p50": micros(0.5), "p75": micros(0.75), "p90": micros(0.9), "p99": micros(0.99),
                "p999": micros(0.999), "p9999": micros(0.9999), "max": one.max() as f64 / 1e3,
            });
            ((*of).to_owned(), value)
        });
        Value::Object(all.collect::<Map<_, _>>())
    }
}

/// `byte …` of `byte 17`.
fn without_numbers(name: &str) -> String {
    let mut folded = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if folded.ends_with('…') => {}
            '0'..='9' => folded.push('…'),
            c => folded.push(c),
        }
    }
    folded
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST.as_nanos() as u64, 3).expect("valid bounds")
}

/// An ending that was not wanted, in words.
pub(crate) fn words(end: End) -> String {
    let errno = |error: Errno| {
        let words = match error {
            Errno::EADDRNOTAVAIL => "EADDRNOTAVAIL: no free port, or not an address of this host",
            Errno::ECONNREFUSED => "ECONNREFUSED: nobody listens",
            Errno::ETIMEDOUT => "ETIMEDOUT: the handshake was not answered",
            Errno::ENFILE => "ENFILE: fs.file-max is reached",
            BAD_RECORD => "EBADMSG: a record of TLS does not open",
            error => return format!("{error:?}"),
        };
        words.to_owned()
    };
    match end {
        End::NotOpened(error) => format!("no socket: {}", errno(error)),
        End::NotConnected(error) => format!("not connected: {}", errno(error)),
        End::NotSecured(fault) => format!("no TLS: {fault}"),
        End::Fin => "ended early (FIN)".to_owned(),
        End::CutOff => "ended early (FIN without close_notify)".to_owned(),
        End::Reset => "reset (RST)".to_owned(),
        End::Error(error) => errno(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_told_by_percentile() {
        let mut tally = Tally::default();
        (1..=20_000).for_each(|micros| tally.latency("answer", micros * 1_000));
        let told = tally.latencies();
        let near = |key: &str, micros: f64| {
            let value = told["answer"][key].as_f64().expect(key);
            assert!((value / micros - 1.0).abs() < 2e-3, "{key}: {value}, not {micros}");
        };
        for (key, micros) in [
            ("count", 20_000.0),
            ("mean", 10_000.5),
            ("min", 1.0),
            ("p50", 10_000.0),
            ("p75", 15_000.0),
            ("p90", 18_000.0),
            ("p99", 19_800.0),
            ("p999", 19_980.0),
            ("p9999", 19_998.0),
            ("max", 20_000.0),
        ] {
            near(key, micros);
        }
    }

    #[test]
    fn many_places_become_one_name_and_none_is_lost() {
        let mut all = Tally::default();
        for thread in 0..3 {
            let mut one = Tally::default();
            (0..200).for_each(|place| one.fail("step", &format!("at {}", thread * 200 + place)));
            all.add(one);
        }
        assert!(all.failures.len() <= NAMES_MAX + 1, "{:?}", all.failures);
        assert!(all.failures["step: at …"] > 500, "{:?}", all.failures);
        assert_eq!((all.failures.values().sum::<u64>(), all.failed), (600, 600));
    }
}
