//! The only place that reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since the gateway's clock began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus `delay`, rounded up to a millisecond so that nothing is due early.
    pub fn after(self, delay: Duration) -> Millis {
        let whole = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Millis(self.0.saturating_add(whole))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Millis) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The timers' unit: 50 ms, so that 32 bits last 6.8 years of uptime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// Milliseconds in one tick.
    pub const MILLIS: u64 = 50;

    /// The tick that `moment` lies in.
    pub fn at(moment: Millis) -> Tick {
        Tick(u32::try_from(moment.0 / Tick::MILLIS).unwrap_or(u32::MAX))
    }

    /// The first tick that begins at `moment` or later: what is due then is never early.
    pub fn not_before(moment: Millis) -> Tick {
        Tick(u32::try_from(moment.0.div_ceil(Tick::MILLIS)).unwrap_or(u32::MAX))
    }

    /// The moment at which the tick begins.
    pub fn begins(self) -> Millis {
        Millis(u64::from(self.0) * Tick::MILLIS)
    }
}

/// What tells a worker the time: the system's monotonic clock, or a test's.
#[derive(Clone, Debug)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, counted from the clock's creation.
    System(Instant),
    /// A number that a test moves.
    Simulated(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that begins now. One is made per process, so that workers agree.
    pub fn system() -> Clock {
        Clock::System(Instant::now())
    }

    /// The present moment.
    pub fn now(&self) -> Millis {
        match self {
            Clock::System(start) => Millis(start.elapsed().as_millis() as u64),
            Clock::Simulated(millis) => Millis(millis.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_at_a_moment_is_never_early() {
        for millis in [0, 1, 49, 50, 51, 99, 100] {
            let moment = Millis(millis);
            assert!(Tick::not_before(moment).begins() >= moment);
            assert!(Tick::at(moment).begins() <= moment);
        }
        assert_eq!(Millis(5).after(Duration::from_micros(1)), Millis(6));
    }
}
