//! Every table and figure: its columns, and where in a reading its values are.

use std::borrow::Cow;
use std::collections::HashMap;

use super::cell::Kind::{Balance, ByteRate, Bytes, Count, Latency, Rate, Word};
use super::cell::{Cell, number, span};
use super::{Head, Pace, Row, STALLED_AFTER, Table, open, seconds, sum};
use crate::base::plain_word;
use crate::conn::Reason;
use crate::doctor::thousands;
use crate::metrics::Reading;
use crate::metrics::reading::{
    Counts, DrainProgress, Leaving, Listener, RefusedSource, Server, Worker,
};
use crate::query::server_title;

/// A host that allows so many files means that it has no limit.
const FILES_UNLIMITED: u64 = 1 << 40;

/// The figures of the whole gateway.
pub(super) fn figures(now: &Reading, pace: Pace<'_>) -> Vec<(Head, Cell)> {
    let listeners = |of: fn(&Listener) -> u64| {
        move |reading: &Reading| reading.all_listeners().map(of).sum::<u64>()
    };
    let rate =
        |of: fn(&Listener) -> u64| pace.rate(listeners(of)(now), |then| Some(listeners(of)(then)));
    let queue = |of: fn(&Listener) -> u64| now.listeners.iter().map(of).sum::<u64>();
    let cores = pace.earlier.and_then(|(then, passed)| {
        Some(((now.process.cpu_seconds? - then.process.cpu_seconds?) / passed).max(0.0))
    });
    let mut figures = vec![
        (Head::new("accepts/s", "accepted", Rate, 0), Cell::Rate(rate(|l| l.accepted))),
        (Head::new("closes/s", "closed", Rate, 0), Cell::Rate(rate(|l| sum(&l.closed)))),
        (Head::new("refusals/s", "refused", Rate, 0), Cell::Rate(rate(|l| sum(&l.refused)))),
        (
            Head::share("accept queues", "waiting", "backlog", 0),
            Cell::Share {
                used: queue(|l| l.accept_queue.waiting),
                all: queue(|l| l.accept_queue.limit),
            },
        ),
        (
            Head::new("to servers/s", "to_upstream_bytes", ByteRate, 0),
            Cell::ByteRate(rate(|l| l.to_upstream_bytes)),
        ),
        (
            Head::new("to clients/s", "to_client_bytes", ByteRate, 0),
            Cell::ByteRate(rate(|l| l.to_client_bytes)),
        ),
        (Head::new("cores busy", "process.cpu_seconds", Rate, 0), Cell::Rate(cores)),
    ];
    if let Some(bytes) = now.process.resident_memory_bytes {
        figures.push((
            Head::new("memory", "process.resident_memory_bytes", Bytes, 0),
            Cell::Bytes(bytes),
        ));
    }
    let max_files = now.host.max_files.filter(|&max| max < FILES_UNLIMITED);
    if let (Some(used), Some(all)) = (now.host.open_files, max_files) {
        let files = Head::share("host files", "host.open_files", "host.max_files", 0);
        figures.push((files, Cell::Share { used, all }));
    }
    figures.extend(tls_figures(now, rate(|l| l.tls_handshakes)));
    figures
}

/// The same of TLS, where any is spoken.
fn tls_figures(now: &Reading, handshakes: Option<f64>) -> Vec<(Head, Cell)> {
    let workers = |of: fn(&Worker) -> u64| now.workers.iter().map(of).sum::<u64>();
    let sessions = workers(|worker| worker.sessions);
    if sessions == 0 && !now.listeners.iter().any(|listener| listener.tls) {
        return Vec::new();
    }
    let count = |title, path, of| (Head::new(title, path, Count, 0), Cell::Count(workers(of)));
    let awake = workers(|worker| worker.sessions_awake);
    vec![
        (Head::new("TLS handshakes/s", "tls_handshakes", Rate, 0), Cell::Rate(handshakes)),
        count("under way", "tls_running", |worker| worker.handshaking),
        count("waiting", "tls_waiting", |worker| worker.handshakes_waiting),
        count("TLS sessions awake", "tls_awake", |worker| worker.sessions_awake),
        (Head::new("asleep", "tls_asleep", Count, 0), Cell::Count(sessions.saturating_sub(awake))),
    ]
}

const DRAINS: &[Head] = &[
    Head::new("drain", "name", Word, 0).means("what drains"),
    Head::new("left", "left", Count, 0).means("connections that it has still to end"),
    Head::new("ended", "ended", Count, 2).means("connections that it has ended"),
    Head::new("pace", "pace", Word, 1).means("how many it ends per second at present"),
    Head::new("time left", "time_left", Word, 0).means("until all are ended, at that pace"),
];

