//! The choice among servers, and how they come to stand.

mod by_source;

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::base::{Errno, Millis};
use crate::config::AllDown;

/// Every one.
const BALANCES: [Balance; 4] =
    [Balance::RoundRobin, Balance::LeastConnections, Balance::RandomTwo, Balance::Source];

/// A server for each weight.
fn weighted(balance: Balance, weights: impl IntoIterator<Item = u32>) -> Servers {
    let names: Vec<(String, u32)> =
        weights.into_iter().enumerate().map(|(nth, it)| (format!("s{nth}"), it)).collect();
    Servers::new(balance, names.iter().map(|(name, weight)| (name.as_str(), *weight)))
}

/// One of many clients.
fn client(nth: usize) -> ClientKey {
    ClientKey::of(IpAddr::from((0x0a00_0000 + nth as u32).to_be_bytes()))
}

fn even(balance: Balance, count: usize) -> Servers {
    weighted(balance, vec![1; count])
}

fn open(servers: &Servers, server: usize) {
    assert!(servers.standing(server).connections().enter());
}

/// How many of `turns` choices each server gets; each choice is open until the last.
fn shares(servers: &mut Servers, turns: u32) -> Vec<u32> {
    let mut shares = vec![0; servers.count()];
    for _ in 0..turns {
        let chosen = servers.choose(ClientKey::default()).expect("somebody has a weight");
        open(servers, chosen);
        shares[chosen] += 1;
    }
    for (server, share) in shares.iter().enumerate() {
        (0..*share).for_each(|_| servers.closed(server));
    }
    shares
}

#[test]
fn without_servers_there_is_no_choice() {
    for balance in BALANCES {
        let mut servers = even(balance, 0).beginning_at(1);
        assert_eq!(servers.choose(ClientKey::default()), None);
        assert_eq!(servers.next(&mut Tried::NONE.clone(), 3, client(3)), None);
    }
}

#[test]
fn round_robin_takes_turns() {
    let mut servers = even(Balance::RoundRobin, 3).beginning_at(1);
    assert_eq!(
        [1, 2, 0, 1],
        [(); 4].map(|()| servers.choose(ClientKey::default()).expect("a server"))
    );
}

#[test]
fn least_connections_evens_out_and_equals_take_turns() {
    let servers = even(Balance::LeastConnections, 3);
    open(&servers, 0);
    open(&servers, 0);
    open(&servers, 1);
    let mut other_worker = servers.clone();
    for _ in 0..6 {
        let chosen = other_worker.choose(ClientKey::default()).expect("a server");
        open(&other_worker, chosen);
    }
    assert_eq!([3, 3, 3], [0, 1, 2].map(|server| servers.open(server)));
    assert_eq!([0, 1, 2, 0], {
        let mut equals = even(Balance::LeastConnections, 3);
        [(); 4].map(|()| equals.choose(ClientKey::default()).expect("a server"))
    });
}

#[test]
fn a_cycle_has_as_many_turns_of_each_server_as_its_weight() {
    let weights = [[1, 1, 1], [5, 1, 1], [100, 99, 1], [2, 0, 3], [0, 0, 7], [4, 4, 2]];
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        for (weights, offset) in weights.into_iter().flat_map(|w| [(w, 0), (w, 1), (w, 2)]) {
            let mut servers = weighted(balance, weights).beginning_at(offset);
            let cycle = weights.iter().sum();
            for _ in 0..3 {
                let shares = shares(&mut servers, cycle);
                assert_eq!(shares, weights, "{balance:?} from {offset}");
            }
        }
    }
}

#[test]
fn a_heavy_servers_turns_are_spread() {
    let mut servers = weighted(Balance::RoundRobin, [100, 50]);
    let turns: Vec<usize> = (0..150).filter_map(|_| servers.choose(ClientKey::default())).collect();
    assert!(turns.windows(3).all(|turns| turns.contains(&1)), "{turns:?}");
}

#[test]
fn idle_servers_take_turns_by_weight_under_least_connections() {
    let mut servers = weighted(Balance::LeastConnections, [3, 1]);
    let mut turns = [0; 2];
    (0..40).for_each(|_| turns[servers.choose(ClientKey::default()).expect("a server")] += 1);
    assert_eq!(turns, [30, 10]);
}

