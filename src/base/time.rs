//! The only place that reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

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

/// Microseconds since the gateway's clock began: for what is measured. What is due goes by
/// [`Millis`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// The millisecond that this moment lies in.
    pub fn millis(self) -> Millis {
        Millis(self.0 / 1000)
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The timers' unit: 50 ms, so that 32 bits last 6.8 years of uptime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// Milliseconds in one tick.
    const MILLIS: u64 = 50;

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

    /// The moment whose millisecond [`Tick::not_before`] made this tick of, told from the others
    /// by the last 16 bits of its microseconds: they come round after 65 ms, and those moments
    /// lie within 51.
    pub fn moment(self, last_bits: u16) -> Micros {
        let latest = self.begins().0 * 1000 + 999;
        Micros(latest.saturating_sub(u64::from((latest as u16).wrapping_sub(last_bits))))
    }
}

/// A worker's source of time: the system's monotonic clock, or a test's.
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

    /// The clock of another process of this host, which read zero at this moment of
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub fn of_origin(nanos: u64) -> Clock {
        let (now, elapsed) = (Instant::now(), monotonic_nanos().saturating_sub(nanos));
        Clock::System(now.checked_sub(Duration::from_nanos(elapsed)).unwrap_or(now))
    }

    /// The moment of `CLOCK_MONOTONIC` at which it read zero, in nanoseconds.
    pub fn origin_nanos(&self) -> u64 {
        match self {
            Clock::System(start) => {
                let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                monotonic_nanos().saturating_sub(elapsed)
            }
            Clock::Simulated(_) => 0,
        }
    }

    /// The present moment.
    pub fn now(&self) -> Millis {
        self.micros().millis()
    }

    /// When it read zero, as the system's calendar clock has it now.
    pub fn began(&self) -> SystemTime {
        match self {
            Clock::System(start) => SystemTime::now() - start.elapsed(),
            Clock::Simulated(_) => SystemTime::UNIX_EPOCH,
        }
    }

    /// The present moment by the system's calendar clock.
    pub fn calendar(&self) -> SystemTime {
        self.began() + self.now().since(Millis(0))
    }

    /// The present moment to the microsecond.
    pub fn micros(&self) -> Micros {
        match self {
            Clock::System(start) => Micros(start.elapsed().as_micros() as u64),
            Clock::Simulated(millis) => Micros(millis.load(Ordering::Relaxed) * 1000),
        }
    }
}

/// `CLOCK_MONOTONIC`, which an [`Instant`] reads, too, but does not tell.
fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_anothers_origin_shows_the_same_moment() {
        let one = Clock::system();
        let other = Clock::of_origin(one.origin_nanos());
        let before = one.micros();
        let between = other.micros();
        // Each conversion reads two clocks, one after the other.
        assert!(between.0 + 1_000_000 >= before.0 && before.0 + 1_000_000 >= between.0);
    }

    #[test]
    fn what_is_due_at_a_moment_is_never_early() {
        for millis in [0, 1, 49, 50, 51, 99, 100] {
            let moment = Millis(millis);
            assert!(Tick::not_before(moment).begins() >= moment);
            assert!(Tick::at(moment).begins() <= moment);
        }
        assert_eq!(Millis(5).after(Duration::from_micros(1)), Millis(6));
    }

    #[test]
    fn a_tick_and_sixteen_bits_name_a_moment() {
        for micros in (0..300_000).chain(10_000_000_000..10_000_200_000) {
            let moment = Micros(micros);
            let tick = Tick::not_before(moment.millis());
            assert_eq!(tick.moment(micros as u16), moment);
        }
    }
}
