//! The connections to a server, over all workers, and how many there may be.

use crate::base::sync::{AtomicU32, Ordering};

/// So many that there is no bound.
const UNBOUNDED: u32 = u32::MAX;

/// A count with a bound: however many threads count at once, it is never above.
#[derive(Debug)]
pub struct Connections {
    open: AtomicU32,
    most: AtomicU32,
}

impl Connections {
    /// None, and at most so many; `None`: any number.
    pub fn new(most: Option<u32>) -> Connections {
        let most = AtomicU32::new(most.unwrap_or(UNBOUNDED));
        Connections { open: AtomicU32::new(0), most }
    }

    /// Counts one more, if there may be one.
    pub fn enter(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        if most == UNBOUNDED {
            self.open.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let one_more = |open| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts one that was there before, whatever the bound.
    pub fn take_over(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    ///
    /// # Panics
    /// When there was none.
    pub fn leave(&self) {
        let before = self.open.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a server lost a connection that it did not have");
    }

    /// How many there are now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many there may be.
    pub fn most(&self) -> Option<u32> {
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most != UNBOUNDED)
    }

    /// Sets another bound. Those beyond it stay.
    pub fn set_most(&self, most: Option<u32>) {
        self.most.store(most.unwrap_or(UNBOUNDED), Ordering::Relaxed);
    }

    /// Whether there may not be one more.
    pub fn is_full(&self) -> bool {
        self.open() >= self.most.load(Ordering::Relaxed)
    }
}