#[test]
fn a_drained_server_is_not_chosen_and_comes_back_with_its_weight() {
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        let control = weighted(balance, [2, 1]);
        let mut worker = control.clone();
        control.standing(0).set_weight(0);
        assert_eq!(shares(&mut worker, 10), [0, 10]);
        control.standing(1).set_weight(0);
        assert_eq!(worker.choose(ClientKey::default()), None, "nobody is left");
        control.standing(0).restore_weight();
        control.standing(1).restore_weight();
        assert_eq!([0, 1].map(|server| control.standing(server).weight()), [2, 1]);
        let both = shares(&mut worker, 300);
        assert!(both[0].abs_diff(200) <= 10, "{both:?}");
    }
}

#[test]
fn a_server_that_began_without_a_weight_comes_back_with_one() {
    let servers = weighted(Balance::RoundRobin, [0, 3]);
    servers.standing(0).restore_weight();
    assert_eq!(servers.standing(0).weight(), 1);
}

const REFUSED: Failure = Failure::Connect(Errno::ECONNREFUSED);

/// Three servers that are ejected after 3 failures, `most` of them at a time.
fn strict(most: u32, all_down: AllDown) -> Servers {
    let servers = even(Balance::RoundRobin, 3);
    let early_end = Duration::from_millis(100);
    let rules = Rules { failures: Some(3), early_end, most, all_down, attempts: 0 };
    servers.standing(0).fleet().set_rules(rules);
    servers
}

fn fail(servers: &Servers, server: usize, times: u32) {
    let standing = servers.standing(server);
    (0..times).for_each(|_| standing.failed(REFUSED, Millis(7)));
}

#[test]
fn a_server_that_fails_in_a_row_rests_and_comes_back_by_a_trial() {
    let mut servers = strict(1, AllDown::TryAll);
    fail(&servers, 0, 2);
    servers.standing(0).joined();
    fail(&servers, 0, 2);
    assert_eq!(shares(&mut servers, 6), [2, 2, 2], "never three in a row");
    fail(&servers, 0, 1);
    let standing = servers.standing(0).clone();
    assert_eq!(standing.observed(), Observed::Ejected);
    assert_eq!(standing.last_failure(), Some((Millis(7), REFUSED)));
    assert_eq!(shares(&mut servers, 6), [0, 3, 3]);
    standing.try_again();
    assert_eq!(shares(&mut servers, 7), [1, 3, 3], "one client tries it");
    fail(&servers, 0, 1);
    assert_eq!(standing.observed(), Observed::Ejected);
    standing.try_again();
    assert_eq!(servers.choose(ClientKey::default()), Some(0));
    standing.joined();
    standing.passed();
    assert_eq!(standing.observed(), Observed::Up);
    assert_eq!(shares(&mut servers, 6), [2, 2, 2]);
}

#[test]
fn a_connection_from_before_the_failures_brings_no_server_back() {
    let servers = strict(1, AllDown::TryAll);
    fail(&servers, 0, 3);
    let standing = servers.standing(0);
    standing.outlived(Millis(6));
    assert_eq!(standing.observed(), Observed::Ejected);
    standing.outlived(Millis(7));
    assert_eq!(standing.observed(), Observed::Up);
}

#[test]
fn not_more_rest_than_may_and_one_that_is_gone_makes_room() {
    let servers = strict(1, AllDown::TryAll);
    let fleet = servers.standing(0).fleet().clone();
    fail(&servers, 0, 3);
    fail(&servers, 1, 30);
    let observed = |server: usize| servers.standing(server).observed();
    assert_eq!([0, 1].map(observed), [Observed::Ejected, Observed::Up]);
    assert!(servers.standing(1).is_failing() && !servers.standing(2).is_failing());
    servers.standing(0).set_up();
    fail(&servers, 1, 1);
    assert_eq!([0, 1].map(observed), [Observed::Up, Observed::Ejected]);
    drop(servers);
    assert!(fleet.go() && !fleet.go(), "nobody rests");
}

#[test]
fn where_none_serves_the_policy_says_who_is_tried() {
    for (all_down, tried) in [(AllDown::TryAll, [2, 2, 2]), (AllDown::Refuse, [0, 0, 0])] {
        let mut servers = strict(3, all_down);
        (0..3).for_each(|server| fail(&servers, server, 3));
        let mut shares = [0; 3];
        (0..6)
            .filter_map(|_| servers.choose(ClientKey::default()))
            .for_each(|server| shares[server] += 1);
        assert_eq!(shares, tried, "{all_down:?}");
        servers.standing(1).joined();
        servers.standing(1).passed();
        assert_eq!(servers.choose(ClientKey::default()), Some(1), "it has answered");
    }
}

