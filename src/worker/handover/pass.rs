//! The order in which a pass comes to connections.

use crate::base::{ConnIndex, Tick};
use crate::ring::{Accepts as _, Ring};
use crate::worker::Worker;

/// Pairs of connections that are compared to find out in which order they were active.
const SAMPLES: u32 = 128;
/// Slots between those of a pair at most, so that most pairs are in one kernel ring.
const APART: u32 = 1000;

/// A pass over all slots, from one end to the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pass {
    /// Slots that it has been at.
    pub(super) past: u32,
    /// From the last slot to the first.
    descends: bool,
}

impl<R: Ring> Worker<R> {
    /// A pass that begins at the end where connections are that were active last. Their receives
    /// are most often those that were armed last, which a kernel ring finds first when it is to
    /// cancel them: it walks a list of them, the newest at its head, 80 of them in a full table.
    pub(super) fn begin_pass(&mut self) -> Pass {
        let slots = self.ring.slots();
        let apart = APART.min(slots / 2);
        let mut votes = 0_i32;
        for nth in 0..SAMPLES {
            let one = (u64::from(slots) * u64::from(nth) / u64::from(SAMPLES)) as u32;
            let pair = [one, one + apart].map(|slot| self.active_in(slot));
            if let [Some(first), Some(last)] = pair {
                votes += i32::from(last > first) - i32::from(first > last);
            }
        }
        Pass { past: 0, descends: votes > 0 }
    }

    /// When the connection of a slot was active, if it has one that can depart.
    fn active_in(&mut self, slot: u32) -> Option<Tick> {
        let index = self.lives.used_from(slot).filter(|index| index.0 == slot)?;
        let entry = self.lives.entry(index);
        let can_go = entry.conn.can_depart() || entry.conn.can_withdraw();
        can_go.then_some(entry.active)
    }

    /// The next slot of a pass that may hold a connection, which has been at it then.
    pub(super) fn next_of_pass(&self, pass: &mut Pass) -> Option<ConnIndex> {
        let last = self.ring.slots().checked_sub(pass.past + 1)?;
        let index = match pass.descends {
            true => self.lives.used_to(last)?,
            false => self.lives.used_from(pass.past)?,
        };
        let before = if pass.descends { self.ring.slots() - 1 - index.0 } else { index.0 };
        pass.past = before + 1;
        Some(index)
    }
}
