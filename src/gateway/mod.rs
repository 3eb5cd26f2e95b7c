//! Builds all parts from a config, starts the workers, drains and joins them.

mod assemble;
mod departure;
mod error;
mod held;
mod host;
mod inherit;
mod lock;
mod others;
mod predecessors;
mod reload;
mod sockets;
mod sources;
mod successor;
#[cfg(test)]
mod tests;
mod trial;
mod wait;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use crate::control::{FOSTER, foster};
pub use error::{ClaimError, GatewayError, ListenError};
pub use host::{diagnose, refused};
pub use inherit::InheritError;
pub use lock::LockError;
pub use successor::Handed;
pub use trial::{Trial, tried};

use crate::access_log::{AccessLogs, LAST_LINES, Writing};
use crate::api::handover::ToPredecessor;
use crate::base::{Clock, GateId, IdMap, limits, version};
use crate::budget::{Budget, WakeWorker};
use crate::config::{AtLimit, Config, ConfigErrors, ConfigSource, Log, LogFormat, Place};
use crate::conn::Reason;
use crate::control::log::LogSettings;
use crate::control::{
    AdminEndpoint, Ending, Endpoints, Events, Exit, Outcome, Parts, Present, Runtime, Searching,
    Sources, StatusEndpoint, Succession, View, WorkerHandle, begin_searches,
};
use crate::discovery::Found;
use crate::doctor::count;
use crate::host::directory::runtime_directory;
use crate::host::service_manager::say_ready;
use crate::metrics::reading::Severity;
use crate::metrics::{
    ListenerCounters, Refusal, ServerCounters, WorkerCounters, WorkerOwnCounters,
};
use crate::ring::{
    EpollRing, HostRing, KernelRing, PassiveSocket, RingError, RingSetup, ServerSocket, Supplier,
    Waker, confine_thread,
};
use crate::tls::Loaded;
use crate::topology::Topology;
use crate::worker::{Mailbox, Plan, Worker, mailbox};
use assemble::Assembled;
use held::Held;
use host::Host;
use inherit::Inherited;
use predecessors::Predecessors;
use reload::Grounds;

/// Runs until a stop is asked for and everything has ended. `source` is where the config came from.
/// Where the log is JSON an error is logged, too, as its last line. A predecessor may hand over.
///
/// # Errors
/// When the gateway could not start, or broke.
pub fn run(
    config: Config,
    source: ConfigSource,
    handed: Option<Handed>,
) -> Result<(), GatewayError> {
    crate::host::signals::hold_requests();
    // Before the log, which has a thread and descriptors of its own.
    let inherited = Inherited::from_environment().map_err(GatewayError::Inherit);
    // The log's writer is started by a crate that panics where there is no thread to be had.
    let trial = std::thread::Builder::new().spawn(|| {}).map_err(GatewayError::Thread)?;
    trial.join().map_err(|_| GatewayError::WorkerLost)?;
    let log = crate::control::log::start(&config.log);
    announce(&config, &source);
    let channel = handed.as_ref().map(Handed::channel);
    let started = inherited.and_then(|inherited| {
        Gateway::start(&config, source, (inherited, handed), log.settings.clone())
    });
    if let (Err(error), Some(channel)) = (&started, channel) {
        // One that is gone needs no words.
        let words = error.to_string();
        let _ = channel.say(&ToPredecessor::Refuse { exit_code: FAILED, words }, &[]);
    }
    let outcome = started.and_then(Gateway::serve);
    if let (Err(error), LogFormat::Json) = (&outcome, config.log.format) {
        tracing::error!("{error}");
    }
    drop(log);
    outcome
}

/// Logs what is wrong with a config file, a line for each.
pub fn log_config_errors(format: LogFormat, errors: &ConfigErrors) {
    crate::host::signals::hold_requests();
    let _log = crate::control::log::start(&Log { format, ..Log::default() });
    for error in errors.iter() {
        tracing::error!("{error}");
    }
}

/// The log's first line: what starts, as whom, from which file.
fn announce(config: &Config, source: &ConfigSource) {
    let ConfigSource { place, settings } = source;
    let files = config.files.get(1..).filter(|included| !included.is_empty());
    tracing::info!(
        version = %version::VERSION,
        commit = version::COMMIT.map(display),
        pid = std::process::id(),
        config = %source.name(),
        by_default = (*place == Place::Default).then_some(true),
        included = files.map(|included| included.join(", ")),
        set = (!settings.is_empty()).then(|| settings.join(", ")),
        config_sha256 = config.file_sha256.as_deref().map(display),
        "starting"
    );
}

