//! Whether something goes on: a count that grows, however slowly.

use std::time::Duration;

use crate::base::Millis;

/// Watches a count, which may stand still for so long.
pub(super) struct Progress {
    patience: Duration,
    count: u64,
    until: Millis,
}

impl Progress {
    /// From now on, at zero.
    pub(super) fn new(patience: Duration, now: Millis) -> Progress {
        Progress { patience, count: 0, until: now.after(patience) }
    }

    /// Whether the count has stood still for too long.
    pub(super) fn stands_still(&mut self, count: u64, now: Millis) -> bool {
        if count > self.count {
            (self.count, self.until) = (count, now.after(self.patience));
        }
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_has_time() {
        let mut progress = Progress::new(Duration::from_millis(30), Millis(100));
        let counts = [(0, 129), (1, 150), (2, 179), (2, 208), (2, 209)];
        let stands_still = counts.map(|(count, at)| progress.stands_still(count, Millis(at)));
        assert_eq!(stands_still, [false, false, false, false, true]);
    }
}
