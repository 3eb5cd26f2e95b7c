//! Numbers that only grow.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::exposition::parse;
use super::http::say;

/// By name and labels.
pub(crate) type Grown = BTreeMap<String, f64>;

/// Those that a gateway shows.
pub(crate) fn grown(status: SocketAddr) -> Grown {
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                   accept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let answer = say(status, request.as_bytes());
    let families = parse(&answer.body).expect("an exposition");
    let only_grows = |kind: &str| matches!(kind, "counter" | "histogram");
    let families = families.into_iter().filter(|(_, shown)| only_grows(&shown.kind));
    let samples = families.flat_map(|(_, shown)| shown.samples);
    samples.map(|one| (format!("{}{:?}", one.name, one.labels), one.value)).collect()
}

/// Each is there still, and no smaller.
pub(crate) fn none_fell(before: &Grown, after: &Grown) {
    for (name, value) in before {
        let now = after.get(name).copied().unwrap_or(-1.0);
        assert!(now >= *value, "{name} was {value} and is {now}");
    }
}
