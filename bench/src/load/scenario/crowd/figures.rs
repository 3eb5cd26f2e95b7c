//! What is made of the moments that the threads of a crowd have seen.

use serde_json::{Map, Value, json};

use super::marks::{Asked, Marks, Window};
use crate::engine::Tally;

/// The longest times between two newcomers that were served, latencies of what was asked in
/// windows, and each window on its own.
pub(super) fn of(marks: &Marks, tally: &mut Tally) -> Map<String, Value> {
    let (asked, served) = marks.taken();
    let windows = marks.windows();
    for (due, took) in &asked {
        tally.latency("message_in_window", *took);
        if windows.iter().any(|window| window.is_moving_at(*due)) {
            tally.latency("message_while_moving", *took);
        }
    }
    let mut figures = Map::new();
    figures.insert("longest_accept_gap_ms".into(), json!(longest_gap(&served, None)));
    let windows = windows.iter().map(|window| one(window, &asked, &served));
    figures.insert("windows".into(), windows.collect());
    figures
}

fn one(window: &Window, asked: &[Asked], served: &[u64]) -> Value {
    let of = |holds: &dyn Fn(u64) -> bool| {
        let all = asked.iter().filter(|(due, _)| holds(*due));
        latency(all.map(|(_, took)| *took).collect())
    };
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    json!({
        "seconds": window.ended.map(|ended| seconds(ended - window.begun)),
        "moving_seconds": seconds(window.moving),
        "messages_us": of(&|due| window.holds(due)),
        "messages_while_moving_us": of(&|due| window.is_moving_at(due)),
        "longest_accept_gap_ms": longest_gap(served, Some(window)),
    })
}

/// The longest time between two moments, in milliseconds: of all, or of those that reach into a
/// window.
fn longest_gap(served: &[u64], window: Option<&Window>) -> Option<f64> {
    let pairs = served.windows(2).filter(|pair| {
        window.is_none_or(|window| {
            pair[1] >= window.begun && window.ended.is_none_or(|ended| pair[0] <= ended)
        })
    });
    pairs.map(|pair| pair[1] - pair[0]).max().map(|nanos| nanos as f64 / 1e6)
}

/// Percentiles in microseconds.
fn latency(mut nanos: Vec<u64>) -> Value {
    nanos.sort_unstable();
    let at = |share: f64| {
        let rank = (nanos.len() as f64 * share).ceil() as usize;
        nanos.get(rank.saturating_sub(1)).map(|nanos| *nanos as f64 / 1e3)
    };
    json!({
        "count": nanos.len(), "p50": at(0.5), "p99": at(0.99),
        "max": nanos.last().map(|nanos| *nanos as f64 / 1e3),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_those_that_reach_into_a_window() {
        let served = [0, 1_000_000, 4_000_000, 5_000_000, 9_000_000];
        assert_eq!(longest_gap(&served, None), Some(4.0));
        let window = |begun, ended| Window { begun, ended, moving: 0, forgiving: false };
        assert_eq!(longest_gap(&served, Some(&window(2_000_000, Some(3_000_000)))), Some(3.0));
        assert_eq!(longest_gap(&served, Some(&window(8_000_000, None))), Some(4.0));
        assert_eq!(longest_gap(&served[..1], None), None);
    }

    #[test]
    fn percentiles_are_of_the_values_that_were_seen() {
        let told = latency((1..=100).rev().map(|micros| micros * 1_000).collect());
        assert_eq!(
            (&told["p50"], &told["p99"], &told["max"]),
            (&json!(50.0), &json!(99.0), &json!(100.0))
        );
        assert_eq!(latency(Vec::new())["p99"], Value::Null);
    }
}
