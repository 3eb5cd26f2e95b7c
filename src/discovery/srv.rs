//! SRV records: the servers of the best priority.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::bad::Bad;
use super::dns::{Answer, Dns, Service};
use super::pace::Pace;
use super::{Outcome, SetSink};
use crate::config::{MAX_WEIGHT, Named, ServerSet, Terms};

/// Says the set of the records of `name` whenever it is another; never ends.
pub(super) async fn follow(name: &str, dns: &Dns, sink: &SetSink) {
    let mut pace = Pace::default();
    loop {
        let answer = ask(dns, name).await;
        let ttl = answer.as_ref().map(|(_, ttl)| *ttl);
        let pause = pace.after(&ttl, &dns.resolver);
        match answer {
            Ok((set, _)) => {
                sink.speaker.good(name);
                sink.found(set);
            }
            Err(bad) => sink.speaker.bad(name, &bad),
        }
        sleep(pause).await;
    }
}

/// The set of the best priority of which a target may have addresses, and its time.
async fn ask(dns: &Dns, name: &str) -> Result<(ServerSet, Duration), Bad> {
    let (records, ttl) = match dns.services(name).await {
        Answer::Records(records, ttl) => (records, ttl),
        Answer::Nothing(bad) | Answer::Unknown(bad) => return Err(bad),
    };
    let mut priorities = priorities(records)?;
    let mut best = 0;
    while best < priorities.len() - 1 && !may_answer(dns, &priorities[best]).await {
        best += 1;
    }
    if best > 0 && !may_answer(dns, &priorities[best]).await {
        best = 0;
    }
    let names = priorities.swap_remove(best);
    Ok((ServerSet { servers: Vec::new(), names }, ttl))
}

/// Whether a target has an address, or it is not known whether it has: servers whose DNS server is
/// silent are not given up for those of a worse priority.
async fn may_answer(dns: &Dns, targets: &[Named]) -> bool {
    for target in targets {
        let has_none = |answer: &Answer<_>| matches!(answer, Answer::Nothing(_));
        if !dns.addresses(&target.host).await.iter().all(has_none) {
            return true;
        }
    }
    false
}

/// The targets by priority, the best first; at least one. The order of the records means nothing.
fn priorities(records: Vec<Service>) -> Result<Vec<Vec<Named>>, Bad> {
    let mut by_priority: BTreeMap<u16, BTreeMap<(String, u16), u16>> = BTreeMap::new();
    // RFC 2782: the root as a target says that there is no such service here.
    for record in records.into_iter().filter(|record| record.target != ".") {
        let Service { priority, weight, port, target } = record;
        let targets = by_priority.entry(priority).or_default();
        let known = targets.entry((target, port)).or_default();
        *known = weight.max(*known);
    }
    if by_priority.is_empty() {
        let because = "the records say that the service is not available";
        return Err(Bad::new(Outcome::Empty, because));
    }
    let named = |targets: BTreeMap<(String, u16), u16>| {
        let weights = scaled(&targets.values().copied().collect::<Vec<_>>());
        let targets = targets.into_keys().zip(weights);
        let named = |((target, port), weight): ((String, u16), u32)| {
            Named::of_host(&target, port, Terms::of_weight(weight)).ok_or_else(|| {
                let because = format!("{target}:{port} is no server's place");
                Bad::wrong(because)
            })
        };
        targets.map(named).collect()
    };
    by_priority.into_values().map(named).collect()
}

/// Weights of records as weights of servers: the same ratios, exactly where the numbers allow it.
/// RFC 2782 gives a weight of 0 a very small share beside others, so it becomes 1 beside numbers as
/// large as may be.
fn scaled(weights: &[u16]) -> Vec<u32> {
    let common = weights.iter().fold(0, |common, weight| divisor(common, u32::from(*weight)));
    let Some(common) = std::num::NonZeroU32::new(common) else {
        return vec![1; weights.len()];
    };
    let weights: Vec<u32> = weights.iter().map(|weight| u32::from(*weight) / common).collect();
    let most = weights.iter().copied().max().unwrap_or(1);
    let scaled = |weight: u32| match weight {
        0 => 1,
        _ if most > MAX_WEIGHT => ((weight * MAX_WEIGHT + most / 2) / most).max(1),
        _ if weights.contains(&0) => weight * (MAX_WEIGHT / most),
        _ => weight,
    };
    weights.iter().map(|weight| scaled(*weight)).collect()
}

/// The greatest number that divides both.
fn divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, port: u16, target: &str) -> Service {
        Service { priority, weight, port, target: target.to_owned() }
    }

    #[test]
    fn weights_keep_their_ratios() {
        for (weights, expected) in [
            (vec![0, 0], vec![1, 1]),
            (vec![10, 20, 70], vec![1, 2, 7]),
            (vec![300, 200], vec![3, 2]),
            (vec![65_535, 32_768, 1], vec![100, 50, 1]),
            (vec![0, 1], vec![1, 100]),
            (vec![0, 60, 40], vec![1, 99, 66]),
            (vec![7], vec![1]),
        ] {
            assert_eq!(scaled(&weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn targets_go_by_priority_in_an_order_of_their_own() {
        let records = || {
            vec![
                record(20, 0, 1883, "c.example."),
                record(10, 60, 1883, "B.example."),
                record(10, 20, 1884, "a.example."),
            ]
        };
        let known = priorities(records()).expect("right");
        let places: Vec<Vec<String>> =
            known.iter().map(|all| all.iter().map(Named::host_and_port).collect()).collect();
        let best = vec!["b.example:1883".to_owned(), "a.example:1884".to_owned()];
        assert_eq!(places, [best, vec!["c.example:1883".to_owned()]]);
        assert_eq!(known[0].iter().map(|it| it.terms.weight).collect::<Vec<_>>(), [3, 1]);
        let turned = priorities(records().into_iter().rev().collect());
        assert_eq!(turned.expect("right"), known);
    }

    #[test]
    fn records_that_name_no_server_are_of_no_use() {
        for (records, outcome) in [
            (vec![record(0, 0, 0, ".")], Outcome::Empty),
            (vec![record(0, 0, 0, "a.example.")], Outcome::Wrong),
            (vec![record(0, 0, 1, "a b.example.")], Outcome::Wrong),
        ] {
            assert_eq!(priorities(records).map_err(|bad| bad.outcome), Err(outcome));
        }
    }
}
