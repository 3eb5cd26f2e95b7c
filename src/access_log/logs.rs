//! The access log that is written now, and those before it whose last lines are on their way.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::Writing;
use crate::metrics::reading;
use crate::worker::AccessQueue;

/// The access logs of a gateway, one after the other. The counts are of all of them.
#[derive(Debug, Default)]
pub struct AccessLogs(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    current: Option<Writing>,
    /// A worker has yet to go over, or lines wait.
    replaced: Vec<Writing>,
    /// Of those that have ended; `None`: there were none.
    ended: Option<reading::AccessLog>,
}

impl AccessLogs {
    /// With this one; `None`: there is none.
    pub fn new(first: Option<Writing>) -> AccessLogs {
        AccessLogs(Mutex::new(Inside { current: first, ..Inside::default() }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.0.lock().expect("nobody panics while holding it");
        inside.forget_ended();
        inside
    }

    /// Another one takes its place, or none. What is noted for the one before is still written.
    pub fn replace(&self, next: Option<Writing>) {
        let mut inside = self.inside();
        if let Some(before) = std::mem::replace(&mut inside.current, next) {
            before.log.0.is_replaced.store(true, Ordering::SeqCst);
            inside.replaced.push(before);
        }
    }

    /// A worker's queue of the present one; `None`: there is none.
    pub fn queue(&self, worker: usize) -> Option<Arc<AccessQueue>> {
        self.inside().current.as_ref()?.queue(worker)
    }

    /// Reopens the file, which a rotation has moved away; false when there is no file.
    pub fn reopen(&self) -> bool {
        self.inside().current.as_ref().is_some_and(|current| current.log.reopen())
    }

    /// The counts of written and lost lines so far; `None`: there never was an access log.
    pub fn counts(&self) -> Option<reading::AccessLog> {
        let inside = self.inside();
        let before = inside.replaced.iter().map(|one| one.log.counts());
        let before = before.chain(inside.ended.clone()).reduce(sum);
        let Some(current) = &inside.current else { return before };
        let now = current.log.counts();
        let failing = now.failing.clone();
        Some(reading::AccessLog { failing, ..before.into_iter().fold(now, sum) })
    }

    /// Goes on counting where a predecessor has stopped.
    pub fn count_on(&self, former: reading::AccessLog) {
        let mut inside = self.inside();
        inside.ended = inside.ended.take().into_iter().chain([former]).reduce(sum);
    }

    /// Writes the lines that still wait. It gives up when a reader of lines is too slow.
    pub fn finish(&self, within: Duration) {
        let Inside { current, replaced, .. } = std::mem::take(&mut *self.inside());
        let all: Vec<Writing> = current.into_iter().chain(replaced).collect();
        all.iter().for_each(|one| one.log.0.stop.store(true, Ordering::SeqCst));
        // The others end meanwhile.
        let late = all.iter().filter(|one| !one.wait(within)).count();
        if late > 0 {
            tracing::warn!("the access log's last lines could not be written in time");
        }
    }
}

impl Inside {
    fn forget_ended(&mut self) {
        let (ended, replaced) = std::mem::take(&mut self.replaced)
            .into_iter()
            .partition(|one| one.thread.is_finished());
        self.replaced = replaced;
        let ended: Vec<Writing> = ended;
        let counts = ended.iter().map(|one| one.log.counts());
        self.ended = self.ended.take().into_iter().chain(counts).reduce(sum);
    }
}

/// Of two logs together. One that is replaced fails nobody any more.
fn sum(one: reading::AccessLog, other: reading::AccessLog) -> reading::AccessLog {
    reading::AccessLog {
        written: one.written + other.written,
        dropped: one.dropped + other.dropped,
        failed: one.failed + other.failed,
        failing: None,
    }
}
