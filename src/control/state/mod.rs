//! The state that the parts of the control plane share: workers, readings, the gateway's stage.

mod permits;
mod reading;
mod sources;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::MutexGuard;
use tokio::sync::mpsc::UnboundedSender;

pub(super) use permits::Permits;
pub use sources::{Present, Sources};
pub use view::View;

use super::ground::Ground;
use super::handle::WorkerHandle;
use crate::access_log::AccessLog;
use crate::base::Millis;
use crate::base::limits::STALLED_AFTER;
use crate::metrics::{Format, Reading};
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
    ground: Arc<Mutex<dyn Ground>>,
    kept: Mutex<Option<Kept>>,
    /// One change of what there is, or of how it is steered, at a time.
    change: tokio::sync::Mutex<()>,
    permits: Permits,
    watch: Mutex<Watch>,
    stage: AtomicU8,
    drains: UnboundedSender<()>,
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
    /// A gateway that is starting. `drains` takes the request to drain.
    pub(super) fn new(
        sources: Arc<Sources>,
        ground: Arc<Mutex<dyn Ground>>,
        drains: UnboundedSender<()>,
    ) -> ControlState {
        let stage = AtomicU8::new(Stage::Starting as u8);
        let watch = Mutex::new(Watch::new(sources.workers.len(), sources.clock.now()));
        ControlState(Arc::new(Inside {
            sources,
            ground,
            kept: Mutex::default(),
            change: tokio::sync::Mutex::default(),
            permits: Permits::new(),
            watch,
            stage,
            drains,
        }))
    }

    /// The workers.
    pub(super) fn workers(&self) -> &[WorkerHandle] {
        &self.0.sources.workers
    }

    /// The sources of readings.
    pub(super) fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// The file and the sockets. What a change of them does in between belongs to the change.
    pub(super) fn ground(&self) -> std::sync::MutexGuard<'_, dyn Ground + 'static> {
        self.0.ground.lock().expect("nobody panics while holding it")
    }

    /// The view of the present topology. A caller that awaits in between asks again.
    pub(super) fn view(&self) -> Arc<View> {
        self.0.sources.view()
    }

    /// Waits until no other change is under way.
    pub(super) async fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.0.change.lock().await
    }

    /// A rotation has moved log files away.
    pub(super) fn reopen_logs(&self) {
        if !self.0.sources.access_log.as_ref().is_some_and(AccessLog::reopen) {
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
            let reading = Arc::new(self.0.sources.reading());
            Kept { taken: now, reading, texts: Vec::new() }
        };
        use_it(kept.insert(young.unwrap_or_else(taken)))
    }

    /// An operator changed something: the next reading is taken afresh.
    pub(super) fn forget_reading(&self) {
        *self.0.kept.lock().expect("nobody panics while holding it") = None;
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

    /// Asks for a drain; it has begun soon after.
    pub(super) fn drain(&self) {
        // The receiver is gone when it drains already.
        let _ = self.0.drains.send(());
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