/// Drains under way.
pub(super) fn drains(now: &Reading) -> Table {
    let row = |(index, drain): (usize, &DrainProgress)| {
        let cells = vec![
            Cell::Word(plain_word(&drain.name).into_owned()),
            Cell::Count(drain.left),
            Cell::Count(drain.ended),
            Cell::Word(format!("{}/s", number(drain.per_second))),
            Cell::Word(span(seconds(drain.seconds_left))),
        ];
        Row { key: index.to_string(), cells }
    };
    let rows = now.drains.iter().enumerate().map(row).collect();
    Table { title: "Drains", path: "drains", heads: DRAINS, rows }
}

const LISTENERS: &[Head] = &[
    Head::new("listener", "name", Word, 0).means("its name, and (paused) or (full)"),
    Head::share("accept queue", "accept_queue.waiting", "accept_queue.limit", 1)
        .means("clients that wait for an accept, and how many may"),
    Head::share("open", "open", "limit", 0).means("connections, and its max_connections if any"),
    Head::new("accepts/s", "accepted", Rate, 1).means("new clients per second"),
    Head::new("accepted", "accepted", Count, 6).means("clients since the start"),
    Head::new("refused", "refused", Count, 5).means("clients refused at a limit or an end"),
    Head::new("dropped", "accept_queue.dropped", Count, 5)
        .means("handshakes that the kernel dropped: the queue was full"),
    Head::new("to server/s", "to_upstream_bytes", ByteRate, 4).means("bytes from its clients"),
    Head::new("to client/s", "to_client_bytes", ByteRate, 4).means("bytes to its clients"),
    Head::new("addresses", "addresses", Word, 7).means("where it listens"),
];

/// A name, and a word on its state.
fn marked(name: &str, is_so: bool, word: &str) -> String {
    if is_so { format!("{name} ({word})") } else { name.to_owned() }
}

/// Whether a listener has as many connections as it may hold itself.
fn is_full(listener: &Listener) -> bool {
    listener.limit.is_some_and(|limit| listener.open >= limit)
}

/// By listener, in the order of the config.
pub(super) fn listeners(now: &Reading, pace: Pace<'_>) -> Table {
    let row = |(index, listener): (usize, &Listener)| {
        let rate = |of: fn(&Listener) -> u64| {
            pace.rate(of(listener), |then| {
                then.listeners.iter().find(|then| then.name == listener.name).map(of)
            })
        };
        let queue = listener.accept_queue;
        let paused = marked(&listener.name, listener.paused, "paused");
        let cells = vec![
            Cell::Word(marked(&paused, is_full(listener), "full")),
            Cell::Share { used: queue.waiting, all: queue.limit },
            Cell::Share { used: listener.open, all: listener.limit.unwrap_or(0) },
            Cell::Rate(rate(|l| l.accepted)),
            Cell::Count(listener.accepted),
            Cell::Count(sum(&listener.refused)),
            Cell::Count(queue.dropped),
            Cell::ByteRate(rate(|l| l.to_upstream_bytes)),
            Cell::ByteRate(rate(|l| l.to_client_bytes)),
            Cell::Word(listener.addresses.join(", ")),
        ];
        Row { key: index.to_string(), cells }
    };
    let rows = now.listeners.iter().enumerate().map(row).collect();
    Table { title: "Listeners", path: "listeners", heads: LISTENERS, rows }
}

const TLS: &[Head] = &[
    Head::new("listener", "name", Word, 0).means("where TLS of clients ends"),
    Head::new("handshakes/s", "tls_handshakes", Rate, 1).means("handshakes done, per second"),
    Head::new("handshakes", "tls_handshakes", Count, 2).means("handshakes done since the start"),
    Head::new("resumed", "tls_resumed", Count, 3).means("those that resumed a session by a ticket"),
    Head::new("failures/s", "tls_failed", Rate, 1)
        .means("handshakes that fail and sessions broken off, per second"),
    Head::new("failed", "tls_failed", Count, 2).means("how many since the start"),
    Head::new("most often", "tls_reasons", Word, 0).means("why, the three that came most often"),
];

