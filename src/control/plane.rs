//! The loop of the control thread: signals, requests for a drain, the watch over the workers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::asker::{self, Asker};
use super::closing::Closing;
use super::crowds::Crowds;
use super::drains::{Ask, Leave, Of};
use super::endpoints::{Endpoints, Serving};
use super::farewell::{Farewell, POLL_DRAINED};
use super::ground::Ground;
use super::handle::{Ending, Exit};
use super::heap::Heap;
use super::limits::Limits;
use super::networks::watch_networks;
use super::runtime::Runtime;
use super::searching::take_found;
use super::service::{self, Service};
use super::spawner::Spawner;
use super::state::{ControlState, LOOK_EVERY, Preambles, Scene, Shortages, Sources, Stage};
use super::upgrade::Succession;
use super::verbs::{by_signal, upgrade_by_signal};
use crate::base::Millis;
use crate::discovery::Found;
use crate::doctor::count;
use crate::host::service_manager::{say_ready, say_stopping};
use crate::host::signals;
use crate::metrics::reading::Severity;
use crate::worker::Order;

/// How the gateway's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Told to end, and every connection was ended in order.
    Done,
    /// Told to end; connections were left when the drain's time was over.
    TimedOut,
    /// A second signal came.
    Forced,
    /// A worker ended by itself.
    WorkerLost,
    /// A successor has everything.
    Succeeded,
    /// The predecessor does not hand over, or a worker was lost before it had: what came is its.
    NotTaken,
}

/// Within this time of a signal, another of its kind repeats it and asks for nothing more:
/// timeout(1) signals a process and then the whole group that it is in.
const REPEAT: Duration = Duration::from_millis(500);

/// A signal that asked for the end.
#[derive(Clone, Copy, Debug)]
struct LastSignal {
    name: &'static str,
    at: Millis,
}

/// Gives the control plane a tenth of a worker's share of a busy core (sched(7)).
const NICE: i32 = 10;

/// How long a forced end may take to reset connections.
const RESET_PATIENCE: Duration = Duration::from_secs(2);

/// What the control plane works with.
#[derive(Debug)]
pub struct Parts {
    /// The file and the sockets.
    pub ground: Arc<Mutex<dyn Ground>>,
    /// The last words of workers.
    pub exits: UnboundedReceiver<Exit>,
    /// Its own sockets.
    pub endpoints: Endpoints,
    /// The servers that searches find.
    pub found: UnboundedReceiver<Found>,
    /// A predecessor hands over; `None`: it serves from the start on.
    pub succession: Option<Succession>,
}

/// Handles signals and requests and watches the workers until the gateway is to end, then ends it.
/// `ready` is called once signals and requests are handled.
///
/// # Errors
/// When a signal handler cannot be had.
pub fn run(
    runtime: &Runtime,
    sources: Arc<Sources>,
    parts: Parts,
    ready: impl FnOnce(),
) -> std::io::Result<Outcome> {
    let Parts { ground, exits, endpoints, found, succession } = parts;
    let spawner = Spawner::start()?;
    yield_to_workers();
    runtime.block_on(async {
        let (ask, asks) = unbounded_channel();
        let state = ControlState::new(sources, ground, ask);
        state.set_spawner(spawner);
        let serving = endpoints.serve(&state);
        let mut plane = Plane::new(state.clone(), exits, asks, serving)?;
        tokio::task::spawn_local(take_found(state.clone(), found));
        state.sources().follow_checks();
        tokio::task::spawn_local(keep_watch(state.clone()));
        tokio::task::spawn_local(look_each_second(state.clone()));
        tokio::task::spawn_local(watch_crowds(state.clone()));
        tokio::task::spawn_local(watch_networks(state.clone()));
        if let Some(succession) = succession
            && !plane.succeed(succession).await
        {
            return Ok(Outcome::NotTaken);
        }
        state.enter(Stage::Ready);
        ready();
        let outcome = loop {
            match plane.serve().await {
                Event::Lost(outcome) => break outcome,
                Event::Leave(leave, reply) => {
                    if let Some(outcome) = plane.leave(leave, reply).await {
                        break outcome;
                    }
                }
            }
        };
        if matches!(outcome, Outcome::Forced | Outcome::WorkerLost) {
            plane.reset_connections().await;
        }
        Ok(outcome)
    })
}

