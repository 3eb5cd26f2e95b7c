//! The state that the parts of the control plane share: workers, readings, the gateway's stage.

mod connects;
mod folded;
mod permits;
mod preambles;
mod reading;
mod samples;
mod sentry;
mod sets;
mod shortages;
mod sources;
#[cfg(test)]
mod tests;
mod troubles;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use axum::body::Bytes;
use rustix::system::uname;
use tokio::sync::MutexGuard;
use tokio::sync::mpsc::UnboundedSender;

pub(super) use folded::Folded;
pub(super) use permits::Permits;
pub(super) use preambles::Preambles;
pub use sentry::Sentry;
pub(super) use sentry::{LOOK_EVERY, Scene, serves};
pub use sets::Sets;
pub(super) use shortages::Shortages;
pub use sources::{Next, Present, Sources};
pub use view::View;

use super::asker::{self, Asker};
use super::drains::{Ask, Drains};
use super::ground::Ground;
use super::handle::WorkerHandle;
use super::reopen::Reopen;
use super::spawner::Spawner;
use super::underway::{Handover, Underway};
use crate::base::limits::STALLED_AFTER;
use crate::base::{Millis, ServerId};
use crate::doctor::{count, thousands};
use crate::metrics::reading::{Identity, Severity, UpgradeProgress};
use crate::metrics::{Format, Reading};
use crate::summary::upgrade_words;
use crate::topology::{Gone, Topology};
use samples::Samples;
use watch::Watch;

/// However many ask, a reading is taken ten times per second at most: it looks at every listener's
/// sockets and at /proc.
const READING_LIFE: Duration = Duration::from_millis(100);

/// How far the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Not every part is there yet.
    Starting,
    /// Clients are served.
    Ready,
    /// No new client gets in, and those who are there leave.
    Draining,
}

/// Shared by signals, the watch and every request; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ControlState(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    sources: Arc<Sources>,
    identity: Identity,
    ground: Arc<Mutex<dyn Ground>>,
    /// The control plane's sockets, which hold this state themselves.
    reopen: OnceLock<Weak<dyn Reopen>>,
    kept: Mutex<Option<Kept>>,
    /// One change of what there is, or of how it is steered, at a time.
    change: tokio::sync::Mutex<()>,
    permits: Permits,
    samples: Mutex<Samples>,
    watch: Mutex<Watch>,
    stage: AtomicU8,
    asks: UnboundedSender<(Ask, Option<Asker>)>,
    spawner: OnceLock<Spawner>,
    underway: Mutex<Underway>,
    /// Servers that were taken away and have not come back, and by which generation.
    removed: Mutex<BTreeMap<ServerId, u64>>,
}

/// The last reading.
#[derive(Debug)]
struct Kept {
    taken: Millis,
    reading: Arc<Reading>,
    /// Its expositions, as far as somebody wanted them.
    texts: Vec<(Format, Bytes)>,
}

impl ControlState {
    /// A gateway that is starting. `asks` takes what the loop is to do.
    pub(super) fn new(
        sources: Arc<Sources>,
        ground: Arc<Mutex<dyn Ground>>,
        asks: UnboundedSender<(Ask, Option<Asker>)>,
    ) -> ControlState {
        let stage = AtomicU8::new(Stage::Starting as u8);
        let watch = Mutex::new(Watch::new(sources.workers.len(), sources.clock.now()));
        let source = ground.lock().expect("nobody holds it yet").source();
        let identity = Identity {
            config: source.path().map(|path| path.to_string_lossy().into_owned()),
            host: uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
        };
        ControlState(Arc::new(Inside {
            sources,
            identity,
            ground,
            reopen: OnceLock::new(),
            kept: Mutex::default(),
            change: tokio::sync::Mutex::default(),
            permits: Permits::new(),
            samples: Mutex::default(),
            watch,
            stage,
            asks,
            spawner: OnceLock::new(),
            underway: Mutex::default(),
            removed: Mutex::default(),
        }))
    }

    /// The workers.
    pub(super) fn workers(&self) -> &[WorkerHandle] {
        &self.0.sources.workers
    }

    /// Which gateway it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The sources of readings.
    pub(super) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// The file and the sockets. What a change of them does in between belongs to the change.
    pub(super) fn ground(&self) -> std::sync::MutexGuard<'_, dyn Ground + 'static> {
        self.0.ground.lock().expect("nobody panics while holding it")
    }

    /// The control plane's sockets answer from here on.
    pub(super) fn set_reopen(&self, reopen: &Arc<dyn Reopen>) {
        // There is one set of them in a process.
        let _ = self.0.reopen.set(Arc::downgrade(reopen));
    }

    /// The control plane's sockets, while they answer.
    pub(super) fn reopen(&self) -> Option<Arc<dyn Reopen>> {
        self.0.reopen.get()?.upgrade()
    }

    /// Successors are started by this one.
    pub(super) fn set_spawner(&self, spawner: Spawner) {
        // There is one in a process.
        let _ = self.0.spawner.set(spawner);
    }

    /// Starts successors, where there is one.
    pub(super) fn spawner(&self) -> Option<&Spawner> {
        self.0.spawner.get()
    }

