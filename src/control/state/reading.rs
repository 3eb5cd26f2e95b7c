//! Takes a reading: the workers' counters, the budget, the accept queues, the process.

use std::path::Path;

use super::sources::Sources;
use super::view::View;
use crate::access_log::AccessLog;
use crate::base::{ListenerId, Millis, ServerId, version};
use crate::config::Auto;
use crate::host::usage::{OpenFiles, ProcessUsage};
use crate::metrics::reading::{self, ConfigText, Drain, Leaving, Reading};
use crate::metrics::{Kept, ListenerCounters, WorkerCounters};
use crate::query::UpstreamNames;
use crate::ring::{AcceptQueue, PassiveSocket};

impl Sources {
    /// How everything stands now.
    pub fn reading(&self) -> Reading {
        let root = Path::new("/");
        let now = self.clock.micros();
        let (view, removed) = self.present.with_removed(|view, removed| {
            let counted: Vec<&ListenerCounters> = removed.listeners().collect();
            (view.clone(), (!counted.is_empty()).then(|| removed_listeners(&counted)))
        });
        let listeners = view.names.listeners.iter().map(|(id, name)| listener(&view, *id, name));
        let upstreams = view.names.upstreams.iter().map(|names| upstream(&view, names));
        let workers = view.counters.iter().map(|counters| worker(counters, now.millis()));
        Reading {
            schema: reading::SCHEMA,
            at_seconds: now.0 as f64 / 1e6,
            build: reading::Build {
                version: version::VERSION.to_owned(),
                commit: version::COMMIT.map(str::to_owned),
            },
            config: ConfigText {
                sha256: view.config.file_sha256.clone(),
                generation: view.generation,
            },
            process: self.process(root),
            host: host(root),
            budget: reading::Budget {
                limit: self.budget.limit().into(),
                bound_by: match view.config.gateway.max_connections {
                    Auto::Fixed(_) => "gateway.max_connections".to_owned(),
                    Auto::Auto => self.bound_by.clone(),
                },
                used: self.budget.used().into(),
                leased: self.budget.leased().into(),
            },
            drain: drain(&view),
            access_log: self.access_log.as_ref().map(AccessLog::counts),
            upstreams: upstreams.collect(),
            listeners: listeners.collect(),
            removed,
            workers: workers.collect(),
        }
    }

    fn process(&self, root: &Path) -> reading::Process {
        let ProcessUsage { cpu_seconds, resident_memory_bytes, open_fds, max_fds } =
            ProcessUsage::read(root);
        let start_time_seconds = self.process_start.start_time_seconds;
        reading::Process {
            cpu_seconds,
            resident_memory_bytes,
            open_fds,
            max_fds,
            start_time_seconds,
        }
    }
}

fn drain(view: &View) -> Drain {
    let counters = || view.counters.iter();
    let deadline = counters().map(|counters| counters.drain_deadline_millis.get()).max();
    Drain {
        draining: counters().any(|counters| leaving(counters) != Leaving::No),
        still_open: counters().map(|counters| counters.open.get()).sum(),
        deadline_seconds: deadline.filter(|&millis| millis > 0).map(|millis| millis as f64 / 1e3),
    }
}

/// Each worker's counters of one thing.
fn by_worker<'a, T>(view: &'a View, of: impl Fn(&'a WorkerCounters) -> &'a Kept<T>) -> Vec<&'a T> {
    view.counters.iter().map(|counters| &***of(counters)).collect()
}

fn listener(view: &View, id: ListenerId, name: &str) -> reading::Listener {
    let counted = reading::Listener::counted(&by_worker(view, |of| &of.listeners[id]));
    reading::Listener {
        name: name.to_owned(),
        addresses: view.addresses(id).to_vec(),
        open: open(&counted),
        paused: view.is_paused(id),
        limit: view.topology.listeners[id].max_connections.map(u64::from),
        accept_queue: accept_queue(view.queues(id)),
        ..counted
    }
}

fn open(listener: &reading::Listener) -> u64 {
    listener.accepted.saturating_sub(listener.closed.values().sum())
}

/// Listeners that the topology no longer has, as one that has no name.
fn removed_listeners(counters: &[&ListenerCounters]) -> reading::Listener {
    let counted = reading::Listener::counted(counters);
    reading::Listener { open: open(&counted), ..counted }
}

fn upstream(view: &View, names: &UpstreamNames) -> reading::Upstream {
    let counters = by_worker(view, |of| &of.upstreams[names.id]);
    reading::Upstream {
        name: names.name.clone(),
        servers: names.servers.iter().map(|(id, name)| server(view, *id, name)).collect(),
        ..reading::Upstream::counted(&counters)
    }
}

fn server(view: &View, id: ServerId, name: &str) -> reading::Server {
    let counters = by_worker(view, |of| &of.servers[id]);
    let server = &view.topology.servers[id];
    // Departures are read before attempts, so that they never exceed them.
    let left: u64 = counters.iter().map(|counters| counters.left.get()).sum();
    let counted = reading::Server::counted(&counters);
    reading::Server {
        name: name.to_owned(),
        address: server.address.to_string(),
        weight: server.standing.weight().into(),
        open: counted.attempts.saturating_sub(left),
        ..counted
    }
}

fn host(root: &Path) -> reading::Host {
    let OpenFiles { open, max } = OpenFiles::read(root);
    reading::Host { open_files: open, max_files: max }
}

/// A socket that is closed already has no queue.
fn accept_queue(sockets: &[PassiveSocket]) -> reading::AcceptQueue {
    let mut all = reading::AcceptQueue::default();
    for queue in sockets.iter().filter_map(|socket| AcceptQueue::of(socket).ok()) {
        all.waiting += u64::from(queue.waiting);
        all.limit += u64::from(queue.limit);
        all.dropped += u64::from(queue.dropped);
    }
    all
}

fn leaving(counters: &WorkerCounters) -> Leaving {
    match counters.leaving.get() {
        0 => Leaving::No,
        1 => Leaving::Draining,
        _ => Leaving::Ending,
    }
}

fn worker(counters: &WorkerCounters, now: Millis) -> reading::Worker {
    let leaving = leaving(counters);
    let counted = reading::Worker::counted(&[counters]);
    let silence = now.since(Millis(counters.beat_millis.get()));
    // Once everybody has left, it has returned and turns no more.
    let is_over = leaving == Leaving::Ending && counted.open == 0;
    reading::Worker {
        leaving,
        silent_seconds: if is_over { 0.0 } else { silence.as_secs_f64() },
        ..counted
    }
}