/// A gateway whose workers accept.
struct Gateway {
    runtime: Runtime,
    sources: Arc<Sources>,
    endpoints: Endpoints,
    threads: Vec<JoinHandle<()>>,
    exits: UnboundedReceiver<Exit>,
    /// Its passive sockets and the locks of their addresses, until it has ended. What waits in the
    /// sockets when they close is reset.
    ground: Grounds,
    /// The servers that searches find.
    found: UnboundedReceiver<Found>,
    /// A predecessor that hands over.
    succession: Option<Succession>,
}

/// The exit code of a start that fails, as a predecessor hears it.
const FAILED: u8 = 1;

/// What a gateway has before its workers start.
struct Ready {
    host: Host,
    loaded: Loaded,
    held: Vec<Held>,
    clock: Clock,
    log: LogSettings,
    /// The access log, if there is one.
    writing: Option<Writing>,
    runtime: Runtime,
    events: Arc<Events>,
    searching: Searching,
    /// What a predecessor hands over.
    handed: Option<Handed>,
}

/// The parts that one worker's thread is made of.
struct WorkerParts {
    index: usize,
    /// Opened when all parts of the gateway are there: no client is accepted before.
    gate: Receiver<()>,
    core: Option<core_affinity::CoreId>,
    setup: RingSetup,
    plan: Plan,
    clock: Clock,
    mailbox: Mailbox,
    budget: Arc<Budget>,
    counters: Arc<WorkerCounters>,
}

impl Gateway {
    fn start(
        config: &Config,
        source: ConfigSource,
        (inherited, mut handed): (Inherited, Option<Handed>),
        log: LogSettings,
    ) -> Result<Gateway, GatewayError> {
        sockets::check_inherited(config, &inherited)?;
        let directory = runtime_directory().map_err(GatewayError::Directory)?;
        let mut predecessors = Predecessors::find(config, &inherited, &directory);
        let host = match &handed {
            Some(handed) => Host::prepare(config, handed.connections())?,
            None => predecessors.prepare_host(config)?,
        };
        if let Some(handed) = &handed {
            let slots = host.workers() as u64 * u64::from(host.shape.slots_per_worker);
            handed.check(config, slots)?;
        }
        let clock = handed.as_ref().map_or_else(Clock::system, Handed::clock);
        let loaded = load(config, &clock)?;
        // Threads that begin here inherit a mask that blocks the signals.
        crate::host::signals::hold_ends();
        let writing = Writing::open(&config.access_log, host.workers(), &clock);
        let writing = writing.map_err(GatewayError::AccessLog)?;
        let runtime = Runtime::new(host.is_over_epoll()).map_err(GatewayError::Control)?;
        let events = Arc::new(Events::new(clock.clone()));
        let mut searching = begin_searches(&runtime, config, &events);
        if let Some(handed) = &mut handed {
            handed.put_sets(config, &mut searching.sets);
        }
        crate::host::signals::release_ends();
        // From here on until workers accept, clients of a predecessor wait.
        let takeover = predecessors.wait().map_err(GatewayError::Claim)?;
        let from = (inherited, handed.as_mut());
        let held = sockets::bind_all(config, &host, from, (&directory, &takeover))?;
        // A successor has them once it stands on its own.
        let endpoints = match handed {
            Some(_) => Endpoints::default(),
            None => open_endpoints(config, &directory)?,
        };
        crate::host::signals::hold_ends();
        let facts = host.facts.clone();
        let parts =
            Ready { host, loaded, held, clock, log, writing, runtime, events, searching, handed };
        let gateway = Gateway::start_workers(config, source, parts)
            .map_err(|error| host::explained(error, config, &facts))?;
        takeover.finish(gateway.ground.held());
        Ok(Gateway { endpoints, ..gateway })
    }

