//! When a connection's patience is over, and what becomes of it then.

use std::time::Duration;

use super::Worker;
use crate::base::{ConnIndex, Millis, Tick};
use crate::config::Guards;
use crate::conn::{Event, Patience, Phase};
use crate::ring::Ring;

/// When cancelled operations that have not ended are cancelled again.
const RETIREMENT_PATIENCE: Duration = Duration::from_secs(1);
/// How soon the kernel is asked again for what it had no file or memory for.
const PRESSURE_PATIENCE: Duration = Duration::from_millis(200);
/// How long one direction may be over before a reset of its sender is watched for.
const OTHER_END_PATIENCE: Duration = Duration::from_secs(1);
/// How often a reset that waits for its last bytes looks whether they have arrived.
const DELIVERY_PATIENCE: Duration = Duration::from_millis(50);
/// How long what a side sent before its reset may make no way before the reset is passed on all
/// the same. A reset destroys bytes anyway; this is for a peer that is slow, not for one that has
/// stopped.
const LAST_BYTES_PATIENCE: Duration = Duration::from_secs(5);

impl<R: Ring> Worker<R> {
    /// Deals with what is due. Where more have gone quiet, or are to be probed, than a turn takes,
    /// what is left of the wheel's tick waits for the next.
    pub(super) fn expire(&mut self) {
        let mut silent = 0;
        let silent_max = self.plan.settings.quiet.per_turn;
        let until = Tick::at(self.time.heard());
        loop {
            while silent < silent_max
                && let Some(index) = self.lives.take_due()
            {
                let patience = self.expire_one(index);
                silent +=
                    u32::from(matches!(patience, Some(Patience::Quiet | Patience::Keepalive)));
            }
            if self.lives.any_due() || !self.lives.step(until) {
                return;
            }
        }
    }

    /// The deadline that had come, if one had.
    fn expire_one(&mut self, index: ConnIndex) -> Option<Patience> {
        let (due, patience) = self.deadline(index)?;
        let entry = self.lives.entry(index);
        let is_new = entry.waits_since.begins() > self.time.heard();
        if due > self.time.heard() || is_new || entry.conn.holds_up(patience) {
            // A byte moved since the deadline was set, or it lay beyond the wheel; or it waits for
            // something else only since a moment ago, and what was there has not been read yet; or
            // the next step is ours.
            self.set_timer(index);
            return None;
        }
        self.counters.timers_expired.add(1);
        match patience {
            Patience::Retirement => self.counters.cancels_repeated.add(1),
            Patience::Quiet => self.counters.quieted.add(1),
            Patience::LastBytes => self.counters.cut_short.add(1),
            _ => {}
        }
        self.lives.entry(index).waits_since = Tick::not_before(self.time.now());
        match patience.timeout() {
            // It is a refusal, and looks like one however long nothing has moved.
            Some(reason) if patience == Patience::Hold => {
                self.apply(index, Event::PrefaceRefused(reason));
            }
            Some(reason) => self.end(index, reason),
            None if patience == Patience::Keepalive => self.guard(index, Guards::silence),
            None => self.apply(index, Event::Expired(patience)),
        }
        self.set_timer(index);
        Some(patience)
    }

    /// Puts the connection's earliest deadline into the wheel.
    pub(super) fn set_timer(&mut self, index: ConnIndex) {
        let due = self.deadline(index).map(|(due, _)| Tick::not_before(due));
        self.lives.set_due(index, due);
    }

