//! What the checks of one server came to.

use std::sync::{Mutex, MutexGuard};

use crate::base::Millis;

/// Written by the checks, read by those who show them.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Told>);

/// The results of the checks of one server so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// It answered as it should.
    pub passed: u64,
    /// It did not.
    pub failed: u64,
    /// They could not be made, for want of something here: they say nothing about the server.
    pub unable: u64,
    /// When the last one was over, and what came of it, in words.
    pub last: Option<(Millis, String)>,
    /// When the last one was over that it failed, and why.
    pub last_failure: Option<(Millis, String)>,
    /// Why it is down; `None`: it is not, by checks.
    pub because: Option<String>,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server answered as it should.
    Passed,
    /// It did not, for this reason.
    Failed(String),
    /// The check could not be made, for this reason.
    Unable(String),
}

impl Tally {
    fn inside(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// All of it as it is now.
    pub(super) fn told(&self) -> Told {
        self.inside().clone()
    }

    /// Counts a check that was over at `now`.
    pub(super) fn count(&self, outcome: &Outcome, now: Millis) {
        let mut told = self.inside();
        let words = match outcome {
            Outcome::Passed => {
                told.passed += 1;
                "passed".to_owned()
            }
            Outcome::Failed(because) => {
                told.failed += 1;
                told.last_failure = Some((now, because.clone()));
                because.clone()
            }
            Outcome::Unable(because) => {
                told.unable += 1;
                because.clone()
            }
        };
        told.last = Some((now, words));
    }

    /// Adds what the checks of a predecessor came to.
    pub(super) fn count_on(&self, former: &Told) {
        let mut told = self.inside();
        told.passed += former.passed;
        told.failed += former.failed;
        told.unable += former.unable;
    }

    /// The server is down for this reason, or is not any more.
    pub(super) fn judge(&self, because: Option<String>) {
        self.inside().because = because;
    }
}
