//! Takes a reading: the workers' counters, the budget, the accept queues, the process.

use std::borrow::Cow;
use std::path::Path;
use std::time::SystemTime;

use ipnet::IpNet;

use super::connects::Connects;
use super::sentry::Sentry;
use super::sources::Sources;
use super::troubles::troubles;
use super::view::View;
use crate::base::{ListenerId, Millis, ServerId, version};
use crate::checks::{Checks, Told};
use crate::config::{Auto, Config};
use crate::control::drains;
use crate::discovery::{Health, Outcome};
use crate::host::facts::Kernel;
use crate::host::usage::{OpenFiles, ProcessUsage};
use crate::metrics::reading::{self, ConfigText, Drain, Leaving, Reading};
use crate::metrics::{Kept, ListenerCounters, WorkerCounters};
use crate::query::UpstreamNames;
use crate::ring::{AcceptQueue, PassiveSocket};
use crate::source::Refusals;
use crate::tls::CertificateFacts;
use crate::topology::Keeper;
use crate::upstream::Observed;

/// Sources that a reading names.
const MOST_REFUSED: usize = 10;

impl Sources {
    /// How everything stands now.
    pub fn reading(&self) -> Reading {
        let root = Path::new("/");
        let (now, calendar) = (self.clock.micros(), self.clock.calendar());
        let (view, removed) = self.present.with_removed(|view, removed| {
            let counted: Vec<&ListenerCounters> = removed.listeners().collect();
            (view.clone(), (!counted.is_empty()).then(|| removed_listeners(&counted)))
        });
        let crowds = self.present.crowds();
        let listeners = view.names.listeners.iter().map(|(id, name)| reading::Listener {
            busiest_pair: crowds.get(id).copied().unwrap_or_default(),
            ..listener(&view, *id, name)
        });
        let health = self.searches().health();
        let seen = Seen {
            view: &view,
            sentry: &self.sentry(),
            checks: &self.checks(),
            connects: &self.connects(),
            now: now.millis(),
            calendar,
        };
        let upstreams = view.names.upstreams.iter().map(|names| reading::Upstream {
            search: health.get(&names.name).map(|health| search(health)),
            ..upstream(&seen, names)
        });
        let workers = view.counters.iter().map(|counters| worker(counters, now.millis()));
        let mut reading = Reading {
            schema: reading::SCHEMA,
            at_seconds: now.0 as f64 / 1e6,
            at_seconds_since_1970: Some(seconds_since_1970(calendar)),
            build: reading::Build {
                version: version::VERSION.to_owned(),
                commit: version::COMMIT.map(str::to_owned),
            },
            io: io(&self.given.kernel),
            gateway: None,
            upgrade: None,
            config: ConfigText {
                sha256: view.config.file_sha256.clone(),
                generation: view.generation,
                last_reload: self.present.last_reload(),
            },
            process: self.process(root),
            host: host(root),
            budget: reading::Budget {
                limit: self.budget.limit().into(),
                bound_by: self.bound_by(&view.config).to_owned(),
                used: self.budget.used().into(),
                leased: self.budget.leased().into(),
            },
            sources: reading::Sources {
                counted: view.topology.sources.sources(),
                most_refused: most_refused(&view),
            },
            drain: drain(&view, self.drains.process()),
            drains: self.drains.progress(now.millis(), open_connections(&view)),
            troubles: Vec::new(),
            events: self.events.all(),
            certificates: certificates(&view),
            access_log: self.access_log.counts(),
            upstreams: upstreams.collect(),
            listeners: listeners.collect(),
            removed,
            workers: workers.collect(),
        };
        reading.troubles = troubles(&reading, &view.config);
        reading
    }

    /// The limit that the budget comes from.
    pub(in crate::control) fn bound_by(&self, config: &Config) -> &str {
        match config.gateway.max_connections {
            Auto::Fixed(_) => "gateway.max_connections",
            Auto::Auto => &self.bound_by,
        }
    }

    fn process(&self, root: &Path) -> reading::Process {
        let ProcessUsage { cpu_seconds, resident_memory_bytes, open_fds, max_fds } =
            ProcessUsage::read(root);
        let start_time_seconds = self.process_start.start_time_seconds;
        let former_seconds = self.present.former_cpu_seconds();
        reading::Process {
            cpu_seconds: cpu_seconds.map(|seconds| seconds + former_seconds),
            resident_memory_bytes,
            open_fds,
            max_fds,
            start_time_seconds,
        }
    }
}

/// The sources that were refused most.
fn most_refused(view: &View) -> Vec<reading::RefusedSource> {
    let most = view.topology.sources.most_refused(MOST_REFUSED);
    let row =
        |one: Refusals| reading::RefusedSource { source: shown(one.source), refused: one.count };
    most.into_iter().map(row).collect()
}

fn drain(view: &View, process: Option<drains::Drain>) -> Drain {
    Drain {
        draining: process.is_some(),
        still_open: open_connections(view),
        deadline_seconds: process.map(|drain| drain.deadline.0 as f64 / 1e3),
    }
}

