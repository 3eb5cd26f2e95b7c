//! When a question is asked again.

use std::time::Duration;

use crate::config::Resolver;

/// The longest wait after an answer that is of no use, so that a resolver that is back is seen
/// soon. `min_ttl` may be longer.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The pace of one question.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Answers of no use since the last good one.
    faults: u32,
}

impl Pace {
    /// How long to wait after an answer: for its time, or a little longer after each fault.
    pub(super) fn after<E>(&mut self, answer: &Result<Duration, E>, of: &Resolver) -> Duration {
        let wait = match answer {
            Ok(ttl) => {
                self.faults = 0;
                *ttl
            }
            Err(_) => {
                let wait = of.min_ttl.saturating_mul(1 << self.faults.min(16));
                self.faults += 1;
                wait.min(RETRY_MAX)
            }
        };
        wait.min(of.max_ttl).max(of.min_ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(min: u64, max: u64, answers: &[Result<u64, ()>]) -> Vec<u64> {
        let [min_ttl, max_ttl] = [min, max].map(Duration::from_secs);
        let resolver = Resolver { min_ttl, max_ttl, ..Resolver::default() };
        let mut pace = Pace::default();
        let wait = |answer: &Result<u64, ()>| {
            pace.after(&answer.map(Duration::from_secs), &resolver).as_secs()
        };
        answers.iter().map(wait).collect()
    }

    #[test]
    fn an_answer_is_used_for_its_time_within_the_bounds() {
        assert_eq!(waits(1, 60, &[Ok(0), Ok(1), Ok(30), Ok(3600)]), [1, 1, 30, 60]);
        assert_eq!(waits(10, 5, &[Ok(0), Ok(7), Ok(60)]), [10; 3], "the lower bound wins");
    }

    #[test]
    fn faults_in_a_row_are_further_apart_and_never_far() {
        let faults = [Err(()); 6];
        assert_eq!(waits(1, 60, &faults), [1, 2, 4, 5, 5, 5]);
        assert_eq!(waits(1, 3, &faults), [1, 2, 3, 3, 3, 3]);
        assert_eq!(waits(30, 60, &faults), [30; 6]);
        assert_eq!(waits(1, 60, &[Err(()), Err(()), Ok(9), Err(())]), [1, 2, 9, 1]);
        assert_eq!(waits(1, 60, &[Err(()); 99])[98], 5);
    }
}
