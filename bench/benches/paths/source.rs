//! What the limits per source cost a connection, and a rule by network.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::Criterion;
use ipnet::IpNet;
use portcullis::base::{ListenerId, Millis};
use portcullis::source::{
    Admission, Busiest, Counts, Entering, Key, Networks, Prefixes, Rate, Rates, Secret,
};

/// Sources, as many as a table is made for: more than a cache holds.
const SOURCES: u32 = 1_000_000;

pub(crate) fn times(criterion: &mut Criterion) {
    keys(criterion);
    tables(criterion);
    networks(criterion);
    busiest(criterion);
}

/// The address of a source, spread over all there are.
fn address(nth: u32) -> IpAddr {
    Ipv4Addr::from_bits(nth.wrapping_mul(0x9E37_79B1)).into()
}

fn keys(criterion: &mut Criterion) {
    let (secret, prefixes) = (Secret::new(), Prefixes { v4: 32, v6: 64 });
    criterion.bench_function("source/key of an address", |bench| {
        let client = black_box(address(1));
        bench.iter(|| secret.key(ListenerId(0), prefixes.source(client)));
    });
}

fn tables(criterion: &mut Criterion) {
    let (secret, prefixes) = (Secret::new(), Prefixes { v4: 32, v6: 64 });
    let key = |nth: u32| secret.key(ListenerId(0), prefixes.source(address(nth)));
    let keys: Vec<Key> = (0..SOURCES).map(key).collect();
    let mut group = criterion.benchmark_group("source");
    for (name, crowd) in [("one source", 1), ("a million sources", keys.len())] {
        let (counts, rates) = (Counts::for_connections(SOURCES), Rates::for_connections(SOURCES));
        let rate = Rate::new(20, Duration::from_secs(1), 50);
        for key in &keys[..crowd] {
            assert!(matches!(counts.enter(*key, 2), Entering::Entered(_)));
            assert_eq!(rates.admit(*key, Millis(0), rate), Admission::Admitted);
        }
        let mut turn = keys[..crowd].iter().cycle();
        group.bench_function(format!("enter and leave beside {name}"), |bench| {
            bench.iter(|| match counts.enter(*turn.next().expect("again and again"), 2) {
                Entering::Entered(word) => counts.leave(word),
                refused => panic!("{refused:?}"),
            });
        });
        group.bench_function(format!("refuse at the limit beside {name}"), |bench| {
            bench.iter(|| counts.enter(*turn.next().expect("again and again"), 1));
        });
        let mut micros = 0;
        group.bench_function(format!("admit beside {name}"), |bench| {
            bench.iter(|| {
                micros += 1;
                rates.admit(*turn.next().expect("again and again"), Millis(micros / 1000), rate)
            });
        });
    }
    group.finish();
}

fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("source");
    for count in [10, 100_000] {
        let v4 = (0..count).map(|nth| (address(nth), 12 + nth as u8 % 21));
        let v6 = |nth: u32| {
            Ipv6Addr::from_bits((0x2A00 << 112) | ((u128::from(nth) * 0x9E37_79B1) << 64))
        };
        let v6 = move |nth| (IpAddr::from(v6(nth)), 32 + nth as u8 % 33);
        for (family, rules) in
            [("IPv4", v4.collect::<Vec<_>>()), ("IPv6", (0..count).map(v6).collect())]
        {
            let network = |(address, bits): &(IpAddr, u8)| IpNet::new(*address, *bits);
            let all = rules.iter().map(|rule| (network(rule).expect("few bits"), 1));
            let networks = Networks::new(all);
            // Every other address is in a network.
            let outside = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let inside = rules.iter().step_by(7).map(|rule| rule.0);
            let asked: Vec<IpAddr> =
                inside.enumerate().flat_map(|(nth, address)| [address, outside[nth % 2]]).collect();
            let mut asked = asked.iter().cycle();
            group.bench_function(format!("find in {count} networks of {family}"), |bench| {
                bench.iter(|| networks.find(*asked.next().expect("again and again")));
            });
        }
    }
    group.finish();
}

fn busiest(criterion: &mut Criterion) {
    let mut busiest = Busiest::new(Busiest::ENTRIES);
    let sources: Vec<IpNet> = (0..SOURCES / 10).map(|nth| address(nth).into()).collect();
    let mut group = criterion.benchmark_group("source");
    let mut new = sources.iter().cycle();
    group.bench_function("count a refusal, a new source each", |bench| {
        bench.iter(|| busiest.add(*new.next().expect("again and again")));
    });
    let mut same = sources[..Busiest::ENTRIES / 2].iter().cycle();
    group.bench_function("count a refusal of 512 sources", |bench| {
        bench.iter(|| busiest.add(*same.next().expect("again and again")));
    });
    group.bench_function("the ten busiest of four workers", |bench| {
        bench.iter(|| Busiest::merged([(); 4].map(|()| busiest.top(Busiest::ENTRIES)), 10));
    });
    group.finish();
}
