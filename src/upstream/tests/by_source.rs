//! The choice by a client's address.

use super::*;

/// A view of servers of these names and weights, in any order of the list.
fn by_source(named: &[(String, u32)]) -> Servers {
    let named = named.iter().map(|(name, weight)| (name.as_str(), *weight));
    Servers::new(Balance::Source, named)
}

/// The names of the servers that a client is sent to, in the order in which they fail.
fn ways<'a>(servers: &mut Servers, named: &'a [(String, u32)], client: ClientKey) -> Vec<&'a str> {
    let mut tried = Tried::NONE;
    let mut next = |tried: &mut Tried| {
        let server = servers.next(tried, 0, client)?;
        servers.closed(server);
        Some(&*named[server].0)
    };
    std::iter::from_fn(|| next(&mut tried)).collect()
}

/// So many servers, their weights one after the other.
fn named(count: usize, weights: &[u32]) -> Vec<(String, u32)> {
    let name = |nth: usize| (format!("10.0.0.{nth}:9000"), weights[nth % weights.len()]);
    (0..count).map(name).collect()
}

#[test]
fn gateways_agree_on_each_client_whatever_the_order_of_their_lists() {
    for weights in [&[1][..], &[3, 1, 100, 20]] {
        let first = named(20, weights);
        let mut others = [first.clone(), first.clone()];
        others[0].reverse();
        others[1].rotate_left(7);
        let mut own = by_source(&first);
        let mut views = others.each_ref().map(|named| by_source(named));
        for nth in 0..10_000 {
            let way = ways(&mut own, &first, client(nth));
            assert_eq!(way.len(), 20);
            for (view, named) in views.iter_mut().zip(&others) {
                assert_eq!(ways(view, named, client(nth)), way);
            }
        }
    }
}

#[test]
fn a_server_that_goes_moves_its_own_clients_alone_and_to_the_next_of_their_order() {
    for weights in [&[1][..], &[2, 5, 1]] {
        let all = named(8, weights);
        let mut before = by_source(&all);
        let gone = all[3].0.clone();
        let left: Vec<_> = all.iter().filter(|(name, _)| *name != gone).cloned().collect();
        let mut removed = by_source(&left);
        let mut ejected = by_source(&all);
        let rules = Rules { failures: Some(3), most: 4, ..Rules::default() };
        ejected.standing(0).fleet().set_rules(rules);
        fail(&ejected, 3, 3);
        let mut moved = 0;
        for nth in 0..10_000 {
            let way = ways(&mut before, &all, client(nth));
            let after = ways(&mut removed, &left, client(nth));
            let expected: Vec<_> = way.iter().copied().filter(|name| *name != gone).collect();
            assert_eq!(after, expected, "who was elsewhere stays, the others go on");
            assert_eq!(ways(&mut ejected, &all, client(nth)), expected, "by any view of it");
            moved += u32::from(way[0] == gone);
        }
        assert!(moved > 500, "{moved} moved");
    }
}

#[test]
fn by_source_each_server_has_its_share_of_the_clients() {
    const CLIENTS: usize = 200_000;
    for weights in [vec![1; 8], vec![0, 1, 10, 30, 59, 100]] {
        let all: u32 = weights.iter().sum();
        let mut servers = by_source(&named(weights.len(), &weights));
        let mut shares = vec![0; weights.len()];
        for nth in 0..CLIENTS {
            shares[servers.choose(client(nth)).expect("one has a weight")] += 1;
        }
        for (share, weight) in shares.into_iter().zip(weights) {
            let expected = CLIENTS as f64 * f64::from(weight) / f64::from(all);
            let slack = 0.03 * expected + 3.0 * expected.sqrt();
            assert!((f64::from(share) - expected).abs() <= slack, "{share} of weight {weight}");
        }
    }
}

#[test]
fn a_client_is_its_ipv4_address_or_the_network_of_its_ipv6_one() {
    let key = |ip: &str| ClientKey::of(ip.parse().expect("an address"));
    assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    assert_eq!(key("fd00:1:2:3::1"), key("fd00:1:2:3:ffff::2"));
    assert_ne!(key("fd00:1:2:3::1"), key("fd00:1:2:4::1"));
}

#[test]
fn by_source_a_client_of_its_own_tries_a_server() {
    let mut servers = by_source(&named(8, &[1]));
    let rules = Rules { failures: Some(3), most: 4, ..Rules::default() };
    servers.standing(0).fleet().set_rules(rules);
    let its_own: Vec<ClientKey> =
        (0..1000).map(client).filter(|one| servers.choose(*one) == Some(3)).collect();
    fail(&servers, 3, 3);
    servers.standing(3).try_again();
    let tries: Vec<usize> =
        (0..1000).filter(|nth| servers.choose(client(*nth)) == Some(3)).collect();
    assert_eq!(tries.iter().map(|nth| client(*nth)).collect::<Vec<_>>(), its_own[..1]);
}

#[test]
fn full_servers_are_passed_over_and_where_all_are_full_a_client_waits() {
    let mut servers = by_source(&named(4, &[1]));
    for server in 0..4 {
        let terms = Terms { max_connections: Some(1), ..Terms::default() };
        servers.standing(server).set_bounds(terms);
    }
    let next = |servers: &mut Servers, tried: &mut Tried| servers.next(tried, 0, client(7));
    let taken: Vec<usize> =
        (0..4).filter_map(|_| next(&mut servers, &mut Tried::NONE.clone())).collect();
    let mut each = taken.clone();
    each.sort_unstable();
    assert_eq!(each, [0, 1, 2, 3], "each has one");
    let mut tried = Tried::NONE;
    assert_eq!((next(&mut servers, &mut tried), tried.lacked()), (None, Lack::Limit));
    // Its own is tried in vain, and those behind it in its order are full.
    servers.closed(taken[0]);
    let mut tried = Tried::NONE;
    assert_eq!(next(&mut servers, &mut tried), Some(taken[0]));
    tried.fail();
    assert_eq!((next(&mut servers, &mut tried), tried.lacked()), (None, Lack::Limit));
    // Its last one is tried in vain, and nobody is behind it; who comes before may have room later.
    servers.closed(taken[0]);
    servers.closed(taken[3]);
    servers.standing(taken[0]).set_admin(AdminState::Drain);
    let mut tried = Tried::NONE;
    assert_eq!(next(&mut servers, &mut tried), Some(taken[3]));
    tried.fail();
    assert_eq!((next(&mut servers, &mut tried), tried.lacked()), (None, Lack::Limit));
    // Each was tried in vain.
    taken[1..].iter().for_each(|server| servers.closed(*server));
    let mut tried = Tried::NONE;
    for server in &taken[1..] {
        assert_eq!(next(&mut servers, &mut tried), Some(*server));
        servers.closed(*server);
        tried.fail();
    }
    assert_eq!((next(&mut servers, &mut tried), tried.lacked()), (None, Lack::Nothing));
}
