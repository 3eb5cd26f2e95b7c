//! Who may be chosen, worked out once for each change.

use std::sync::Arc;

use super::source::mixed;
use super::{Fleet, Standing};
use crate::config::AllDown;

/// The shares of all servers as they were after a change.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// The change that it was made for; `None`: it was not made yet.
    made_for: Option<u32>,
    /// By server; 0: it is not chosen.
    shares: Vec<u32>,
    /// By server: its share and those of all before it.
    sums: Vec<u32>,
    /// Every share is the same and none is 0: the cursor alone shares evenly.
    is_even: bool,
    /// One that has a share may have so many connections and no more.
    is_bounded: bool,
    /// None has a share, and clients wait until one has.
    awaits_server: bool,
    /// How many a connection may try.
    tries: u8,
    /// Servers that clients may try.
    on_trial: Vec<usize>,
}

impl Plan {
    /// Looks at the servers again, if anything has changed since it did.
    pub(super) fn follow(&mut self, servers: &[Arc<Standing>], fleet: &Fleet) {
        let changes = fleet.changes();
        if self.made_for != Some(changes) {
            self.made_for = Some(changes);
            self.make(servers, fleet.all_down());
            let shared = servers.iter().zip(&self.shares).filter(|(_, share)| **share > 0);
            self.is_bounded = shared.clone().any(|(it, _)| it.connections().most().is_some());
            let chosen = shared.count() as u32;
            self.awaits_server = chosen == 0 && fleet.all_down() == AllDown::Wait;
            self.tries = chosen.clamp(1, fleet.attempts()) as u8;
        }
    }

    /// The share of each server: of those that serve; where none does, of backups that do; where
    /// none of these does either, by the policy for that.
    fn make(&mut self, servers: &[Arc<Standing>], all_down: AllDown) {
        let tiers = [
            |it: &Standing| if it.is_backup() { 0 } else { it.share() },
            |it: &Standing| if it.is_backup() { it.share() } else { 0 },
            Standing::claim,
        ];
        let tiers = tiers.iter().take(if all_down == AllDown::TryAll { 3 } else { 2 });
        self.shares.clear();
        for share in tiers {
            self.shares.clear();
            self.shares.extend(servers.iter().map(|server| share(server)));
            if self.shares.iter().any(|share| *share > 0) {
                break;
            }
        }
        let sums = self.shares.iter().scan(0, |sum, share| {
            *sum += share;
            Some(*sum)
        });
        self.sums.clear();
        self.sums.extend(sums);
        let first = self.shares.first().copied().unwrap_or(0);
        self.is_even = first > 0 && self.shares.iter().all(|share| *share == first);
        let on_trial = servers.iter().enumerate().filter(|(_, server)| server.is_on_trial());
        self.on_trial = on_trial.map(|(index, _)| index).collect();
    }

    pub(super) fn share(&self, server: usize) -> u32 {
        self.shares[server]
    }

    /// By server.
    pub(super) fn shares(&self) -> &[u32] {
        &self.shares
    }

    pub(super) fn is_even(&self) -> bool {
        self.is_even
    }

    /// Whether a server that has a share may have so many connections and no more.
    pub(super) fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// Whether no server serves and clients wait for one.
    pub(super) fn awaits_server(&self) -> bool {
        self.awaits_server
    }

    /// How many servers a connection may try in vain: as many as may be chosen, at most.
    pub(super) fn tries(&self) -> u8 {
        self.tries
    }

    /// Two servers, each by its share of the chances; where only one has a share, that one twice.
    pub(super) fn draw_two(&self, chance: &mut u64) -> Option<(usize, usize)> {
        let mut draw = |below: u32| {
            // SplitMix64: its step is 2⁶⁴ divided by the golden ratio.
            *chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (mixed(*chance) % u64::from(below)) as u32
        };
        let sums = &self.sums;
        let all = *sums.last().filter(|all| **all > 0)?;
        let at = |place: u32| match self.is_even {
            true => (place / sums[0]) as usize,
            false => sums.partition_point(|sum| *sum <= place),
        };
        let one = at(draw(all));
        let share = self.shares[one];
        if share == all {
            return Some((one, one));
        }
        let place = draw(all - share);
        let before_one = sums[one] - share;
        let other = at(if place < before_one { place } else { place + share });
        Some((one, other))
    }

    /// A server that the next client tries.
    pub(super) fn on_trial(&self, servers: &[Arc<Standing>]) -> Option<usize> {
        self.take_trial(servers, |_| true)
    }

    /// The same, one of these.
    pub(super) fn take_trial(
        &self,
        servers: &[Arc<Standing>],
        may: impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let mut on_trial = self.on_trial.iter().copied().filter(may);
        on_trial.find(|index| servers[*index].take_trial())
    }
}
