//! What the gateway says it counted is what its clients and servers saw.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use portcullis::metrics::reading::{Counts, Durations, Listener, Reading, Server};
use portcullis::metrics::{Format, families};

use crate::support::client::{self, Brought, Ending};
use crate::support::config::upstream;
use crate::support::crowd::crowd;
use crate::support::exposition::{Sample, Shown, parse};
use crate::support::gateway::Gateway;
use crate::support::http::{get, say};
use crate::support::network::in_own_network;
use crate::support::pattern::Pattern;
use crate::support::procfs::tcp_counter;
use crate::support::server::{self, finish};
use crate::support::socket::reset;
use crate::support::unreachable::Refusing;
use crate::support::wait_until;

/// The status document.
fn reading(status: SocketAddr) -> Reading {
    let answer = get(status, "/status.json");
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).expect("a reading")
}

/// The exposition, and the kind of content that it says it is.
fn scrape(status: SocketAddr, accept: &str) -> (String, String) {
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    let answer = say(status, request.as_bytes());
    assert_eq!(answer.status, 200);
    let head = answer.head.to_lowercase();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    (kind.expect("a content type").to_owned(), answer.body)
}

fn openmetrics(status: SocketAddr) -> BTreeMap<String, Shown> {
    let (kind, text) = scrape(status, "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    assert_eq!(kind, Format::OpenMetrics.content_type());
    parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// Waits until nobody is connected any more, and says how things stand then.
fn quiet(status: SocketAddr) -> Reading {
    let mut last = reading(status);
    wait_until("the last connection's end", || {
        last = reading(status);
        let accepting = last.listeners.iter().any(|listener| listener.accept_queue.waiting > 0);
        last.drain.still_open == 0 && !accepting && last.listeners.iter().all(|one| one.open == 0)
    });
    last
}

/// These counts and no others.
fn only(expected: &[(&str, u64)], counts: &Counts) {
    let found: Vec<_> =
        counts.iter().filter(|(_, count)| **count > 0).map(|(word, n)| (&**word, *n)).collect();
    assert_eq!(found, expected);
}

fn edge(reading: &Reading) -> &Listener {
    reading.listeners.iter().find(|listener| listener.name == "edge").expect("it is in the config")
}

fn server(reading: &Reading, address: SocketAddr) -> &Server {
    let mut servers = reading.upstreams.iter().flat_map(|upstream| &upstream.servers);
    servers.find(|server| server.address == address.to_string()).expect("it is in the config")
}

/// A gateway before two servers, one of which refuses, and before its own echo.
fn config(servers: &[SocketAddr]) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 4000\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\nbacklog = 512\n\
         [listener.mirror]\nbind = [\"127.0.0.1:0\"]\nupstream = \"own\"\nmax_connections = 300\n\
         [upstream.own]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n{}",
        upstream("app", servers)
    )
}

#[test]
fn after_10_000_connections_every_count_is_what_clients_and_servers_saw() {
    in_own_network(|own| {
        ten_thousand_connections();
        // Where other tests count too, their full queues do.
        assert!(!own || tcp_counter("ListenOverflows") == 0, "a queue was full");
    });
}

fn ten_thousand_connections() {
    /// Of each listener.
    const CLIENTS: u64 = 5_000;
    const RESETS: u64 = 1_000;
    let bytes_of = |client: u64| 1 + client * 997 % 60_000;
    let (echo, dead) = (server::echo(), Refusing::new());
    let gateway = Gateway::start(&config(&[echo.address, dead.address]));
    let status = gateway.status();
    let talk = |address, client: u64| {
        let stream = client::connect(address);
        client::echo(&stream, client, bytes_of(client));
        if client < RESETS {
            return reset(stream);
        }
        finish(&stream);
        let brought = client::receive_all(&stream, &mut Pattern::new(0));
        assert_eq!(brought, Brought { bytes: 0, ending: Ending::Fin });
    };
    let addresses = ["edge", "mirror"].map(|listener| gateway.address(listener));
    let mut before = openmetrics(status);
    for batch in 0..10 {
        crowd((CLIENTS / 10) as usize, 20, |client| {
            let client = batch * (CLIENTS / 10) + client as u64;
            addresses.into_iter().for_each(|address| talk(address, client));
        });
        let after = openmetrics(status);
        nothing_that_counts_shrinks(&before, &after);
        before = after;
    }
    let now = quiet(status);
    let bytes: u64 = (0..CLIENTS).map(bytes_of).sum();
    for listener in &now.listeners {
        assert_eq!((listener.accepted, listener.open), (CLIENTS, 0));
        only(&[("client-reset", RESETS), ("closed-by-client", CLIENTS - RESETS)], &listener.closed);
        only(&[], &listener.refused);
        assert_eq!((listener.to_upstream_bytes, listener.to_client_bytes), (bytes, bytes));
        assert_eq!(listener.lifetime.count(), CLIENTS);
        // What is dropped there may be a segment; `ListenOverflows` tells of handshakes alone.
        assert_eq!(listener.accept_queue.waiting, 0);
        assert_eq!(listener.addresses, [gateway.address(&listener.name).to_string()]);
    }
    assert_eq!(edge(&now).accept_queue.limit, 2 * 512, "a backlog for each worker");
    assert_eq!((edge(&now).limit, now.listeners[1].limit), (None, Some(300)));
    assert_eq!((edge(&now).join.count(), now.listeners[1].join.count()), (CLIENTS, 0));
    assert_eq!(now.upstreams[1].connect.count(), CLIENTS);

    let (good, bad) = (server(&now, echo.address), server(&now, dead.address));
    assert_eq!((good.attempts, good.joined, good.open), (CLIENTS, echo.accepted(), 0));
    only(&[], &good.failed);
    assert_eq!((good.to_upstream_bytes, good.to_client_bytes), (bytes, bytes));
    assert!(bad.attempts > 0 && bad.joined == 0 && bad.open == 0, "{bad:?}");
    only(&[("refused", bad.attempts)], &bad.failed);

    let slots: Vec<_> = now.workers.iter().map(|worker| (worker.open, worker.timers)).collect();
    assert_eq!(slots, [(0, 0); 2]);
    let whole =
        |worker: &portcullis::metrics::reading::Worker| worker.free_buffers == worker.buffers;
    assert!(now.workers.iter().all(whole), "{:?}", now.workers);
    assert_eq!((now.budget.limit, now.budget.used), (4000, 0));
    assert_eq!(now.budget.bound_by, "gateway.max_connections");
    the_exposition_agrees(&now, &openmetrics(status));
    gateway
        .stop()
        .expect(&[("client-reset", 2 * RESETS), ("closed-by-client", 2 * (CLIENTS - RESETS))]);
}

fn nothing_that_counts_shrinks(before: &BTreeMap<String, Shown>, after: &BTreeMap<String, Shown>) {
    for (name, family) in before.iter().filter(|(_, family)| family.kind != "gauge") {
        for then in &family.samples {
            let same = |now: &&Sample| (&now.name, &now.labels) == (&then.name, &then.labels);
            let now = after[name].samples.iter().find(same);
            assert!(now.is_some_and(|now| now.value >= then.value), "{then:?}, then {now:?}");
        }
    }
}

/// Every counter of connections says in the exposition what it says in the document.
fn the_exposition_agrees(reading: &Reading, shown: &BTreeMap<String, Shown>) {
    let again = parse(&Format::OpenMetrics.show(reading)).expect("the reading as text");
    let is_settled = |name: &str| {
        let moves = ["portcullis_worker_", "portcullis_ring_", "portcullis_host_", "process_"];
        name != "portcullis_budget_leased" && !moves.iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, family) in again.iter().filter(|(name, _)| is_settled(name)) {
        assert_eq!(family.samples, shown[name].samples, "{name}");
    }
    assert_eq!(shown.len(), families().count());
}

#[test]
fn bytes_of_connections_that_stay_open_show_at_once() {
    const BYTES: u64 = 5_000;
    let echo = server::echo();
    let gateway = Gateway::start(&config(&[echo.address]));
    let streams: Vec<TcpStream> =
        (0..10).map(|_| client::connect(gateway.address("edge"))).collect();
    for (seed, stream) in (0..).zip(&streams) {
        client::echo(stream, seed, BYTES);
    }
    // A worker may still be on its way from the last byte's completion to its count.
    wait_until("the bytes of living connections", || {
        let now = reading(gateway.status());
        let (listener, server) = (edge(&now), server(&now, echo.address));
        let counted = [
            listener.to_upstream_bytes,
            listener.to_client_bytes,
            server.to_upstream_bytes,
            server.to_client_bytes,
        ];
        assert!(counted.iter().all(|bytes| *bytes <= 10 * BYTES), "{now:?}");
        (listener.open, server.open, counted) == (10, 10, [10 * BYTES; 4])
    });
    drop(streams);
    assert_eq!(edge(&quiet(gateway.status())).to_client_bytes, 10 * BYTES);
    gateway.stop();
}

#[test]
fn refusals_are_counted_as_often_as_clients_were_reset() {
    const LIMIT: u64 = 20;
    const BEYOND: u64 = 200;
    let gateway = Gateway::start(&format!(
        "[gateway]\nworkers = 2\nmax_connections = 4000\n[listener.edge]\nupstream = \"own\"\n\
         bind = [\"127.0.0.1:0\"]\nmax_connections = {LIMIT}\nat_limit = \"reset\"\n\
         [upstream.own]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n"
    ));
    let address = gateway.address("edge");
    let served: Vec<TcpStream> = (0..LIMIT).map(|_| client::connect(address)).collect();
    (0..).zip(&served).for_each(|(seed, stream)| client::echo(stream, seed, 100));
    for _ in 0..BEYOND {
        // A reset may come as soon as there is a connection, before the client knows of it.
        let read = client::try_connect(address).and_then(|mut stream| stream.read(&mut [0]));
        assert!(client::is_reset(&read), "{read:?}");
    }
    let mut now = reading(gateway.status());
    wait_until("the last refusal's end", || {
        now = reading(gateway.status());
        edge(&now).open == LIMIT
    });
    only(&[("listener-limit", BEYOND)], &edge(&now).refused);
    only(&[("refused", BEYOND)], &edge(&now).closed);
    assert_eq!((edge(&now).accepted, edge(&now).to_client_bytes), (LIMIT + BEYOND, 100 * LIMIT));
    drop(served);
    only(
        &[("closed-by-client", LIMIT), ("refused", BEYOND)],
        &edge(&quiet(gateway.status())).closed,
    );
    gateway.stop().expect(&[("closed-by-client", LIMIT), ("refused", BEYOND)]);
}

#[test]
fn durations_fall_into_the_bucket_that_a_client_can_tell() {
    let gateway = Gateway::start(
        &config(&[server::echo().address])
            .replace("[listener.mirror]\n", "[listener.mirror]\nmax_lifetime = \"300ms\"\n"),
    );
    let stream = client::connect(gateway.address("mirror"));
    client::ending(&stream);
    let Durations { bounds_seconds, counts, sum_seconds } =
        quiet(gateway.status()).listeners[1].lifetime.clone();
    let below = bounds_seconds.iter().position(|&bound| bound > 0.2).expect("a bound");
    assert_eq!(counts[..below], vec![0; below], "it lasted nine tenths of 300 ms at least");
    assert_eq!((counts.iter().sum::<u64>(), sum_seconds >= 0.269), (1, true), "{sum_seconds}");
    gateway.stop();
}

#[test]
fn a_scraper_gets_the_format_that_it_names() {
    let gateway = Gateway::start(&config(&[server::echo().address]));
    let (kind, text) = scrape(gateway.status(), "text/plain;version=0.0.4");
    assert_eq!(kind, Format::Text.content_type());
    for family in families() {
        let name = family.sample_name();
        assert!(text.contains(&format!("# HELP {name} {}\n", family.help)), "{name}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    assert_eq!(openmetrics(gateway.status()).len(), families().count());
    gateway.stop();
}