    /// The earliest deadline of a connection, and what ends its patience then.
    pub(super) fn deadline(&mut self, index: ConnIndex) -> Option<(Millis, Patience)> {
        let entry = self.lives.entry(index);
        let line = self.routes.line(entry.route);
        let timeouts = &line.timeouts;
        let idle_since = entry.active.begins();
        let since = entry.waits_since.begins();
        let byte = timeouts.idle.map(|idle| (idle_since.after(idle), Patience::Byte));
        let half_close =
            timeouts.half_close.map(|wait| (idle_since.after(wait), Patience::LastDirection));
        let first_byte = timeouts.first_byte.map(|wait| entry.opened.millis().after(wait));
        let first_byte = first_byte.map(|due| (due, Patience::FirstByte));
        let last_bytes = (idle_since.after(LAST_BYTES_PATIENCE), Patience::LastBytes);
        let (first, second) = match entry.conn.patience() {
            Patience::Unbounded => (None, None),
            Patience::Retirement => {
                return Some((since.after(RETIREMENT_PATIENCE), Patience::Retirement));
            }
            Patience::Pressure => {
                (Some((since.after(PRESSURE_PATIENCE), Patience::Pressure)), None)
            }
            Patience::Room => {
                let since = self.waits.since(index).unwrap_or(since);
                (Some((since.after(timeouts.queue), Patience::Room)), None)
            }
            Patience::Hold => (self.keep.until(index).map(|due| (due, Patience::Hold)), None),
            Patience::Silence => {
                let lazy = line.forwarding.lazy_wait.map(|wait| since.after(wait));
                let lazy = lazy.map(|due| (due, Patience::Silence));
                (lazy.into_iter().chain(first_byte).min_by_key(|(due, _)| *due), byte)
            }
            Patience::Preface => {
                let within = line.preface.as_ref().map(|preface| preface.within);
                // Since it came, or since it was held last.
                (within.map(|within| (since.after(within), Patience::Preface)), None)
            }
            Patience::Connect => {
                let left = entry.connect_until.begins().since(since);
                let each = left / u32::from(entry.tried.left()).max(1);
                (Some((since.after(each), Patience::Connect)), None)
            }
            Patience::Delivery => {
                (Some((since.after(DELIVERY_PATIENCE), Patience::Delivery)), Some(last_bytes))
            }
            Patience::LastBytes => (Some(last_bytes), None),
            Patience::OtherEnd => {
                (Some((since.after(OTHER_END_PATIENCE), Patience::OtherEnd)), half_close)
            }
            Patience::FirstByte => (first_byte, byte),
            Patience::Byte | Patience::Lifetime | Patience::Quiet | Patience::Keepalive => {
                (None, byte)
            }
            Patience::LastDirection => (half_close, byte),
        };
        let lives = !matches!(entry.conn.phase(), Phase::Vacant | Phase::Departed);
        let lifetime = timeouts.max_lifetime.filter(|_| lives);
        let lifetime = lifetime.map(|longest| {
            let share = lifetime_share(index, entry.generation);
            let due = entry.opened.millis().after(longest.mul_f64(share));
            (due, Patience::Lifetime)
        });
        let probes = line.guards.keepalive.filter(|_| entry.conn.wants_probes());
        let probes = probes.filter(|_| self.routes.is_probed(entry.server));
        let probes = probes.map(|silence| (idle_since.after(silence), Patience::Keepalive));
        let quiet = self.lives.quiet_due(index).map(|due| (due.begins(), Patience::Quiet));
        [first, second, lifetime, quiet, probes].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    /// Whether the wheel comes to the connection too late to find its receive quiet.
    pub(super) fn would_be_late(&mut self, index: ConnIndex) -> bool {
        let Some(due) = self.lives.quiet_due(index) else { return false };
        let set = self.lives.entry(index).timer.due();
        set.is_none_or(|set| set > due.max(Tick(Tick::at(self.time.heard()).0 + 1)))
    }
}

/// Between nine tenths and all of the allotted time, spread by slot and life so that connections
/// that came together do not end together.
fn lifetime_share(index: ConnIndex, generation: u32) -> f64 {
    // Knuth's multiplicative hash: 2³² divided by the golden ratio.
    let spread = (index.0 ^ generation.rotate_left(16)).wrapping_mul(2_654_435_769);
    1.0 - 0.1 * f64::from(spread) / f64::from(u32::MAX)
}