/// Looks at every server and upstream again and again; never ends.
async fn keep_watch(state: ControlState) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut closing, mut shortages) = (Closing::default(), Shortages::default());
    let mut preambles = Preambles::default();
    loop {
        every.tick().await;
        let (sources, view) = (state.sources(), state.view());
        sources.sentry().look(Scene {
            view: &view,
            checks: &sources.checks(),
            events: &sources.events,
            now: state.now(),
            calendar: sources.clock.calendar(),
        });
        closing.look(&state);
        shortages.look(&view, &sources.events, state.now());
        preambles.look(&view, &sources.events, state.now());
    }
}

/// Looks each second at what grows over seconds; never ends.
async fn look_each_second(state: ControlState) {
    let (mut limits, mut heap) = (Limits::default(), Heap::default());
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        limits.look(&state);
        heap.look(&state);
        state.samples().take(state.sources());
        let sources = state.sources();
        sources.connects().mark(sources.clock.now(), &sources.view());
        sources.rotate_ticket_keys();
    }
}

/// Counts each minute where a client address may be short of ports; never ends.
async fn watch_crowds(state: ControlState) {
    let mut crowds = Crowds::default();
    let mut every = tokio::time::interval(Duration::from_secs(60));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        crowds.look(&state).await;
    }
}

/// Lowers this thread's priority: on a core shared with a worker, expensive admin requests wait,
/// and connections do not.
fn yield_to_workers() {
    // On Linux a nice value is a thread's own (setpriority(2)).
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "the control plane keeps the workers' priority");
    }
}

/// What ends the time in which the gateway serves.
enum Event {
    /// A worker is lost.
    Lost(Outcome),
    /// Somebody asks for the end, and may wait for an answer.
    Leave(Leave, Option<Reply>),
}

/// Where the answer to a request goes.
type Reply = oneshot::Sender<Result<(), String>>;

struct Plane {
    state: ControlState,
    exits: UnboundedReceiver<Exit>,
    /// What is asked for at the admin socket.
    asks: UnboundedReceiver<(Ask, Option<Asker>)>,
    /// Its own sockets.
    serving: Arc<Serving>,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
    user2: Signal,
    /// The last signal that was no repetition.
    last: Option<LastSignal>,
    /// Workers that have not ended.
    running: usize,
    /// By worker: already reported as stalled.
    stalled: Vec<bool>,
    /// What the service manager hears.
    service: Service,
}

impl Plane {
    fn new(
        state: ControlState,
        exits: UnboundedReceiver<Exit>,
        asks: UnboundedReceiver<(Ask, Option<Asker>)>,
        serving: Arc<Serving>,
    ) -> std::io::Result<Plane> {
        let plane = Plane {
            running: state.workers().len(),
            stalled: vec![false; state.workers().len()],
            state,
            exits,
            asks,
            serving,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            last: None,
            service: Service::new(),
        };
        signals::release();
        Ok(plane)
    }

