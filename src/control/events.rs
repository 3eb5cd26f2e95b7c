//! What happens to the gateway: one call tells the log, and keeps it for those who look later.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use humantime_serde::re::humantime::format_rfc3339_seconds;

use super::asker::{self, Asker};
use crate::base::Clock;
use crate::metrics::reading::{Event, Severity};

/// Events that are kept; an older one gives way.
const KEPT: usize = 20;
/// Characters of the words that are kept: 20 events take 40 KB at most. The log has all of them.
const WORDS_MAX: usize = 500;

/// The last events, the oldest first.
#[derive(Debug)]
pub struct Events {
    clock: Clock,
    kept: Mutex<VecDeque<Event>>,
}

impl Events {
    /// None yet.
    pub fn new(clock: Clock) -> Events {
        Events { clock, kept: Mutex::default() }
    }

    /// Something happened to `subject`, which is `gateway`, `listener/NAME`, `upstream/NAME`,
    /// `server/UPSTREAM/NAME` or `worker/N`. The log has a line with who asked for it, if somebody
    /// did.
    pub fn tell(&self, severity: Severity, subject: &str, words: &str) {
        line(severity, subject, words);
        let event = Event {
            at: format_rfc3339_seconds(self.clock.calendar()).to_string(),
            severity,
            subject: subject.to_owned(),
            words: cut(words),
        };
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
    }

    /// Those of a predecessor come before these.
    pub(super) fn resume(&self, before: Vec<Event>) {
        let mut kept = self.kept();
        let own = std::mem::take(&mut *kept);
        let all: Vec<Event> = before.into_iter().chain(own).collect();
        kept.extend(all.into_iter().rev().take(KEPT));
        kept.make_contiguous().reverse();
    }

    /// All that are kept, the oldest first.
    pub(super) fn all(&self) -> Vec<Event> {
        self.kept().iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.kept.lock().expect("nobody panics while holding it")
    }
}

/// A line of the log about what was asked for, with who asked; it is no event, and is not kept.
pub(super) fn line(severity: Severity, subject: &str, words: &str) {
    let asker = asker::present();
    let (mut signal, mut uid, mut pid, mut command) = (None, None, None, None);
    match &asker {
        Some(Asker::Signal(name)) => signal = Some(tracing::field::display(name)),
        Some(Asker::Process { uid: user, pid: process, command: name }) => {
            (uid, pid, command) = (Some(*user), *process, name.as_deref());
        }
        None => {}
    }
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(signal, uid, pid, command, %subject, "{words}")
        };
    }
    match severity {
        Severity::Info => say!(info),
        Severity::Warning => say!(warn),
        Severity::Error => say!(error),
    }
}

fn cut(words: &str) -> String {
    match words.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn the_last_ones_are_kept_with_their_time() {
        let millis = Arc::new(AtomicU64::new(0));
        let events = Events::new(Clock::Simulated(millis.clone()));
        for nth in 0..KEPT as u64 + 3 {
            millis.store(nth * 1000, std::sync::atomic::Ordering::Relaxed);
            events.tell(Severity::Info, "gateway", &format!("the {nth}th"));
        }
        let all = events.all();
        assert_eq!(all.len(), KEPT);
        assert_eq!((&*all[0].at, &*all[0].words), ("1970-01-01T00:00:03Z", "the 3th"));
        assert_eq!(all[KEPT - 1].words, "the 22th");
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let events = Events::new(Clock::system());
        events.tell(Severity::Error, "gateway", &"é".repeat(WORDS_MAX + 1));
        let words = &events.all()[0].words;
        assert_eq!(words.chars().count(), WORDS_MAX + 1);
        assert!(words.ends_with("é…"));
    }
}