    fn underway(&self) -> std::sync::MutexGuard<'_, Underway> {
        self.0.underway.lock().expect("nobody panics while holding it")
    }

    /// An upgrade begins, by this step; `None`: one is under way.
    pub(super) fn begin_upgrade(&self, step: &'static str) -> Option<Arc<Handover>> {
        let mut underway = self.underway();
        let Underway::No = *underway else { return None };
        let handover = Arc::new(Handover::new(step, self.now()));
        *underway = Underway::Yes(handover.clone());
        Some(handover)
    }

    /// How far the upgrade under way is, if there is one.
    fn upgrade(&self) -> Option<UpgradeProgress> {
        let Underway::Yes(handover) = &*self.underway() else { return None };
        Some(handover.progress(self.open(), self.now()))
    }

    /// It is over; where it was committed, for good.
    pub(super) fn end_upgrade(&self, is_committed: bool) {
        *self.underway() = if is_committed { Underway::Committed } else { Underway::No };
        self.forget_reading();
    }

    /// Has the upgrade under way taken back; says whether there is one.
    pub(super) fn abort_upgrade(&self, because: &str) -> bool {
        let underway = self.underway();
        let Underway::Yes(handover) = &*underway else { return false };
        handover.abort(because);
        true
    }

    /// Whether a successor has everything.
    pub(super) fn is_succeeded(&self) -> bool {
        matches!(*self.underway(), Underway::Committed)
    }

    /// What the gateway does, in a few words.
    pub(super) fn stage_words(&self) -> String {
        let stage = match (self.stage(), self.upgrade()) {
            (Stage::Draining, _) => "draining".to_owned(),
            (Stage::Starting, None) => "starting".to_owned(),
            (Stage::Ready, None) => "ready".to_owned(),
            (_, Some(upgrade)) => format!("upgrading, {}", upgrade_words(&upgrade)),
        };
        let limit = self.0.sources.budget.limit();
        format!("{stage}; {} of {} open", count(self.open(), "connection"), thousands(limit.into()))
    }

    /// The view of the present topology. A caller that awaits in between asks again.
    pub(super) fn view(&self) -> Arc<View> {
        self.0.sources.view()
    }

    /// Waits until no other change is under way.
    pub(super) async fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.0.change.lock().await
    }

    /// Notes what a change took away, and what has come back with it.
    pub(super) fn note_removed(&self, gone: &Gone, now: &Topology, generation: u64) {
        let mut removed = self.0.removed.lock().expect("nobody panics while holding it");
        removed.retain(|id, _| now.servers.get(*id).is_none());
        removed.extend(gone.servers.iter().map(|(id, _)| (*id, generation)));
    }

    /// Whether a server that this generation took away has not come back since.
    pub(super) fn is_removed(&self, server: ServerId, generation: u64) -> bool {
        let removed = self.0.removed.lock().expect("nobody panics while holding it");
        removed.get(&server) == Some(&generation)
    }

    /// A rotation has moved log files away.
    pub(super) fn reopen_logs(&self) {
        if !self.0.sources.access_log.reopen() {
            tracing::info!(signal = %"SIGUSR1", "there is no log file to reopen");
        }
    }

    /// The gateway's time.
    pub(super) fn now(&self) -> Millis {
        self.0.sources.clock.now()
    }

    /// The latest reading, at most a moment old.
    pub(super) fn reading(&self) -> Arc<Reading> {
        self.with_kept(|kept| kept.reading.clone())
    }

    /// The same as a scraper wants it.
    pub(super) fn exposition(&self, format: Format) -> Bytes {
        self.with_kept(|kept| {
            let known = kept.texts.iter().find(|(of, _)| *of == format);
            known.map(|(_, text)| text.clone()).unwrap_or_else(|| {
                let text = Bytes::from(format.show(&kept.reading));
                kept.texts.push((format, text.clone()));
                text
            })
        })
    }

    fn with_kept<T>(&self, use_it: impl FnOnce(&mut Kept) -> T) -> T {
        let now = self.now();
        let mut kept = self.0.kept.lock().expect("nobody panics while holding it");
        let young = kept.take_if(|kept| now.since(kept.taken) < READING_LIFE);
        let taken = || {
            let gateway = Some(self.0.identity.clone());
            let reading =
                Arc::new(Reading { gateway, upgrade: self.upgrade(), ..self.0.sources.reading() });
            Kept { taken: now, reading, texts: Vec::new() }
        };
        use_it(kept.insert(young.unwrap_or_else(taken)))
    }

    /// An operator changed something: the next reading is taken afresh.
    pub(super) fn forget_reading(&self) {
        *self.0.kept.lock().expect("nobody panics while holding it") = None;
    }

    /// The gateway's history.
    pub(super) fn samples(&self) -> std::sync::MutexGuard<'_, Samples> {
        self.0.samples.lock().expect("nobody panics while holding it")
    }

    /// Permits to query the workers.
    pub(super) fn permits(&self) -> &Permits {
        &self.0.permits
    }

    /// How far the gateway is.
    pub(super) fn stage(&self) -> Stage {
        match self.0.stage.load(Ordering::Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Draining,
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Asks the loop for something that concerns the drain of the process.
    pub(super) fn ask(&self, ask: Ask) {
        // Without a loop the gateway is at its end, and the asker hears nothing.
        let _ = self.0.asks.send((ask, asker::present()));
    }

    /// Something happened: see [`Events::tell`](super::events::Events::tell).
    pub(super) fn tell(&self, severity: Severity, subject: &str, words: &str) {
        self.0.sources.events.tell(severity, subject, words);
    }

    /// The drains under way.
    pub(super) fn drains(&self) -> &Drains {
        &self.0.sources.drains
    }

    /// Connections open now.
    pub(super) fn open(&self) -> u64 {
        self.view().counters.iter().map(|counters| counters.open.get()).sum()
    }

    /// Workers whose heartbeat has stopped, and for how long.
    pub(super) fn stalled(&self) -> impl Iterator<Item = (usize, Duration)> {
        let view = self.view();
        let beats = view.counters.iter().map(|counters| counters.beat_millis.get());
        let mut watch = self.0.watch.lock().expect("nobody panics while holding it");
        let silences = watch.look(self.now(), beats);
        silences.into_iter().enumerate().filter(|(_, silent)| *silent > STALLED_AFTER)
    }
}