    /// Until somebody asks for the end, or a worker is lost.
    async fn serve(&mut self) -> Event {
        let mut second = tokio::time::interval(service::EVERY);
        second.reset();
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {
                    self.is_second("SIGTERM");
                    return Event::Leave(Leave::default(), None);
                }
                _ = self.interrupt.recv() => {
                    self.is_second("SIGINT");
                    return Event::Leave(Leave::default(), None);
                }
                Some(ask) = self.asks.recv() => match ask {
                    (Ask::Drain(leave, reply), asker) => {
                        self.say_draining(asker);
                        return Event::Leave(leave, Some(reply));
                    }
                    (Ask::Succeeded, _) => return Event::Lost(Outcome::Succeeded),
                    (Ask::Cancel(reply), _) => {
                        // The asker may be gone.
                        let _ = reply.send(Err("the gateway does not drain".to_owned()));
                    }
                },
                _ = self.hang_up.recv() => by_signal(&self.state),
                _ = self.user1.recv() => self.state.reopen_logs(),
                _ = self.user2.recv() => upgrade_by_signal(&self.state),
                exit = self.exits.recv() => {
                    self.running = self.running.saturating_sub(1);
                    return Event::Lost(lost(exit));
                }
                _ = second.tick() => {
                    self.watch();
                    let turns = !self.stalled.contains(&true);
                    self.service.look(&self.state, turns);
                    self.say_which_drains_are_over();
                }
            }
        }
    }

    /// Takes everything over from a predecessor; says whether it has.
    async fn succeed(&mut self, succession: Succession) -> bool {
        let state = self.state.clone();
        let taken = succession.take_over(&state);
        tokio::select! {
            taken = taken => match taken {
                Ok(()) => true,
                Err(because) => {
                    tracing::error!(because, "the predecessor keeps everything");
                    false
                }
            },
            exit = self.exits.recv() => {
                lost(exit);
                false
            }
        }
    }

    fn say_draining(&self, asker: Option<Asker>) {
        asker::during(asker, || self.state.tell(Severity::Info, "gateway", "draining"));
    }

    /// Whether a signal that asks for the end is a second one. After a drain by request it is the
    /// first, and changes nothing.
    fn is_second(&mut self, name: &'static str) -> bool {
        let now = self.state.now();
        let Some(last) = self.last else {
            self.say_draining(Some(Asker::Signal(name)));
            self.last = Some(LastSignal { name, at: now });
            return false;
        };
        if last.name == name && now.since(last.at) < REPEAT {
            tracing::info!(signal = %name, "the same signal once more; it changes nothing");
            return false;
        }
        // It may come twice, too.
        self.last = Some(LastSignal { name, at: now });
        true
    }

    /// Drains the process: the grace, and then every worker. A second signal or the end of the time
    /// cuts it short; a cancel ends it, and then there is no outcome.
    async fn leave(&mut self, leave: Leave, reply: Option<Reply>) -> Option<Outcome> {
        let state = self.state.clone();
        state.enter(Stage::Draining);
        state.abort_upgrade("the gateway is to end");
        if !self.outlast_change(&state).await {
            return Some(Outcome::Forced);
        }
        if state.is_succeeded() {
            return Some(Outcome::Succeeded);
        }
        say_stopping();
        let mut farewell = Farewell::begin(&state, self.serving.clone(), leave);
        // The asker may be gone, here and below.
        reply.map(|reply| reply.send(Ok(())));
        if farewell.is_in_grace() {
            let seconds = farewell.until_next().as_secs_f64();
            tracing::info!(seconds, "not ready any more; new clients are served for this long");
        } else {
            farewell.begin_drain();
        }
        let mut second = tokio::time::interval(service::EVERY);
        let mut poll = tokio::time::interval(POLL_DRAINED);
        while self.running > 0 {
            tokio::select! {
                exit = self.exits.recv() => {
                    self.running = self.running.saturating_sub(1);
                    let is_asked = matches!(exit, Some(Exit { how: Ending::Stopped, .. }));
                    if farewell.is_in_grace() || !is_asked {
                        return Some(lost(exit));
                    }
                }
                _ = self.terminate.recv() => if self.is_second("SIGTERM") {
                    return Some(Outcome::Forced);
                },
                _ = self.interrupt.recv() => if self.is_second("SIGINT") {
                    return Some(Outcome::Forced);
                },
                Some(ask) = self.asks.recv() => match ask {
                    (Ask::Succeeded, _) => return Some(Outcome::Succeeded),
                    (Ask::Drain(_, reply), _) => {
                        let _ = reply.send(Err("the gateway drains already".to_owned()));
                    }
                    (Ask::Cancel(reply), by) => match asker::with(by, farewell.cancel()).await {
                        Ok(()) => {
                            self.last = None;
                            say_ready();
                            let _ = reply.send(Ok(()));
                            return None;
                        }
                        Err(because) => {
                            let _ = reply.send(Err(because));
                        }
                    },
                },
                _ = self.user1.recv() => self.state.reopen_logs(),
                _ = second.tick() => {
                    let open: u64 = self.state.open();
                    tracing::info!(still_open = open, "draining");
                    // Workers end one after the other.
                    self.service.look(&self.state, true);
                }
                _ = poll.tick() => farewell.look(),
                () = tokio::time::sleep(farewell.until_next()) => match farewell.is_in_grace() {
                    true => farewell.begin_drain(),
                    false => return Some(Outcome::TimedOut),
                },
            }
        }
        Some(Outcome::Done)
    }

    /// A change that is under way comes before a drain, and no other begins. `false`: a second
    /// signal came first.
    async fn outlast_change(&mut self, state: &ControlState) -> bool {
        let mut look = tokio::time::interval(service::EVERY);
        let change = state.begin_change();
        tokio::pin!(change);
        loop {
            tokio::select! {
                _ = &mut change => return true,
                _ = self.terminate.recv() => if self.is_second("SIGTERM") { return false; },
                _ = self.interrupt.recv() => if self.is_second("SIGINT") { return false; },
                _ = look.tick() => self.service.look(state, true),
            }
        }
    }

    /// Drains of parts end by themselves, and the log says so.
    fn say_which_drains_are_over(&self) {
        for drain in self.state.drains().take_over() {
            let ended = drain.account.standing().ended;
            // A reload that concerns nobody drains nobody; that a server is down was said.
            let is_news = ended > 0 && !matches!(drain.of, Of::Down(_));
            if is_news || matches!(drain.of, Of::Part(..)) {
                let words = format!("drained: {} ended", count(ended, "connection"));
                self.state.tell(Severity::Info, drain.subject(), &drain.said(&words));
            }
        }
    }

    /// Has what the workers hold reset: connections that a process's end closes end by FIN, and a
    /// stream that was cut would look whole. Not for long, and a further signal ends it at once.
    async fn reset_connections(&mut self) {
        for worker in self.state.workers() {
            worker.order(Order::Stop);
        }
        let patience = tokio::time::sleep(RESET_PATIENCE);
        tokio::pin!(patience);
        while self.running > 0 {
            tokio::select! {
                _ = self.exits.recv() => self.running = self.running.saturating_sub(1),
                _ = self.terminate.recv() => if self.is_second("SIGTERM") {
                    return;
                },
                _ = self.interrupt.recv() => if self.is_second("SIGINT") {
                    return;
                },
                () = &mut patience => return,
            }
        }
    }

    /// Reports workers whose heartbeat has stopped, and those whose it has come back to.
    fn watch(&mut self) {
        let mut stalled = vec![false; self.stalled.len()];
        for (worker, silent) in self.state.stalled() {
            stalled[worker] = true;
            if !self.stalled[worker] {
                let words = format!(
                    "it has not turned for {} s; its connections stand still",
                    silent.as_secs()
                );
                self.state.tell(Severity::Error, &format!("worker/{worker}"), &words);
            }
        }
        for (worker, _) in self
            .stalled
            .iter()
            .zip(&stalled)
            .enumerate()
            .filter(|(_, (then, now))| **then && !**now)
        {
            self.state.tell(Severity::Warning, &format!("worker/{worker}"), "it turns again");
        }
        self.stalled = stalled;
    }
}

fn lost(exit: Option<Exit>) -> Outcome {
    match exit {
        Some(Exit { worker, how: Ending::Panicked(words) }) => {
            tracing::error!(worker, panic = words, "a worker panicked; the gateway ends");
        }
        Some(Exit { worker, how: Ending::RingFailed(errno) }) => {
            tracing::error!(worker, %errno, "the kernel refused a worker's ring; the gateway ends");
        }
        Some(Exit { worker, how: Ending::Stopped }) => {
            tracing::error!(worker, "a worker stopped unasked; the gateway ends");
        }
        None => tracing::error!("all workers are gone; the gateway ends"),
    }
    Outcome::WorkerLost
}
