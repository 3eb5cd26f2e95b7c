//! The loop of the control thread: signals, requests for a drain, the watch over the workers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_uring::Runtime;

use super::endpoints::Endpoints;
use super::ground::Ground;
use super::handle::{Ending, Exit};
use super::state::{ControlState, Sources, Stage};
use super::verbs::by_signal;
use crate::base::{Errno, Millis};
use crate::host::signals;
use crate::ring::patient;
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

/// Makes the control plane's runtime for the calling thread. It takes a ring, so it is made before
/// a client is served.
///
/// # Errors
/// When its ring or a descriptor is refused; memory is waited for, a bounded time.
pub fn runtime() -> std::io::Result<Runtime> {
    let make = || Runtime::new(&tokio_uring::builder());
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    Ok(patient(|| make().map_err(errno))?)
}

/// Handles signals and requests and watches the workers until the gateway is to end, then ends it.
/// `ready` is called once signals and requests are handled.
///
/// # Errors
/// When a signal handler cannot be had.
pub fn run(
    runtime: &Runtime,
    sources: Arc<Sources>,
    ground: Arc<Mutex<dyn Ground>>,
    exits: UnboundedReceiver<Exit>,
    endpoints: Endpoints,
    ready: impl FnOnce(),
) -> std::io::Result<Outcome> {
    yield_to_workers();
    runtime.block_on(async {
        let (drain, drain_requests) = unbounded_channel();
        let state = ControlState::new(sources, ground, drain);
        let mut plane = Plane::new(state.clone(), exits, drain_requests)?;
        endpoints.serve(&state);
        state.enter(Stage::Ready);
        ready();
        let outcome = match plane.serve().await {
            Some(lost) => lost,
            None => {
                state.enter(Stage::Draining);
                // A reload that is under way comes first, and no other one begins.
                let _change = state.begin_change().await;
                let drain_timeout = state.view().config.gateway.drain_timeout;
                state.ground().turn_clients_away(drain_timeout);
                plane.drain(drain_timeout).await
            }
        };
        if matches!(outcome, Outcome::Forced | Outcome::WorkerLost) {
            plane.reset_connections().await;
        }
        Ok(outcome)
    })
}

/// Lowers this thread's priority: on a core shared with a worker, expensive admin requests wait,
/// and connections do not.
fn yield_to_workers() {
    // On Linux a nice value is a thread's own (setpriority(2)).
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "the control plane keeps the workers' priority");
    }
}

struct Plane {
    state: ControlState,
    exits: UnboundedReceiver<Exit>,
    /// Drains that were asked for at the admin socket.
    drain_requests: UnboundedReceiver<()>,
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
}

impl Plane {
    fn new(
        state: ControlState,
        exits: UnboundedReceiver<Exit>,
        drain_requests: UnboundedReceiver<()>,
    ) -> std::io::Result<Plane> {
        let plane = Plane {
            running: state.workers().len(),
            stalled: vec![false; state.workers().len()],
            state,
            exits,
            drain_requests,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            last: None,
        };
        signals::release();
        Ok(plane)
    }

    /// Until a signal asks for the end (`None`) or a worker is lost.
    async fn serve(&mut self) -> Option<Outcome> {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {
                    self.is_second("SIGTERM");
                    return None;
                }
                _ = self.interrupt.recv() => {
                    self.is_second("SIGINT");
                    return None;
                }
                Some(()) = self.drain_requests.recv() => {
                    tracing::info!(request = "drain", "draining");
                    return None;
                }
                _ = self.hang_up.recv() => by_signal(&self.state),
                _ = self.user1.recv() => self.state.reopen_logs(),
                _ = self.user2.recv() => refuse("SIGUSR2", "upgrade"),
                exit = self.exits.recv() => {
                    self.running = self.running.saturating_sub(1);
                    return Some(lost(exit));
                }
                _ = second.tick() => self.watch(),
            }
        }
    }

    /// Whether a signal that asks for the end is a second one. After a drain by request it is the
    /// first, and changes nothing.
    fn is_second(&mut self, name: &'static str) -> bool {
        let now = self.state.now();
        let Some(last) = self.last else {
            tracing::info!(signal = %name, "draining");
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

    /// Drains every worker; a second signal or the end of the time cuts it short.
    async fn drain(&mut self, drain_timeout: Duration) -> Outcome {
        // Workers end what is left a little before the time is over, to be gone when it is.
        let within = drain_timeout - (drain_timeout / 20).min(Duration::from_secs(1));
        for worker in self.state.workers() {
            worker.order(Order::Drain(within));
        }
        let deadline = tokio::time::sleep(drain_timeout);
        tokio::pin!(deadline);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        while self.running > 0 {
            tokio::select! {
                exit = self.exits.recv() => {
                    self.running = self.running.saturating_sub(1);
                    if !matches!(exit, Some(Exit { how: Ending::Stopped, .. })) {
                        return lost(exit);
                    }
                }
                _ = self.terminate.recv() => if self.is_second("SIGTERM") {
                    return Outcome::Forced;
                },
                _ = self.interrupt.recv() => if self.is_second("SIGINT") {
                    return Outcome::Forced;
                },
                _ = self.user1.recv() => self.state.reopen_logs(),
                _ = second.tick() => {
                    let open: u64 = self.state.open();
                    tracing::info!(still_open = open, "draining");
                }
                () = &mut deadline => return Outcome::TimedOut,
            }
        }
        Outcome::Done
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
                tracing::error!(
                    worker,
                    silent_seconds = silent.as_secs(),
                    "a worker does not turn; its connections stand still"
                );
            }
        }
        for (worker, _) in self
            .stalled
            .iter()
            .zip(&stalled)
            .enumerate()
            .filter(|(_, (then, now))| **then && !**now)
        {
            tracing::warn!(worker, "the worker turns again");
        }
        self.stalled = stalled;
    }
}

fn refuse(signal: &str, what: &str) {
    tracing::warn!(%signal, "{what} is not in this version; the signal is ignored");
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
