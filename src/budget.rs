//! What the process may still hold: one count for all workers, leased to them in batches.

use std::sync::atomic::{AtomicU32, Ordering};

/// The connections that the process may hold at once. Permits are leased before a client is
/// accepted and come back when its slots are empty, so the sum over all workers never exceeds the
/// limit.
#[derive(Debug)]
pub struct Budget {
    limit: u32,
    leased: AtomicU32,
}

impl Budget {
    /// A budget of `limit` connections, none leased.
    pub fn new(limit: u32) -> Budget {
        Budget { limit, leased: AtomicU32::new(0) }
    }

    /// The most connections at once.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Permits that nobody has leased. Another thread may take them before the caller does.
    pub fn free(&self) -> u32 {
        self.limit.saturating_sub(self.leased.load(Ordering::Relaxed))
    }

    /// Leases up to `wanted` permits and says how many it got.
    pub fn lease(&self, wanted: u32) -> u32 {
        let mut granted = 0;
        // Relaxed: the count is all there is; no other memory is published through it.
        let _ = self.leased.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |leased| {
            granted = wanted.min(self.limit.saturating_sub(leased));
            (granted > 0).then_some(leased + granted)
        });
        granted
    }

    /// Counts one connection above the limit: a client that came without a permit, which admission
    /// excludes. It is served and counted, so that the books stay right.
    pub fn overdraw(&self) {
        self.leased.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes `permits` back.
    ///
    /// # Panics
    /// When more come back than were leased.
    pub fn give_back(&self, permits: u32) {
        let before = self.leased.fetch_sub(permits, Ordering::Relaxed);
        assert!(before >= permits, "{permits} permits came back, {before} were leased");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_leased_than_the_limit_and_all_of_it_comes_back() {
        let budget = Budget::new(10);
        assert_eq!(budget.lease(7), 7);
        assert_eq!(budget.lease(7), 3);
        assert_eq!(budget.lease(1), 0);
        budget.give_back(4);
        assert_eq!(budget.free(), 4);
        assert_eq!(budget.lease(9), 4);
    }

    #[test]
    fn threads_that_lease_and_return_never_exceed_the_limit() {
        let budget = Budget::new(100);
        let held = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for seed in 1..5u32 {
                let (budget, held) = (&budget, &held);
                scope.spawn(move || {
                    for round in 0..10_000u32 {
                        let granted = budget.lease(1 + (round * seed) % 40);
                        let now = held.fetch_add(granted, Ordering::Relaxed) + granted;
                        assert!(now <= 100, "{now} held of 100");
                        held.fetch_sub(granted, Ordering::Relaxed);
                        budget.give_back(granted);
                    }
                });
            }
        });
        assert_eq!(budget.free(), 100);
    }
}
