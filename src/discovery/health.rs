//! How a search goes: its answers counted, its last error.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use crate::base::Clock;

/// What came of a question for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// It was good.
    Good,
    /// It had nobody.
    Empty,
    /// There was none: nobody answered, or an error.
    Failed,
    /// It was cut short.
    Truncated,
    /// It had more than may be.
    TooLarge,
    /// It says what no set of servers can be.
    Wrong,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 6] = [
        Outcome::Good,
        Outcome::Empty,
        Outcome::Failed,
        Outcome::Truncated,
        Outcome::TooLarge,
        Outcome::Wrong,
    ];

    /// Its word in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Empty => "empty",
            Outcome::Failed => "failed",
            Outcome::Truncated => "truncated",
            Outcome::TooLarge => "too-large",
            Outcome::Wrong => "wrong",
        }
    }
}

/// How a search goes. Written by the search, read by those who show it.
#[derive(Debug, Default)]
pub struct Health(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    answers: [u64; Outcome::ALL.len()],
    last_good: Option<SystemTime>,
    /// What is not known at present, and why, by what was asked: a name, the file, etcd.
    troubles: BTreeMap<String, String>,
}

impl Health {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// Notes a good answer of `of`; whether there was trouble with it before.
    pub(super) fn good(&self, of: &str) -> bool {
        let mut inside = self.inside();
        inside.answers[Outcome::Good as usize] += 1;
        inside.last_good = Some(Clock::system().calendar());
        inside.troubles.remove(of).is_some()
    }

    /// Notes an answer of `of` that is of no use; whether there was no trouble with it before.
    pub(super) fn bad(&self, of: &str, outcome: Outcome, because: &str) -> bool {
        let mut inside = self.inside();
        inside.answers[outcome as usize] += 1;
        inside.troubles.insert(of.to_owned(), because.to_owned()).is_none()
    }

    /// Goes on counting where a predecessor has stopped.
    pub fn count_on(&self, former: &BTreeMap<String, u64>) {
        let mut inside = self.inside();
        for outcome in Outcome::ALL {
            inside.answers[outcome as usize] += former.get(outcome.word()).copied().unwrap_or(0);
        }
    }

    /// What is asked no more has no trouble.
    pub(super) fn forget(&self, is_asked: impl Fn(&str) -> bool) {
        self.inside().troubles.retain(|of, _| is_asked(of));
    }

    /// Answers of an outcome so far.
    pub fn answers(&self, outcome: Outcome) -> u64 {
        self.inside().answers[outcome as usize]
    }

    /// When an answer was good last.
    pub fn last_good(&self) -> Option<SystemTime> {
        self.inside().last_good
    }

    /// What is not known at present, and why.
    pub fn trouble(&self) -> Option<String> {
        let inside = self.inside();
        let all = inside.troubles.iter().map(|(of, because)| format!("{of}: {because}"));
        let all: Vec<String> = all.collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
