//! Which workers have stopped turning, judged by time in which this thread ran itself.

use std::time::Duration;

use crate::base::Millis;

/// What lies between two looks counts for so much at most: the watch looks each second, and when
/// it did not, the process did not run, no worker more than this thread.
const STEP_MAX: Duration = Duration::from_millis(1500);

/// The workers' heartbeats as they were last seen.
#[derive(Debug)]
pub struct Watch {
    looked: Millis,
    /// Time in which this thread ran.
    awake: Duration,
    /// By worker: its last heartbeat, and [`Watch::awake`] when that was first seen.
    beats: Vec<(u64, Duration)>,
}

impl Watch {
    /// A watch over so many workers that begins now.
    pub fn new(workers: usize, now: Millis) -> Watch {
        Watch { looked: now, awake: Duration::ZERO, beats: vec![(0, Duration::ZERO); workers] }
    }

    /// Looks at every worker's last heartbeat: for how long each has been silent.
    pub fn look(&mut self, now: Millis, beats: impl Iterator<Item = u64>) -> Vec<Duration> {
        self.awake += now.since(self.looked).min(STEP_MAX);
        self.looked = now;
        for (known, beat) in self.beats.iter_mut().zip(beats) {
            if known.0 != beat {
                *known = (beat, self.awake);
            }
        }
        self.beats.iter().map(|(_, since)| self.awake - *since).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_silent_while_others_beat_is_known() {
        let mut watch = Watch::new(2, Millis(0));
        for second in 1..=10 {
            watch.look(Millis(second * 1000), [second, 7].into_iter());
        }
        let silences = watch.look(Millis(11_000), [11, 7].into_iter());
        assert_eq!(silences, [Duration::ZERO, Duration::from_secs(10)]);
    }

    #[test]
    fn a_pause_of_the_whole_process_is_no_silence_of_its_workers() {
        let mut watch = Watch::new(1, Millis(0));
        watch.look(Millis(1000), [900].into_iter());
        let silences = watch.look(Millis(100_000), [900].into_iter());
        assert_eq!(silences, [STEP_MAX]);
        let silences = watch.look(Millis(100_001), [100_001].into_iter());
        assert_eq!(silences, [Duration::ZERO]);
    }
}
