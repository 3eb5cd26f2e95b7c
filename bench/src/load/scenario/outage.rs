//! When a scenario that opens connections again and again gives the target up.

use std::time::Duration;

use crate::engine::Tally;

/// How long nothing may succeed while something fails, until the target is given up.
pub(super) const GIVE_UP: Duration = Duration::from_secs(3);

/// What has succeeded and failed, and since when nothing succeeds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outage {
    succeeded: u64,
    failed: u64,
    since_nanos: u64,
}

impl Outage {
    /// Looks again; whether nothing has succeeded for so long, and something failed meanwhile.
    pub(super) fn lasts(
        &mut self,
        now: u64,
        succeeded: u64,
        tally: &Tally,
        span: Duration,
    ) -> bool {
        if succeeded != self.succeeded || self.since_nanos == 0 {
            *self = Outage { succeeded, failed: tally.failed, since_nanos: now.max(1) };
        }
        let passed = Duration::from_nanos(now - self.since_nanos.min(now));
        tally.failed > self.failed && passed >= span
    }

    /// Begins again, with a phase.
    pub(super) fn begin(&mut self) {
        *self = Outage::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_failures_without_a_success() {
        let (mut outage, mut tally) = (Outage::default(), Tally::default());
        let second = 1_000_000_000;
        assert!(!outage.lasts(second, 0, &tally, GIVE_UP));
        assert!(!outage.lasts(9 * second, 0, &tally, GIVE_UP), "nothing failed");
        tally.fail("open", "refused");
        assert!(outage.lasts(9 * second, 0, &tally, GIVE_UP));
        assert!(!outage.lasts(10 * second, 1, &tally, GIVE_UP), "one succeeded");
        tally.fail("open", "refused");
        assert!(!outage.lasts(12 * second, 1, &tally, GIVE_UP), "too soon");
        assert!(outage.lasts(13 * second, 1, &tally, GIVE_UP));
    }
}