    /// Starts every worker, and lets all accept once each has its ring and nothing else can fail.
    fn start_workers(
        config: &Config,
        source: ConfigSource,
        ready: Ready,
    ) -> Result<Gateway, GatewayError> {
        let Ready { host, loaded, held, clock, log, writing, runtime, events, searching, handed } =
            ready;
        let Searching { searches, found, sets } = searching;
        let budget = Arc::new(Budget::new(host.max_connections, host.workers()));
        let Assembled { topology, sockets, register } =
            assemble::topology(&sets.in_force(config), &held, host.max_connections, &loaded);
        let opens_doors = handed.is_none();
        let succession = handed.map(|handed| handed.succession(&topology)).transpose()?;
        let (exit_sender, exits) = unbounded_channel();
        let (ready_sender, ready) = std::sync::mpsc::channel();
        let (mut handles, mut threads, mut gates) = (Vec::new(), Vec::new(), Vec::new());
        let mut all_counters = Vec::new();
        for index in 0..host.workers() {
            let (orders, mailbox) = mailbox();
            let counters = Arc::new(topology.counters(&WorkerCounters::default()));
            let (opener, gate) = std::sync::mpsc::channel();
            gates.push(opener);
            let parts = WorkerParts {
                index,
                gate,
                core: host.cores.as_ref().map(|cores| cores[index % cores.len()]),
                setup: setup(config, &host, &topology, &sockets),
                plan: assemble::plan(
                    (config, &topology),
                    index,
                    writing.as_ref().and_then(|log| log.queue(index)),
                    opens_doors,
                ),
                clock: clock.clone(),
                mailbox,
                budget: budget.clone(),
                counters: counters.clone(),
            };
            let (ready_sender, exit_sender) = (ready_sender.clone(), exit_sender.clone());
            let work = work_over(host.is_over_epoll());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || work(parts, &ready_sender, &exit_sender))
                .map_err(GatewayError::Thread)?;
            threads.push(thread);
            let (waker, supplier) = match ready.recv() {
                Ok(ring) => ring.map_err(GatewayError::Ring)?,
                Err(_) => return Err(GatewayError::WorkerLost),
            };
            handles.push(WorkerHandle { orders, waker, supplier });
            all_counters.push(counters);
        }
        budget.set_wakers(handles.iter().map(wake_worker).collect());
        let with_upstream = topology.joins_servers();
        let view = View::new(topology, config.clone(), sockets, all_counters);
        let present = Present::new(view, sets, register);
        let ground = Grounds::new(source.absolute(), host, clock.clone(), held);
        let sources = Arc::new(Sources {
            log: Some(log),
            access_log: AccessLogs::new(writing),
            searches: Mutex::new(searches),
            ..sources::open(&ground.host, with_upstream, (clock, events), budget, handles, present)
        });
        let endpoints = Endpoints::default();
        // A worker that is gone has said so through its `Exit`.
        gates.iter().for_each(|gate| {
            let _ = gate.send(());
        });
        Ok(Gateway { runtime, sources, endpoints, threads, exits, ground, found, succession })
    }

    /// Runs until the end. Connections still open at the drain's deadline end with the process.
    fn serve(self) -> Result<(), GatewayError> {
        let Gateway { runtime, sources, endpoints, threads, exits, ground, found, succession } =
            self;
        // A successor's service is ready already, and hears it from its predecessor yet.
        let is_service = succession.is_none();
        let ready = || {
            let workers = count(sources.workers.len() as u64, "worker");
            let words = format!("ready with {workers}");
            sources.events.tell(Severity::Info, "gateway", &words);
            if is_service {
                say_ready();
            }
        };
        let ground = Arc::new(Mutex::new(ground));
        let parts = Parts { ground: ground.clone(), exits, endpoints, found, succession };
        let outcome = crate::control::run(&runtime, sources.clone(), parts, ready)
            .map_err(GatewayError::Control)?;
        if outcome == Outcome::Done {
            for thread in threads {
                thread.join().map_err(|_| GatewayError::WorkerLost)?;
            }
        }
        // A second signal means not to wait.
        let forced = outcome == Outcome::Forced;
        sources.access_log.finish(if forced { Duration::ZERO } else { LAST_LINES });
        summarize(&sources);
        match outcome {
            Outcome::Done | Outcome::TimedOut | Outcome::Succeeded => Ok(()),
            Outcome::NotTaken => {
                Err(GatewayError::Succession("the predecessor keeps everything".to_owned()))
            }
            Outcome::Forced => Err(GatewayError::Forced),
            Outcome::WorkerLost => Err(GatewayError::WorkerLost),
        }
    }
}

/// Reads the files of TLS, and says what people should know of them.
fn load(config: &Config, clock: &Clock) -> Result<Loaded, GatewayError> {
    let loaded = Loaded::load(config, clock.calendar()).map_err(GatewayError::Tls)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    crate::control::guard_secrets(&loaded);
    Ok(loaded)
}

/// Opens the control plane's endpoints before a client is served, so that an error ends the start.
fn open_endpoints(config: &Config, directory: &Path) -> Result<Endpoints, GatewayError> {
    Ok(Endpoints {
        admin: AdminEndpoint::open(&config.admin, directory).map_err(GatewayError::Admin)?,
        status: StatusEndpoint::open(&config.status).map_err(GatewayError::Status)?,
    })
}

fn wake_worker(handle: &WorkerHandle) -> WakeWorker {
    let waker = handle.waker.clone();
    Box::new(move || waker.wake())
}

/// Says how a worker's thread is made; the start waits for both ends of its ring.
type Work = fn(
    WorkerParts,
    &std::sync::mpsc::Sender<Result<(Waker, Supplier), RingError>>,
    &UnboundedSender<Exit>,
);

/// Each kind of ring has a worker of its own: what differs is decided here alone.
fn work_over(epoll: bool) -> Work {
    if epoll { work::<EpollRing> } else { work::<KernelRing> }
}

