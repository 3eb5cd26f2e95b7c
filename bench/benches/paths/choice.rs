//! The choice of a server for a connection, by balance and number of servers.

use std::net::IpAddr;

use criterion::Criterion;
use portcullis::config::Balance;
use portcullis::upstream::{ClientKey, Servers, Tried};

/// Servers of these weights, one after the other.
fn servers(balance: Balance, count: usize, weights: &[u32]) -> Servers {
    let names: Vec<String> = (0..count).map(|nth| format!("10.0.0.{nth}:9000")).collect();
    let named = names.iter().map(String::as_str).zip(weights.iter().copied().cycle());
    Servers::new(balance, named)
}

pub(crate) fn times(criterion: &mut Criterion) {
    let balances = [
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("random-two", Balance::RandomTwo),
        ("source", Balance::Source),
    ];
    let mut group = criterion.benchmark_group("choice");
    for (name, balance) in balances {
        for (count, weights) in [(4, &[1][..]), (1000, &[1]), (1000, &[1, 2, 5, 100])] {
            let mut servers = servers(balance, count, weights);
            let mut nth = 0_u32;
            let even = if weights.len() == 1 { "equal" } else { "unequal" };
            group.bench_function(format!("{name} of {count} {even}"), |bench| {
                bench.iter(|| {
                    nth = nth.wrapping_add(1);
                    let client = ClientKey::of(IpAddr::from(nth.to_be_bytes()));
                    let chosen = servers.next(&mut Tried::NONE.clone(), 0, client);
                    servers.closed(chosen.expect("each has a weight"));
                });
            });
        }
    }
    group.finish();
}