fn open_connections(view: &View) -> u64 {
    view.counters.iter().map(|counters| counters.open.get()).sum()
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
        tls: view.topology.listeners[id].tls.is_some(),
        limit: view.topology.listeners[id].max_connections.map(u64::from),
        denied: view.topology.listeners[id]
            .keeper
            .iter()
            .flat_map(|keeper| denied(keeper))
            .collect(),
        accept_queue: accept_queue(view.queues(id)),
        ..counted
    }
}

/// The certificates of listeners with TLS.
fn certificates(view: &View) -> Vec<reading::Certificate> {
    let listeners = view.names.listeners.iter().map(|(id, _)| &view.topology.listeners[*id]);
    let with_tls = listeners.filter_map(|one| Some((&one.name, one.tls.as_ref()?)));
    let shown = |name: &String, facts: &CertificateFacts| reading::Certificate {
        listener: name.clone(),
        file: facts.file.display().to_string(),
        title: facts.title().to_owned(),
        not_after_seconds_since_1970: facts.not_after.max(0) as u64,
    };
    with_tls
        .flat_map(|(name, tls)| tls.certificates.facts().map(move |facts| shown(name, facts)))
        .collect()
}

fn denied(keeper: &Keeper) -> impl Iterator<Item = (Cow<'static, str>, u64)> {
    keeper.denied().map(|(network, clients)| (shown(network).into(), clients))
}

/// A network, or the address that it is.
fn shown(network: IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
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

/// Servers and what was seen of them.
struct Seen<'a> {
    view: &'a View,
    sentry: &'a Sentry,
    checks: &'a Checks,
    connects: &'a Connects,
    now: Millis,
    calendar: SystemTime,
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn upstream(seen: &Seen<'_>, names: &UpstreamNames) -> reading::Upstream {
    let view = seen.view;
    let counters = by_worker(view, |of| &of.upstreams[names.id]);
    reading::Upstream {
        name: names.name.clone(),
        waiting: view.topology.upstreams[names.id].fleet.room().waiting().into(),
        servers: names.servers.iter().map(|(id, name)| server(seen, *id, name)).collect(),
        ..reading::Upstream::counted(&counters)
    }
}

fn search(health: &Health) -> reading::SearchState {
    let answers = Outcome::ALL.map(|one| (one.word().to_owned(), health.answers(one)));
    reading::SearchState {
        answers: answers.into_iter().collect(),
        last_good_seconds_since_1970: health.last_good().map(seconds_since_1970),
        trouble: health.trouble(),
    }
}

fn server(seen: &Seen<'_>, id: ServerId, name: &str) -> reading::Server {
    let Seen { view, sentry, checks, connects, now, calendar } = *seen;
    let counters = by_worker(view, |of| &of.servers[id]);
    let server = &view.topology.servers[id];
    let counted = reading::Server::counted(&counters);
    let lately = connects.lately(id, &counted.connect);
    let (sighting, last) = (sentry.sighting(id), server.standing.last_failure());
    let told = checks.told(id);
    // Checks know it before the sentry has looked.
    let failed_checks = told.as_ref().and_then(|told| told.because.clone());
    let at = |moment: Millis| seconds_since_1970(calendar - now.since(moment));
    reading::Server {
        name: name.to_owned(),
        address: server.address.to_string(),
        weight: server.standing.weight().into(),
        limit: server.terms.max_connections.map(u64::from),
        backup: server.terms.backup,
        connect_p50_seconds: lately.quantile(0.5),
        connect_p99_seconds: lately.quantile(0.99),
        state: server.standing.state().to_owned(),
        up: u64::from(server.standing.observed() == Observed::Up),
        since_seconds_since_1970: sighting.and_then(|seen| seen.since).map(seconds_since_1970),
        because: failed_checks.or_else(|| sighting.and_then(|seen| seen.because.clone())),
        last_error: last.map(|(_, failure)| failure.to_string()),
        last_error_seconds_since_1970: last.map(|(moment, _)| at(moment)),
        check: told.map(|told| check(told, at)),
        // What workers count one after the other may be one more than there ever were.
        open: server.standing.open().into(),
        ..counted
    }
}

fn check(told: Told, at: impl Fn(Millis) -> f64) -> reading::CheckResults {
    let Told { passed, failed, unable, last, last_failure, because: _ } = told;
    let ((last_at, last), (failed_at, last_error)) = (last.unzip(), last_failure.unzip());
    reading::CheckResults {
        passed,
        failed,
        unable,
        last,
        last_seconds_since_1970: last_at.map(&at),
        last_error,
        last_error_seconds_since_1970: failed_at.map(&at),
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

fn io(kernel: &Kernel) -> reading::Io {
    let by = if kernel.epoll { "epoll" } else { "io_uring" };
    reading::Io { by: by.to_owned(), refused: kernel.refused.clone() }
}
