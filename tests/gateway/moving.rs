//! Every metric of the catalogue is shown, and moves when there is a reason.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use portcullis::metrics::families;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::client;
use crate::support::config::upstream;
use crate::support::crowd::crowd;
use crate::support::exposition::{Shown, parse};
use crate::support::gateway::Gateway;
use crate::support::http::say;
use crate::support::procfs::is_stopped;
use crate::support::server;
use crate::support::unreachable::Refusing;
use crate::support::{WATCH, wait_until};

/// What only faults move: `tests/sim`, `tests/ring` and the table of sources itself make them
/// happen, or show that they cannot.
const RARE: [&str; 11] = [
    "portcullis_worker_accepts_pressed",
    "portcullis_worker_accepts_rearmed",
    "portcullis_worker_cancels_repeated",
    "portcullis_worker_cut_short",
    "portcullis_worker_overshoot",
    "portcullis_ring_overflows",
    "portcullis_ring_completions_lost",
    "portcullis_ring_completions_unknown",
    "portcullis_ring_completions_stale",
    "portcullis_ring_receive_retries",
    "portcullis_sources_untracked",
];

/// What only kernel rings have.
const OF_IO_URING: [&str; 1] = ["portcullis_worker_rings"];

/// What an operator, another config or 49,152 connections of one address move: `steering.rs`,
/// `access_log.rs`, `source_ports.rs`, `server_limits.rs` and `per_source.rs` look at them.
const ELSEWHERE: [&str; 6] = [
    "portcullis_listener_paused",
    "portcullis_access_log_lines",
    "portcullis_upstream_clients_waiting",
    "portcullis_server_connections_limit",
    "portcullis_listener_busiest_pair",
    "portcullis_networks_denied",
];

/// Upstreams whose servers are a plain list have no search: `origins.rs` has others.
const SEARCHES: [&str; 3] = [
    "portcullis_search_answers",
    "portcullis_search_failing",
    "portcullis_search_last_good_timestamp_seconds",
];

/// Listeners without TLS have none: `certificates.rs` has one.
const CERTIFICATES: &str = "portcullis_certificate_expiry_timestamp_seconds";

/// Without an upgrade under way they have no sample: `upgrade_failed.rs` has one.
const UPGRADE: [&str; 2] =
    ["portcullis_upgrade_connections_moved", "portcullis_upgrade_connections_left"];

/// Without a drain under way they have no sample.
const DRAINS: [&str; 3] = [
    "portcullis_drain_connections_left",
    "portcullis_drain_pace",
    "portcullis_drain_expected_seconds",
];

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
    accept: application/openmetrics-text\r\n\r\n";

/// The largest sum of each family's numbers over all scrapes so far.
#[derive(Default)]
struct Seen(BTreeMap<String, f64>);

impl Seen {
    fn scrape(&mut self, status: SocketAddr) -> BTreeMap<String, Shown> {
        let families = parse(&say(status, REQUEST).body).expect("an exposition");
        for (name, family) in &families {
            let sum: f64 = family.samples.iter().map(|sample| sample.value).sum();
            let most = self.0.entry(name.clone()).or_default();
            *most = most.max(sum);
        }
        families
    }

    /// Scrapes until the family has moved.
    fn wait_for(&mut self, status: SocketAddr, name: &str) {
        wait_until(name, || {
            self.scrape(status);
            self.0[name] > 0.0
        });
    }
}

/// A listener where TLS ends, with one handshake under way at a time.
fn secured(files: &Path) -> String {
    let (certificate, key) = (files.join("a.pem"), files.join("a.key"));
    format!(
        "[listener.secured]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.secured.tls]\nhandshakes = 1\n\
         certificates = [{{ certificate = {certificate:?}, key = {key:?} }}]\n"
    )
}

/// One worker with few buffers, a listener that has room for one client and another in its queue,
/// one that resets whom it has no room for, and one that soon ends whoever is silent.
fn config(servers: &[SocketAddr], tls: &Path) -> String {
    let listener =
        |name: &str, keys: &str| format!("[listener.{name}]\nbind = [\"127.0.0.1:0\"]\n{keys}\n");
    [
        "[gateway]\nworkers = 1\nmax_connections = 2000\ndrain_timeout = \"20s\"".to_owned(),
        "[ring]\nbuffer_count = 8\nbuffer_size = \"4KiB\"\nquiet_after = \"3s\"\n\
         splice_pipes = 1"
            .to_owned(),
        "[status]\nbind = \"127.0.0.1:0\"".to_owned(),
        listener("edge", "upstream = \"app\""),
        listener("brief", "upstream = \"own\"\nidle_timeout = \"1s\""),
        listener(
            "few",
            "upstream = \"own\"\nper_source = { max_connections = 1, action = \"tarpit\" }",
        ),
        listener("tight", "upstream = \"own\"\nmax_connections = 1\nbacklog = 1"),
        listener(
            "behind",
            "upstream = \"own\"\naccept_proxy = \"required\"\nproxy_trusted = [\"10.9.9.9\"]",
        ),
        listener("strict", "upstream = \"own\"\nmax_connections = 1\nat_limit = \"reset\""),
        secured(tls),
        "[upstream.own]\nbuiltin = \"hold\"".to_owned(),
        upstream("app", servers),
        format!("{}check = {{ interval = \"1s\" }}", upstream("checked", &servers[..1])),
    ]
    .join("\n")
}