/// By listener where TLS ends, in the order of the config.
pub(super) fn tls(now: &Reading, pace: Pace<'_>) -> Table {
    let row = |(index, listener): (usize, &Listener)| {
        let rate = |of: fn(&Listener) -> u64| {
            pace.rate(of(listener), |then| {
                then.listeners.iter().find(|then| then.name == listener.name).map(of)
            })
        };
        let cells = vec![
            Cell::Word(listener.name.clone()),
            Cell::Rate(rate(|l| l.tls_handshakes)),
            Cell::Count(listener.tls_handshakes),
            Cell::Count(listener.tls_resumed),
            Cell::Rate(rate(|l| sum(&l.tls_faults))),
            Cell::Count(sum(&listener.tls_faults)),
            Cell::Word(most_often(&listener.tls_faults)),
        ];
        Row { key: index.to_string(), cells }
    };
    let rows = now.listeners.iter().filter(|one| one.tls).enumerate().map(row).collect();
    Table { title: "TLS", path: "tls", heads: TLS, rows }
}

/// The three words that came most often, with how often.
fn most_often(counts: &Counts) -> String {
    let mut all: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words = all.iter().take(3).map(|(word, count)| format!("{word} {}", thousands(**count)));
    words.collect::<Vec<_>>().join(", ")
}

const SERVERS: &[Head] = &[
    Head::new("server", "title", Word, 0).means("its upstream and its name, and (backup)"),
    Head::new("state", "state", Word, 0)
        .means("up, slow-start, down, ejected, trial, drain, maintenance"),
    Head::new("weight", "weight", Count, 6).means("its share in relation to the others'"),
    Head::share("open", "open", "limit", 0).means("connections, and its max_connections if any"),
    Head::new("joins/s", "joined", Rate, 1).means("clients joined to it, per second"),
    Head::new("joined", "joined", Count, 5).means("clients since the start"),
    Head::new("failures/s", "failed", Rate, 2).means("connects that fail, per second"),
    Head::new("failed", "failed", Count, 4).means("connects that failed since the start"),
    Head::new("connect p50", "connect_p50_seconds", Latency, 4)
        .means("half of the last minute's connects took no longer, about"),
    Head::new("p99", "connect_p99_seconds", Latency, 2)
        .means("99 in 100 of the last minute's took no longer, about"),
    Head::new("to server/s", "to_upstream_bytes", ByteRate, 5).means("bytes to it"),
    Head::new("to client/s", "to_client_bytes", ByteRate, 5).means("bytes from it"),
    Head::new("address", "address", Word, 8).means("its address"),
    Head::new("last error", "last_error", Word, 3)
        .means("why a client failed there last, however long ago")
        .cut_to(18),
];

/// By server, in the order of the config.
pub(super) fn servers(now: &Reading, pace: Pace<'_>) -> Table {
    let then: HashMap<String, &Server> =
        pace.earlier.map(|(then, _)| titled(then).collect()).unwrap_or_default();
    let row = |(index, (title, server)): (usize, (String, &Server))| {
        let rate =
            |of: fn(&Server) -> u64| pace.rate(of(server), |_| then.get(&title).copied().map(of));
        let cells = vec![
            Cell::Word(marked(&title, server.backup, "backup")),
            Cell::Word(server.state.clone()),
            Cell::Count(server.weight),
            Cell::Share { used: server.open, all: server.limit.unwrap_or(0) },
            Cell::Rate(rate(|s| s.joined)),
            Cell::Count(server.joined),
            Cell::Rate(rate(|s| sum(&s.failed))),
            Cell::Count(sum(&server.failed)),
            Cell::Latency(server.connect_p50_seconds.map(seconds)),
            Cell::Latency(server.connect_p99_seconds.map(seconds)),
            Cell::ByteRate(rate(|s| s.to_upstream_bytes)),
            Cell::ByteRate(rate(|s| s.to_client_bytes)),
            Cell::Word(server.address.clone()),
            Cell::Word(server.last_error.clone().unwrap_or_default()),
        ];
        Row { key: index.to_string(), cells }
    };
    let rows = titled(now).enumerate().map(row).collect();
    Table { title: "Servers", path: "servers", heads: SERVERS, rows }
}

/// Every server, by the names of its upstream and its own.
fn titled(reading: &Reading) -> impl Iterator<Item = (String, &Server)> {
    reading.upstreams.iter().flat_map(|upstream| {
        let title = |server: &Server| server_title(&upstream.name, Some(&server.name));
        upstream.servers.iter().map(move |server| (title(server), server))
    })
}

