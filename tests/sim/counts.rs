//! What a worker counted must be what the network saw, once everything is over.

use portcullis::conn::Wiring;
use portcullis::metrics::{ConnectFailure, Counter, ListenerCounters, Refusal, ServerCounters};

use crate::link::Link;
use crate::ring::SimRing;
use crate::scenario::Scenario;
use crate::tally::Tally;

/// How many counts of what goes wrong [`rare`] gives. No server is asked for TLS here.
pub const RARE: usize = 7 + Refusal::ALL.len() + ConnectFailure::ALL.len() - 1;

/// Counts of what goes wrong, with their names: each must move in some run.
pub fn rare(counters: &Tally) -> [(String, u64); RARE] {
    let refused = |refusal| counters.over_listeners(|one| one.refused[refusal as usize].get());
    let failed =
        |failure| -> u64 { counters.over_servers(|server| server.failed[failure as usize].get()) };
    let of_worker = [
        ("stale_completions", &counters.stale_completions),
        ("accepts_rearmed", &counters.accepts_rearmed),
        ("accepts_pressed", &counters.accepts_pressed),
        ("buffers_starved", &counters.buffers_starved),
        ("chunks_parked", &counters.chunks_parked),
        ("cancels_repeated", &counters.cancels_repeated),
        ("cut_short", &counters.cut_short),
    ];
    let mut all = Vec::from(of_worker.map(|(name, counter)| (name.to_owned(), counter.get())));
    all.extend(Refusal::ALL.map(|one| (format!("refused {}", one.word()), refused(one))));
    let failures = ConnectFailure::ALL.into_iter().filter(|one| *one != ConnectFailure::NoTls);
    all.extend(failures.map(|one| (format!("failed {}", one.word()), failed(one))));
    all.try_into().expect("one for each")
}

/// Compares a worker's counters with the links of its ring.
pub fn judge(ring: &SimRing, counters: &Tally, scenario: &Scenario) {
    for (listener, &wiring) in scenario.wirings.iter().enumerate() {
        let clients: Vec<&Link> = (ring.origin.iter())
            .filter(|(_, origin)| **origin == listener)
            .map(|(client, _)| &ring.links[*client])
            .collect();
        let sum_of =
            |counter: fn(&ListenerCounters) -> u64| counters.of_listener(listener, counter);
        let (accepted, reset) = (clients.len() as u64, sum_of(refused));
        assert_eq!(sum_of(|one| one.accepted.get()), accepted, "clients accepted were miscounted");
        assert_eq!(sum_of(|one| sum(&one.closed)), accepted, "clients ended were miscounted");
        let lives = sum_of(|one| one.lifetime.counts().sum());
        assert_eq!(lives, accepted, "lives were miscounted");
        let unserved = clients.iter().filter(|link| !link.served).count() as u64;
        assert!(reset <= unserved, "{reset} refused, {unserved} not served");
        if !scenario.is_any_secured(listener) {
            judge_bytes(ring, listener, counters, wiring);
        }
    }
    judge_servers(ring, counters, scenario);
    assert_eq!(counters.open.get(), 0, "connections open were miscounted");
    assert_eq!(counters.timers.get(), 0, "deadlines did not come home");
    assert_eq!(counters.stale_completions.get(), ring.stale, "stale completions");
    assert_eq!(counters.overshoot.get(), 0, "clients were accepted without a permit");
}

fn judge_bytes(ring: &SimRing, listener: usize, counters: &Tally, wiring: Wiring) {
    let clients = || ring.origin.iter().filter(|(_, origin)| **origin == listener);
    let own = |link: usize| ring.links[link].heading.own_bytes();
    let taken = |link: usize| ring.links[link].taken_bytes - own(link);
    let to_clients: u64 = clients().map(|(client, _)| taken(*client)).sum();
    let to_upstream = counters.of_listener(listener, |one| one.to_upstream_bytes.get());
    let to_client = counters.of_listener(listener, |one| one.to_client_bytes.get());
    assert_eq!(to_client, to_clients, "bytes to clients were miscounted");
    match wiring {
        Wiring::Pair => {
            let servers = clients().filter_map(|(client, _)| ring.joined.get(client));
            let to_servers: u64 = servers.map(|server| taken(*server)).sum();
            assert_eq!(to_upstream, to_servers, "bytes to servers were miscounted");
        }
        Wiring::Echo => assert_eq!(to_upstream, to_clients, "an echo's bytes come from both"),
        // What beat a cancel is received and counts as lost.
        Wiring::Discard | Wiring::Hold => {
            let received: u64 =
                clients().map(|(client, _)| ring.links[*client].received_bytes).sum();
            assert!(to_upstream <= received, "{to_upstream} bytes taken of {received}");
        }
    }
}

fn judge_servers(ring: &SimRing, counters: &Tally, scenario: &Scenario) {
    let over = |counter: fn(&ServerCounters) -> u64| counters.over_servers(counter);
    for server in &counters.servers {
        let (joined, failed) = (server.joined.get(), sum(&server.failed));
        assert_eq!(server.attempts.get(), joined + failed, "attempts were miscounted");
        assert_eq!(server.attempts.get(), server.left.get(), "attempts did not come home");
    }
    let joined = ring.joined.len() as u64;
    assert_eq!(over(|server| server.joined.get()), joined);
    let joins = |counted: &ListenerCounters| counted.join.counts().sum::<u64>();
    assert_eq!(counters.over_listeners(joins), joined, "joins were miscounted");
    let connects = counters.upstreams.iter().map(|upstream| upstream.connect.counts().sum::<u64>());
    assert_eq!(connects.sum::<u64>(), joined, "connect times were miscounted");
    let paired = |number: fn(&ListenerCounters) -> u64| -> u64 {
        let pairs = scenario.wirings.iter().enumerate();
        let pairs = pairs.filter(|(_, wiring)| **wiring == Wiring::Pair);
        pairs.map(|(listener, _)| counters.of_listener(listener, number)).sum()
    };
    assert_eq!(
        over(|server| server.to_upstream_bytes.get()),
        paired(|counted| counted.to_upstream_bytes.get()),
        "bytes to servers were miscounted"
    );
    assert_eq!(
        over(|server| server.to_client_bytes.get()),
        paired(|counted| counted.to_client_bytes.get()),
        "bytes from servers were miscounted"
    );
    assert!(counters.connects_failed() <= over(|server| sum(&server.failed)));
}

/// Clients that a limit reset.
fn refused(counted: &ListenerCounters) -> u64 {
    let limits = [Refusal::GatewayLimit, Refusal::ListenerLimit];
    limits.iter().map(|limit| counted.refused[*limit as usize].get()).sum()
}

fn sum(counters: &[Counter]) -> u64 {
    counters.iter().map(Counter::get).sum()
}