/// Four times as many clients as there are buffers send something in the same moment.
fn send_at_once(gateway: &Gateway) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..32).map(|_| client::connect(gateway.address("edge"))).collect();
    streams.iter().for_each(|stream| client::echo(stream, 1, 100));
    gateway.signal(Signal::SIGSTOP);
    wait_until("the gateway to stand still", || is_stopped(gateway.pid()));
    for mut stream in &streams {
        stream.write_all(&[0; 4096]).expect("there is room for it");
    }
    gateway.signal(Signal::SIGCONT);
    streams
}

/// Clients that send and never read, until nothing moves or a timeout ended them.
fn stall(address: SocketAddr) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..16).map(|_| client::connect_narrow(address)).collect();
    crowd(streams.len(), streams.len(), |index| {
        let mut stream = &streams[index];
        stream.set_write_timeout(Some(WATCH)).expect("a timeout");
        while stream.write(&[0; 16_384]).is_ok() {}
    });
    streams
}

/// Every family is there as the catalogue has it, with a sample where it always has one.
fn check_families(shown: &BTreeMap<String, Shown>) {
    for family in families() {
        let there = &shown[family.name];
        assert_eq!(
            (&*there.kind, &*there.help),
            (family.kind.word(), &*format!("{}.", family.help))
        );
        assert_eq!(there.unit.as_deref(), family.unit.map(|unit| unit.word()), "{}", family.name);
        let may_be_empty = [ELSEWHERE[1], ELSEWHERE[3], ELSEWHERE[5]].contains(&family.name)
            || DRAINS.contains(&family.name)
            || family.name == CERTIFICATES
            || UPGRADE.contains(&family.name)
            || SEARCHES.contains(&family.name);
        assert!(may_be_empty || !there.samples.is_empty(), "{} has no sample", family.name);
        for sample in &there.samples {
            let labels = sample.labels.keys().filter(|label| *label != "le");
            assert!(labels.eq(sorted(family.labels)), "{sample:?}");
        }
    }
    assert_eq!(shown.len(), families().count());
}