#[test]
fn where_none_serves_a_client_may_wait_whatever_it_has_tried() {
    let client = ClientKey::default();
    let mut servers = strict(3, AllDown::Wait);
    let mut tried = Tried::NONE;
    for _ in 0..3 {
        let server = servers.next(&mut tried, 0, client).expect("each once");
        servers.closed(server);
        tried.fail();
        assert_eq!(tried.lacked(), Lack::Nothing);
        fail(&servers, server, 3);
    }
    let mut fresh = Tried::NONE;
    for tried in [&mut tried, &mut fresh] {
        assert_eq!((servers.next(tried, 0, client), tried.lacked()), (None, Lack::Server));
    }
    servers.standing(1).try_again();
    assert_eq!(servers.next(&mut tried, 0, client), Some(1), "it tries the one whose rest is over");
    assert_eq!(servers.next(&mut fresh, 0, client), None);
}

#[test]
fn ends_that_are_early_count_against_joins_that_were_not() {
    let servers = strict(1, AllDown::TryAll);
    let standing = servers.standing(0);
    let end = |early: bool| match early {
        true => standing.failed(Failure::EarlyEnd, Millis(0)),
        false => standing.passed(),
    };
    for early in [true, true, false, true, true] {
        standing.joined();
        end(early);
    }
    assert_eq!(standing.observed(), Observed::Up, "never three in a row");
    // Of a hundred that stay three end early.
    (0..100).for_each(|_| standing.joined());
    end(true);
    assert_eq!(standing.observed(), Observed::Up);
    for _ in 0..120 {
        standing.joined();
        end(true);
    }
    assert_eq!(standing.observed(), Observed::Ejected);
}

#[test]
fn what_an_operator_says_stays_whatever_is_observed() {
    let mut servers = strict(1, AllDown::TryAll);
    let standing = servers.standing(0).clone();
    for admin in [AdminState::Drain, AdminState::Maintenance] {
        standing.set_admin(admin);
        fail(&servers, 0, 3);
        assert_eq!(standing.admin(), admin);
        assert_eq!(shares(&mut servers, 4), [0, 2, 2]);
        standing.try_again();
        assert_eq!(shares(&mut servers, 4), [0, 2, 2], "nobody tries it");
        standing.set_up();
        assert_eq!(shares(&mut servers, 4), [0, 2, 2]);
        standing.set_admin(AdminState::Ready);
        assert_eq!(shares(&mut servers, 6), [2, 2, 2]);
    }
}

/// Servers with these bounds and of weight 1.
fn bounded(balance: Balance, most: &[Option<u32>]) -> Servers {
    let servers = weighted(balance, vec![1; most.len()]);
    for (server, &max_connections) in most.iter().enumerate() {
        servers.standing(server).set_bounds(Terms { max_connections, ..Terms::default() });
    }
    servers
}

/// The server that each of so many new connections counts for; none is closed.
fn entered(servers: &mut Servers, connections: usize) -> Vec<Option<usize>> {
    let enter = |turn| servers.next(&mut Tried::NONE.clone(), turn, client(turn));
    (0..connections).map(enter).collect()
}

#[test]
fn a_server_has_no_more_connections_than_it_may() {
    for balance in BALANCES {
        let mut servers = bounded(balance, &[Some(3), Some(1), None]);
        assert!(entered(&mut servers, 100).iter().all(Option::is_some), "{balance:?}");
        assert_eq!([0, 1, 2].map(|server| servers.open(server)), [3, 1, 96], "{balance:?}");
    }
}

#[test]
fn where_all_are_full_there_is_none_now_and_one_once_a_connection_ends() {
    for balance in BALANCES {
        let mut servers = bounded(balance, &[Some(2), Some(2)]);
        entered(&mut servers, 4);
        let mut tried = Tried::NONE;
        assert_eq!((servers.next(&mut tried, 0, client(0)), tried.lacked()), (None, Lack::Limit));
        servers.closed(1);
        assert_eq!(entered(&mut servers, 2), [Some(1), None], "{balance:?}");
        servers.standing(0).set_bounds(Terms { max_connections: Some(3), ..Terms::default() });
        assert_eq!(entered(&mut servers, 2), [Some(0), None], "{balance:?}");
        servers.standing(0).set_bounds(Terms::default());
        assert_eq!(entered(&mut servers, 2), [Some(0), Some(0)], "{balance:?}");
    }
}

