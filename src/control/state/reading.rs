//! Takes a reading: the workers' counters, the budget, the accept queues, the process.

use std::path::Path;
use std::sync::Arc;

use super::steering::Steering;
use crate::access_log::AccessLog;
use crate::base::{Clock, Id, ListenerId, Millis, ServerId, UpstreamId, version};
use crate::budget::Budget;
use crate::config::Config;
use crate::control::handle::WorkerHandle;
use crate::host::facts::Given;
use crate::host::usage::{OpenFiles, ProcessStart, ProcessUsage};
use crate::metrics::WorkerCounters;
use crate::metrics::reading::{self, ConfigText, Drain, Leaving, Reading};
use crate::query::{Names, UpstreamNames};
use crate::ring::{AcceptQueue, PassiveSocket};

/// Everything that a reading is taken from. Taking one makes no worker wait.
#[derive(Debug)]
pub struct Books {
    /// The gateway's time.
    pub clock: Clock,
    /// The workers.
    pub workers: Arc<[WorkerHandle]>,
    /// What may be held.
    pub budget: Arc<Budget>,
    /// The limit that the budget comes from, as the doctor calls it.
    pub bound_by: String,
    /// What it runs with.
    pub config: Config,
    /// What the start found out about the kernel and its own limits.
    pub given: Given,
    /// Of the config file.
    pub config_sha256: Option<String>,
    /// In the order of the config.
    pub listeners: Vec<ListenerBook>,
    /// In the order of the config.
    pub upstreams: Vec<UpstreamBook>,
    /// What operators may change.
    pub steering: Steering,
    /// Lines for each connection.
    pub access_log: Option<AccessLog>,
    /// What does not change about the process.
    pub birth: ProcessStart,
}

/// What is known of a listener from the start.
#[derive(Debug)]
pub struct ListenerBook {
    /// Its name in the config.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// The most that it may hold.
    pub limit: Option<u32>,
    /// Its passive sockets, each queue once.
    pub sockets: Vec<PassiveSocket>,
}

/// What is known of an upstream from the start.
#[derive(Debug)]
pub struct UpstreamBook {
    /// Its name in the config.
    pub name: String,
    /// Names and addresses of its servers, in the order of the ring's list.
    pub servers: Vec<(String, String)>,
}

impl Books {
    /// What the config's parts are called, by index.
    pub fn names(&self) -> Names {
        let upstreams = self.upstreams.iter().map(|book| UpstreamNames {
            name: book.name.clone(),
            servers: book.servers.iter().map(|(name, _)| name.clone()).collect(),
        });
        Names {
            workers: self.workers.len(),
            listeners: self.listeners.iter().map(|book| book.name.clone()).collect(),
            upstreams: upstreams.collect(),
        }
    }

    /// How everything stands now.
    pub fn reading(&self) -> Reading {
        let root = Path::new("/");
        let now = self.clock.micros();
        let mut first = 0;
        let upstreams = self.upstreams.iter().enumerate().map(|(index, book)| {
            let upstream = self.upstream(index, book, first);
            first += book.servers.len();
            upstream
        });
        Reading {
            schema: reading::SCHEMA,
            at_seconds: now.0 as f64 / 1e6,
            build: reading::Build {
                version: version::VERSION.to_owned(),
                commit: version::COMMIT.map(str::to_owned),
            },
            config: ConfigText { sha256: self.config_sha256.clone() },
            process: self.process(root),
            host: host(root),
            budget: reading::Budget {
                limit: self.budget.limit().into(),
                bound_by: self.bound_by.clone(),
                used: self.budget.used().into(),
                leased: self.budget.leased().into(),
            },
            drain: self.drain(),
            access_log: self.access_log.as_ref().map(AccessLog::counts),
            upstreams: upstreams.collect(),
            listeners: self
                .listeners
                .iter()
                .enumerate()
                .map(|(index, book)| self.listener(index, book))
                .collect(),
            workers: self.counters().map(|counters| worker(counters, now.millis())).collect(),
        }
    }

    fn process(&self, root: &Path) -> reading::Process {
        let ProcessUsage { cpu_seconds, resident_memory_bytes, open_fds, max_fds } =
            ProcessUsage::read(root);
        let start_time_seconds = self.birth.start_time_seconds;
        reading::Process {
            cpu_seconds,
            resident_memory_bytes,
            open_fds,
            max_fds,
            start_time_seconds,
        }
    }

    fn counters(&self) -> impl Iterator<Item = &WorkerCounters> + Clone {
        self.workers.iter().map(|worker| &*worker.counters)
    }

    fn drain(&self) -> Drain {
        let deadline = self.counters().map(|counters| counters.drain_deadline_millis.get()).max();
        Drain {
            draining: self.counters().any(|counters| leaving(counters) != Leaving::No),
            still_open: self.counters().map(|counters| counters.open.get()).sum(),
            deadline_seconds: deadline
                .filter(|&millis| millis > 0)
                .map(|millis| millis as f64 / 1e3),
        }
    }

    fn listener(&self, index: usize, book: &ListenerBook) -> reading::Listener {
        let id = ListenerId::at(index);
        let counters: Vec<_> = self.counters().map(|counters| &**counters.listeners[id]).collect();
        let counted = reading::Listener::counted(&counters);
        reading::Listener {
            name: book.name.clone(),
            addresses: book.addresses.clone(),
            open: counted.accepted.saturating_sub(counted.closed.values().sum()),
            paused: self.steering.is_paused(index),
            limit: book.limit.map(u64::from),
            accept_queue: accept_queue(&book.sockets),
            ..counted
        }
    }

    fn upstream(&self, index: usize, book: &UpstreamBook, first: usize) -> reading::Upstream {
        let counters: Vec<_> =
            self.counters().map(|counters| &**counters.upstreams[UpstreamId::at(index)]).collect();
        reading::Upstream {
            name: book.name.clone(),
            servers: (0..book.servers.len()).map(|nth| self.server(index, first, nth)).collect(),
            ..reading::Upstream::counted(&counters)
        }
    }

    fn server(&self, upstream: usize, first: usize, nth: usize) -> reading::Server {
        let (name, address) = &self.upstreams[upstream].servers[nth];
        let id = ServerId::at(first + nth);
        let counters: Vec<_> = self.counters().map(|counters| &**counters.servers[id]).collect();
        // What has left is read before what was attempted, so that there is never more of it.
        let left: u64 = counters.iter().map(|counters| counters.left.get()).sum();
        let counted = reading::Server::counted(&counters);
        reading::Server {
            name: name.clone(),
            address: address.clone(),
            weight: self.steering.weight(upstream, nth),
            open: counted.attempts.saturating_sub(left),
            ..counted
        }
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