/// Writes a certificate and its key, and says how a client verifies it.
fn certificate(directory: &Path) -> Arc<ClientConfig> {
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a pair");
    for (name, label, der) in [
        ("a.pem", "CERTIFICATE", pair.cert.der().to_vec()),
        ("a.key", "PRIVATE KEY", pair.signing_key.serialize_der()),
    ] {
        let text = data_encoding::BASE64.encode(&der);
        let text = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        std::fs::write(directory.join(name), text).expect("it is written");
    }
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).expect("it is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("there are some");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Clients of TLS that are served and resume, one that says something else, and in the end some
/// that stop after their hello, of which one is under way and the others wait.
fn speak_tls(gateway: &Gateway, config: &Arc<ClientConfig>, seen: &mut Seen) -> Vec<TcpStream> {
    let (edge, status) = (gateway.address("secured"), gateway.status());
    let begin = || {
        let name = "a.example".try_into().expect("a name");
        ClientConnection::new(config.clone(), name).expect("a session")
    };
    let speak = |_| {
        let mut client = StreamOwned::new(begin(), client::connect(edge));
        client.write_all(b"hello").expect("a session");
        client.read_exact(&mut [0; 5]).expect("an echo");
        client
    };
    let served: Vec<_> = (0..4).map(speak).collect();
    // The begin of a record, behind which nothing comes.
    (&served[0].sock).write_all(&[23, 3, 3, 0, 40, 1]).expect("it is connected");
    let sessions = ["sessions", "awake", "gathered_bytes"].map(|of| format!("worker_tls_{of}"));
    for name in ["tls_handshakes", "tls_resumed"].map(String::from).iter().chain(&sessions) {
        seen.wait_for(status, &format!("portcullis_{name}"));
    }
    drop(served);
    let hello = || {
        let stream = client::connect(edge);
        begin().write_tls(&mut &stream).expect("a hello");
        stream
    };
    let wrong = hello();
    (&wrong).write_all(&[23, 3, 3, 0, 1, 0]).expect("no part of a handshake");
    seen.wait_for(status, "portcullis_tls_failed");
    let mut stopped = vec![wrong];
    wait_until("handshakes that wait for others", || {
        stopped.extend((0..4).map(|_| hello()));
        seen.scrape(status);
        ["handshakes", "waiting"]
            .iter()
            .all(|of| seen.0[&format!("portcullis_worker_tls_{of}")] > 0.0)
    });
    stopped
}

#[test]
fn every_family_is_shown_and_moves() {
    let (echo, dead) = (server::echo(), Refusing::new());
    let files = tempfile::tempdir().expect("a directory");
    let tls = certificate(files.path());
    let gateway = Gateway::start(&config(&[echo.address, dead.address], files.path()));
    let (status, mut seen) = (gateway.status(), Seen::default());
    let shown = seen.scrape(status);
    check_families(&shown);
    let over_epoll = is_over_epoll(&shown);
    let tight = gateway.address("tight");
    let first = client::connect(tight);
    // One or two fit into the queue; the kernel drops what others ask.
    let queued: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&tight, WATCH)).collect();
    seen.wait_for(status, "portcullis_accept_queue_waiting");
    seen.wait_for(status, "portcullis_accept_queue_dropped");
    let strict: Vec<_> = (0..3).map(|_| client::try_connect(gateway.address("strict"))).collect();
    seen.wait_for(status, "portcullis_connections_refused");
    let stranger = client::try_connect(gateway.address("behind"));
    seen.wait_for(status, "portcullis_preambles_refused");
    let stopped = speak_tls(&gateway, &tls, &mut seen);
    let few: Vec<_> = (0..2).map(|_| client::try_connect(gateway.address("few"))).collect();
    for name in ["sources_counted", "sources_refused", "worker_held_clients"] {
        seen.wait_for(status, &format!("portcullis_{name}"));
    }
    let quiet = client::connect(gateway.address("edge"));
    client::echo(&quiet, 1, 100);
    seen.wait_for(status, "portcullis_worker_quieted");
    let mut senders = Vec::new();
    // On a busy machine one moment may be several turns.
    wait_until("receives that find no buffer", || {
        senders.extend(send_at_once(&gateway));
        seen.scrape(status);
        seen.0["portcullis_worker_buffers_starved"] > 0.0
    });
    // Who stalls where is a matter of moments: more come until all has been seen.
    let mut stalled = Vec::new();
    let names = ["chunks_parked", "parked_bytes", "splices_refused", "splicing"];
    let names = names.map(|name| format!("portcullis_worker_{name}"));
    wait_until("bytes that nobody reads", || {
        stalled.extend(stall(gateway.address("edge")));
        seen.scrape(status);
        names.iter().all(|name| seen.0[name] > 0.0)
    });
    seen.wait_for(status, "portcullis_server_checks");
    let silent = client::connect(gateway.address("brief"));
    seen.wait_for(status, "portcullis_worker_timers_expired");
    seen.wait_for(status, "portcullis_connections_closed");

    gateway.signal(Signal::SIGHUP);
    seen.wait_for(status, "portcullis_config_last_reload_timestamp_seconds");
    gateway.signal(Signal::SIGTERM);
    seen.wait_for(status, "portcullis_draining");
    seen.wait_for(status, "portcullis_drain_remaining_seconds");
    DRAINS.iter().for_each(|name| seen.wait_for(status, name));

    drop((first, queued, strict, stranger, few, quiet, senders, stalled, silent, stopped));
    gateway.stop_has_begun();

    let names = families().map(|family| family.name);
    let is_still = |name: &&str| seen.0[*name] == 0.0 && !may_be_still(name, over_epoll);
    let still: Vec<_> = names.filter(is_still).collect();
    assert!(still.is_empty(), "{still:?} never moved");
    assert!(RARE.iter().all(|name| families().any(|family| family.name == *name)), "{RARE:?}");
}

fn may_be_still(name: &str, over_epoll: bool) -> bool {
    // The queue for a buffer is filled and emptied between two scrapes.
    let passing = name == "portcullis_worker_starved_lanes";
    let elsewhere = ELSEWHERE.iter().chain(&SEARCHES).chain(&UPGRADE);
    passing
        || name == CERTIFICATES
        || RARE.contains(&name)
        || (over_epoll && OF_IO_URING.contains(&name))
        || elsewhere.into_iter().any(|one| *one == name)
}

/// The gateway serves over epoll.
fn is_over_epoll(families: &BTreeMap<String, Shown>) -> bool {
    let samples = &families["portcullis_io"].samples;
    samples.iter().any(|sample| sample.labels["by"] == "epoll" && sample.value == 1.0)
}

fn sorted(labels: &[&'static str]) -> Vec<&'static str> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    labels
}
