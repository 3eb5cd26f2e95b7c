//! The order in which a pass comes to connections.

use crate::base::ConnIndex;
use crate::ring::{Accepts as _, Ring};
use crate::worker::Worker;

/// Connections that are looked at to find out in which order they came.
const SAMPLES: u32 = 128;

/// A pass over all slots, from one end to the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pass {
    /// Slots that it has been at.
    pub(super) past: u32,
    /// From the last slot to the first.
    descends: bool,
}

impl<R: Ring> Worker<R> {
    /// A pass that begins where connections are that were active last. Their receives are most
    /// often those that were armed last, which a kernel ring finds first when it is to cancel them:
    /// it walks a list of them, the newest at its head, 80 of them in a full table.
    pub(super) fn begin_pass(&mut self) -> Pass {
        let slots = self.ring.slots();
        // Of each half: how many, and the sum of when they were active.
        let mut halves = [(0, 0_u64); 2];
        for nth in 0..SAMPLES {
            let slot = (u64::from(slots) * u64::from(nth) / u64::from(SAMPLES)) as u32;
            let Some(index) = self.lives.used_from(slot).filter(|index| index.0 == slot) else {
                continue;
            };
            let entry = self.lives.entry(index);
            if entry.conn.can_depart() {
                let (count, sum) = &mut halves[usize::from(nth >= SAMPLES / 2)];
                *count += 1;
                *sum += u64::from(entry.active.0);
            }
        }
        let [(first, of_first), (last, of_last)] = halves;
        Pass { past: 0, descends: last > 0 && of_last * first >= of_first * last }
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
