//! The upgrade under way: there is one at a time, everybody may see how far it is, and it can be
//! aborted.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::api::handover;
use crate::base::Millis;
use crate::metrics::reading::UpgradeProgress;
use crate::topology::Left;
use crate::worker::Departures;

/// How far this process is with its successor.
#[derive(Debug, Default)]
pub(super) enum Underway {
    /// There is none.
    #[default]
    No,
    /// One is being handed over to.
    Yes(Arc<Handover>),
    /// It has everything, and this process ends.
    Committed,
}

/// An upgrade under way.
#[derive(Debug)]
pub(super) struct Handover {
    begun: Millis,
    /// Why it is to be taken back, if it is.
    abort: Mutex<Option<String>>,
    how_far: Mutex<HowFar>,
}

#[derive(Debug)]
struct HowFar {
    step: &'static str,
    successor: Option<u32>,
    departures: Departing,
}

impl Handover {
    /// One that begins now, by this step.
    pub(super) fn new(step: &'static str, now: Millis) -> Handover {
        let how_far = HowFar { step, successor: None, departures: Departing::default() };
        Handover { begun: now, abort: Mutex::default(), how_far: Mutex::new(how_far) }
    }

    /// It is to be taken back; the first reason stays.
    pub(super) fn abort(&self, because: &str) {
        let mut asked = self.abort.lock().expect("nobody panics while holding it");
        asked.get_or_insert_with(|| because.to_owned());
    }

    /// Why it is to be taken back.
    pub(super) fn aborted(&self) -> Option<String> {
        self.abort.lock().expect("nobody panics while holding it").clone()
    }

    fn how_far(&self) -> MutexGuard<'_, HowFar> {
        self.how_far.lock().expect("nobody panics while holding it")
    }

    /// This step is under way.
    pub(super) fn enter(&self, step: &'static str) {
        self.how_far().step = step;
    }

    /// This process is the successor.
    pub(super) fn started(&self, successor: u32) {
        self.how_far().successor = Some(successor);
    }

    /// The workers hand connections over.
    pub(super) fn departs(&self, departures: &Departing) {
        self.how_far().departures = departures.clone();
    }

    /// How far it is, where so many connections are open.
    pub(super) fn progress(&self, open: u64, now: Millis) -> UpgradeProgress {
        let HowFar { step, successor, departures } = &*self.how_far();
        UpgradeProgress {
            step: (*step).to_owned(),
            seconds: now.since(self.begun).as_secs_f64(),
            successor: *successor,
            moved: departures.moved(),
            left: if departures.has_begun() { departures.left() } else { open },
        }
    }
}

/// How far the workers are that hand connections over; none before they are asked to.
#[derive(Clone, Debug, Default)]
pub(super) struct Departing(Vec<Arc<Departures>>);

impl Departing {
    /// One more worker takes part.
    pub(super) fn join(&mut self, departures: Arc<Departures>) {
        self.0.push(departures);
    }

    /// The workers have been asked to hand over.
    pub(super) fn has_begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether this holds for each worker.
    pub(super) fn all(&self, is_so: impl Fn(&Departures) -> bool) -> bool {
        self.0.iter().all(|one| is_so(one))
    }

    /// Over all workers.
    pub(super) fn sum(&self, number: impl Fn(&Departures) -> &AtomicU32) -> u64 {
        self.0.iter().map(|one| u64::from(number(one).load(Relaxed))).sum()
    }

    /// Connections that are here and nowhere else.
    pub(super) fn left(&self) -> u64 {
        self.sum(|one| &one.left)
    }

    /// The same, and what they count for once no more are accepted.
    pub(super) fn rest(&self) -> handover::Left {
        let mut all = Left::default();
        for one in &self.0 {
            all.join(&one.rest.lock().expect("nobody panics while holding it"));
        }
        handover::Left {
            left: self.left().try_into().unwrap_or(u32::MAX),
            by_route: all.by_route.into_iter().map(|(route, count)| (route.0, count)).collect(),
            by_server: all.by_server.into_iter().map(|(server, count)| (server.0, count)).collect(),
        }
    }

    /// Connections that the successor has taken.
    pub(super) fn moved(&self) -> u64 {
        self.sum(|one| &one.taken)
    }
}