const WORKERS: &[Head] = &[
    Head::new("worker", "#", Word, 0).means("its number: one a core"),
    Head::share("connections", "open", "slots", 0).means("connections, and its slots for them"),
    Head::new("balance", "balance", Balance, 1).means("how far from the mean of all workers"),
    Head::share("buffers", "used_buffers", "buffers", 2).means("buffers in use, and all it has"),
    Head::new("turns/s", "turns", Rate, 3).means("passes of its loop per second"),
    Head::new("completions/s", "completions", Rate, 5).means("answers of the kernel per second"),
    Head::new("rings", "rings", Count, 4).means("its io_uring instances"),
    Head::new("state", "state", Word, 1).means("serves, drains, ends, or silent: stands still"),
];

/// By worker.
pub(super) fn workers(now: &Reading, pace: Pace<'_>) -> Table {
    let mean = open(now) as f64 / now.workers.len().max(1) as f64;
    let row = |(index, worker): (usize, &Worker)| {
        let rate =
            |of: fn(&Worker) -> u64| pace.rate(of(worker), |then| then.workers.get(index).map(of));
        let balance = (mean > 0.0).then(|| worker.open as f64 / mean - 1.0);
        let used_buffers = worker.buffers.saturating_sub(worker.free_buffers);
        let cells = vec![
            Cell::Word(index.to_string()),
            Cell::Share { used: worker.open, all: worker.slots },
            Cell::Balance(balance),
            Cell::Share { used: used_buffers, all: worker.buffers },
            Cell::Rate(rate(|w| w.turns)),
            Cell::Rate(rate(|w| w.completions)),
            Cell::Count(worker.rings),
            Cell::Word(state(worker)),
        ];
        Row { key: index.to_string(), cells }
    };
    let rows = now.workers.iter().enumerate().map(row).collect();
    Table { title: "Workers", path: "workers", heads: WORKERS, rows }
}

fn state(worker: &Worker) -> String {
    match worker.leaving {
        _ if worker.silent_seconds > STALLED_AFTER.as_secs_f64() => {
            format!("silent for {}", span(seconds(worker.silent_seconds)))
        }
        Leaving::No => "serves".into(),
        Leaving::Draining => "drains".into(),
        Leaving::Ending => "ends".into(),
    }
}

const ENDINGS: &[Head] = &[
    Head::new("reason", "#", Word, 0).means("why connections were closed or clients refused"),
    Head::new("connections", "", Count, 0).means("how many since the start"),
    Head::new("per second", "", Rate, 0).means("how many per second"),
];

/// Why connections were closed, and clients refused.
pub(super) fn endings(now: &Reading, pace: Pace<'_>) -> Table {
    let then = pace.earlier.map(|(then, _)| counts(then));
    let row = |(reason, count): (Cow<'static, str>, u64)| {
        let earlier = then.as_ref().and_then(|then| then.get(&reason).copied());
        let rate = pace.rate(count, |_| earlier);
        let word = Cell::Word(reason.clone().into_owned());
        Row { key: reason.into_owned(), cells: vec![word, Cell::Count(count), Cell::Rate(rate)] }
    };
    let rows = counts(now).into_iter().map(row).collect();
    Table { title: "Endings", path: "endings", heads: ENDINGS, rows }
}

const SOURCES: &[Head] = &[
    Head::new("source", "source", Word, 0).means("an address, or a network by per_source.prefix"),
    Head::new("refused", "refused", Count, 0).means("clients refused by limits per source"),
];

/// The sources that were refused most.
pub(super) fn sources(now: &Reading) -> Table {
    let row = |(index, one): (usize, &RefusedSource)| {
        let source = Cell::Word(plain_word(&one.source).into_owned());
        Row { key: index.to_string(), cells: vec![source, Cell::Count(one.refused)] }
    };
    let rows = now.sources.most_refused.iter().enumerate().map(row).collect();
    Table { title: "Sources", path: "refused_sources", heads: SOURCES, rows }
}

/// Over all listeners; a refusal says that it is one, and by which limit. What never came is left
/// out.
fn counts(reading: &Reading) -> Counts {
    let mut counts = Counts::new();
    for listener in reading.all_listeners() {
        let refused =
            listener.refused.iter().map(|(word, count)| (format!("refused: {word}"), count));
        let closed = listener.closed.iter().map(|(word, count)| (word.to_string(), count));
        let closed = closed.filter(|(word, _)| *word != Reason::Refused.word());
        for (word, count) in closed.chain(refused).filter(|(_, count)| **count > 0) {
            *counts.entry(Cow::Owned(word)).or_default() += count;
        }
    }
    counts
}