/// A worker's thread: its ring is made here, because only one thread may ever use it.
fn work<R: HostRing>(
    parts: WorkerParts,
    ready: &std::sync::mpsc::Sender<Result<(Waker, Supplier), RingError>>,
    exits: &UnboundedSender<Exit>,
) {
    let WorkerParts { index, gate, core, setup, plan, clock, mailbox, budget, counters } = parts;
    if let Some(core) = core {
        core_affinity::set_for_current(core);
    }
    let run = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let ring = match R::of(setup) {
            Ok(ring) => ring,
            Err(error) => {
                // The starting thread waits for this; if it is gone, nothing needs the error.
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        // Where the kernel cannot, `doctor` says so.
        let _ = confine_thread();
        let ends = (ring.waker_of(), ring.supplier_of());
        let mut worker = Worker::new(ring, clock, mailbox, plan, budget, counters);
        let _ = ready.send(Ok(ends));
        match gate.recv() {
            Ok(()) => worker.run(),
            // The start has failed elsewhere, and says so.
            Err(_) => Ok(()),
        }
    }));
    let how = match run {
        Ok(Ok(())) => Ending::Stopped,
        Ok(Err(errno)) => Ending::RingFailed(errno),
        Err(panic) => Ending::Panicked(words_of(&*panic)),
    };
    // The control plane is gone only when the process ends anyway.
    let _ = exits.send(Exit { worker: index, how });
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}

/// Slots beyond the permits, for clients that are accepted only to be reset.
fn spare_slots(config: &Config, over_epoll: bool) -> u32 {
    let resets = config.listeners.iter().any(|listener| listener.at_limit == AtLimit::Reset);
    match (resets, over_epoll) {
        (false, _) => 0,
        (true, false) => limits::SPARE_SLOTS,
        (true, true) => limits::SPARE_SLOTS_OVER_EPOLL,
    }
}

fn setup(
    config: &Config,
    host: &Host,
    topology: &Topology,
    sockets: &IdMap<GateId, PassiveSocket>,
) -> RingSetup {
    RingSetup {
        connections: host.shape.slots_per_worker + spare_slots(config, host.is_over_epoll()),
        with_upstream: topology.joins_servers(),
        table_entries: host.shape.table_entries,
        submission_entries: config.ring.submission_entries,
        completion_entries: config.ring.completion_entries,
        buffer_bytes: config.ring.buffer_bytes,
        buffer_count: config.ring.buffer_count,
        receive_ahead: true,
        batch_wait: config.ring.batch_wait.unwrap_or_default(),
        parked_bytes_max: host::PARKED_BYTES_MAX,
        splice_pipes: host.shape.pipes_per_worker,
        ephemeral_ports: host.facts.network.ports,
        descriptors: host.shape.descriptors_per_worker,
        gates: sockets.iter().map(|(id, socket)| (id, socket.clone())).collect(),
        servers: topology
            .servers
            .iter()
            .map(|(id, server)| {
                let sources = server.sources.clone();
                (id, ServerSocket { address: server.address, sources })
            })
            .collect(),
    }
}

/// Logs the gateway's totals in a line, and a line for each reason that connections ended for.
fn summarize(sources: &Sources) {
    let view = sources.view();
    let total = |number: fn(&WorkerOwnCounters) -> u64| -> u64 {
        view.counters.iter().map(|counters| number(counters)).sum()
    };
    let listeners = |number: &dyn Fn(&ListenerCounters) -> u64| sources.over_listeners(number);
    tracing::info!(
        accepted = listeners(&|l| l.accepted.get()),
        still_open = total(|c| c.open.get()),
        to_upstream_bytes = listeners(&|l| l.to_upstream_bytes.get()),
        to_client_bytes = listeners(&|l| l.to_client_bytes.get()),
        connects_failed = sources.over_servers(&ServerCounters::connects_failed),
        accepts_rearmed = total(|c| c.accepts_rearmed.get()),
        accepts_pressed = total(|c| c.accepts_pressed.get()),
        overshoot = total(|c| c.overshoot.get()),
        stale_completions = total(|c| c.stale_completions.get()),
        queue_reset = listeners(&|l| l.refused[Refusal::DrainEnd as usize].get()),
        buffers_starved = total(|c| c.buffers_starved.get()),
        chunks_parked = total(|c| c.chunks_parked.get()),
        cancels_repeated = total(|c| c.cancels_repeated.get()),
        spliced_bytes = total(|c| c.spliced_bytes.get()),
        splices_refused = total(|c| c.splices_refused.get()),
        quieted = total(|c| c.quieted.get()),
        "stopped"
    );
    for reason in Reason::ALL {
        let connections = listeners(&|l| l.closed[reason as usize].get());
        if connections > 0 {
            tracing::info!(reason = %reason.word(), connections, "ended");
        }
    }
}