#[test]
fn a_backup_serves_while_no_other_server_does() {
    for balance in BALANCES {
        let mut servers = weighted(balance, [1, 1, 1]);
        let backup = Terms { backup: true, ..Terms::default() };
        servers.standing(2).set_bounds(backup);
        let rules = Rules { failures: Some(3), most: 3, ..Rules::default() };
        servers.standing(0).fleet().set_rules(rules);
        let to_backup = |servers: &mut Servers| {
            let chosen = entered(servers, 30).into_iter().flatten();
            chosen.filter(|chosen| *chosen == 2).count()
        };
        assert_eq!(to_backup(&mut servers), 0);
        fail(&servers, 0, 3);
        assert_eq!(to_backup(&mut servers), 0);
        fail(&servers, 1, 3);
        assert_eq!(to_backup(&mut servers), 30);
        servers.standing(1).set_up();
        assert_eq!(to_backup(&mut servers), 0);
        servers.standing(1).set_admin(AdminState::Maintenance);
        assert_eq!(to_backup(&mut servers), 30);
    }
}

#[test]
fn as_many_servers_are_tried_in_vain_as_may_be() {
    for (attempts, servers, tries) in [(3, 8, 3), (3, 2, 2), (1, 8, 1), (0, 5, 5)] {
        let mut servers = even(Balance::RoundRobin, servers);
        servers.standing(0).fleet().set_rules(Rules { attempts, ..Rules::default() });
        let mut tried = Tried::NONE;
        let mut left = Vec::new();
        while servers.next(&mut tried, 7, client(7)).is_some() {
            left.push(u32::from(tried.left()));
            tried.fail();
        }
        assert_eq!(left, (1..=tries).rev().collect::<Vec<u32>>());
    }
}

#[test]
fn a_client_that_tries_a_server_on_trial_in_vain_goes_on_to_one_that_serves() {
    let mut servers = even(Balance::RoundRobin, 2);
    let rules = Rules { failures: Some(1), most: 1, attempts: 3, ..Rules::default() };
    servers.standing(0).fleet().set_rules(rules);
    fail(&servers, 0, 1);
    servers.standing(0).try_again();
    let mut tried = Tried::NONE;
    assert_eq!(servers.next(&mut tried, 0, client(0)), Some(0), "its trial");
    fail(&servers, 0, 1);
    tried.fail();
    assert_eq!(servers.next(&mut tried, 0, client(0)), Some(1));
}

#[test]
fn of_two_that_are_drawn_the_one_with_less_to_do_is_chosen() {
    for weights in [vec![1; 10], vec![5, 1, 0, 20, 3, 100]] {
        let all: u32 = weights.iter().sum();
        let mut servers = weighted(Balance::RandomTwo, weights.iter().copied());
        let shares = shares(&mut servers, 200 * all);
        for (share, weight) in shares.iter().zip(&weights) {
            let (share, expected) = (f64::from(*share), f64::from(200 * weight));
            assert!((share - expected).abs() <= 0.03 * expected, "{shares:?} of {weights:?}");
        }
    }
}

#[test]
fn servers_without_connections_are_drawn_by_weight() {
    const DRAWS: u32 = 100_000;
    let weights = [0, 1, 10, 30, 59, 100];
    let mut servers = weighted(Balance::RandomTwo, weights);
    let mut drawn = [0; 6];
    (0..DRAWS).for_each(|_| drawn[servers.choose(ClientKey::default()).expect("one")] += 1);
    for (drawn, weight) in drawn.into_iter().zip(weights) {
        let expected = f64::from(DRAWS * weight) / 200.0;
        let slack = 0.03 * expected + 3.0 * expected.sqrt();
        assert!((f64::from(drawn) - expected).abs() <= slack, "{drawn} of weight {weight}");
    }
}

#[test]
fn a_server_that_starts_slowly_gets_its_part() {
    for balance in BALANCES {
        let mut servers = weighted(balance, [10, 10]);
        for (part, of_a_thousand) in [(0.25, 200), (0.5, 333), (1.0, 500)] {
            servers.standing(0).set_part(part);
            assert_eq!(servers.standing(0).is_slow(), part < 1.0);
            let mut came = 0_u32;
            for nth in 0..10_000 {
                came += u32::from(servers.choose(client(nth)) == Some(0));
            }
            let expected = 10 * of_a_thousand;
            assert!(came.abs_diff(expected) <= 200, "{balance:?} of {part}: {came}");
        }
        servers.standing(0).set_part(0.0);
        servers.standing(0).set_weight(100);
        assert!(servers.standing(0).is_slow(), "another weight changes nothing about that");
        assert!(servers.standing(0).share() > 0, "it gets a little at once");
    }
}
