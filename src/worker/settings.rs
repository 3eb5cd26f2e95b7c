//! The settings of a worker that a change of the config brings while it turns.

use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use super::access::{AccessPlan, AccessQueue};
use crate::config::{Config, Level};
use crate::ring::Ring;

/// Connections that a worker makes quiet in one turn: those who speak meanwhile wait for it. While
/// 200,000 went quiet, the p99 of messages was 1.5 to 2.4 ms with 16 and 3.9 to 5.5 ms with 100, at
/// the same CPU (`crowd --beside pingpong:1000@1000`, Linux 6.18, 2 cores).
const QUIETED_PER_TURN: u32 = 16;

/// What a worker takes from the config beside the topology.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The log has a line for every connection that ends.
    pub logged: bool,
    /// For the access log.
    pub access: Option<AccessPlan>,
    /// When receives that wait give way to waits without a buffer.
    pub quiet: QuietPlan,
    /// How long the ring waits for a batch of completions; zero: it does not.
    pub batch_wait: Duration,
}

/// When a connection's receives have waited for long enough. A waiting receive takes 870 bytes of
/// kernel memory, a wait for readability 260.
#[derive(Clone, Debug)]
pub struct QuietPlan {
    /// Without a byte in either direction.
    pub after: Duration,
    /// Connections that are made quiet in one turn. Each takes requests for its cancels, and a ring
    /// never returns memory of requests (io_kiocb) before its end, so few at a time.
    pub per_turn: u32,
}

impl Settings {
    /// What the config says; `notes` takes the worker's notes for the access log, if there is one.
    pub fn of(config: &Config, notes: Option<Arc<AccessQueue>>) -> Settings {
        let (openings, empty) = (config.access_log.openings, config.access_log.empty);
        Settings {
            logged: config.log.level >= Level::Debug,
            access: notes.map(|notes| AccessPlan { notes, openings, empty }),
            quiet: QuietPlan { after: config.ring.quiet_after, per_turn: QUIETED_PER_TURN },
            batch_wait: config.ring.batch_wait.unwrap_or_default(),
        }
    }

    /// Whether the addresses of every connection are asked for before it ends.
    pub(super) fn asks_addresses(&self) -> bool {
        self.logged || self.access.is_some()
    }
}

impl<R: Ring> Worker<R> {
    /// Goes by other settings. Says whether connections that are there have to be visited for that.
    pub(super) fn adopt_settings(&mut self, settings: Settings) -> bool {
        let before = std::mem::replace(&mut self.plan.settings, settings);
        self.lives.set_quiet_after(self.quiet_after());
        let now = &self.plan.settings;
        if now.batch_wait != before.batch_wait {
            self.ring.set_batch_wait(now.batch_wait);
        }
        if !now.asks_addresses() {
            self.notes.forget_departures();
        }
        if !now.access.as_ref().is_some_and(|access| access.openings) {
            self.notes.forget_openings();
        }
        let asks_more = now.asks_addresses() && !before.asks_addresses();
        asks_more || now.quiet.after < before.quiet.after
    }
}
