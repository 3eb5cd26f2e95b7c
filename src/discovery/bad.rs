//! An answer that no servers can be learned from.

use super::Outcome;

/// What is the matter with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) outcome: Outcome,
    /// In words that follow the name of what was asked.
    pub(super) because: String,
}

impl Bad {
    pub(super) fn new(outcome: Outcome, because: impl Into<String>) -> Bad {
        Bad { outcome, because: because.into() }
    }

    /// There was no answer.
    pub(super) fn failed(because: impl ToString) -> Bad {
        Bad::new(Outcome::Failed, because.to_string())
    }

    /// It says what no set of servers can be.
    pub(super) fn wrong(because: impl ToString) -> Bad {
        Bad::new(Outcome::Wrong, because.to_string())
    }

    /// The same, of a part of what was asked.
    pub(super) fn at(&self, part: &str) -> Bad {
        Bad::new(self.outcome, format!("{part}: {}", self.because))
    }
}
