//! Changes that come too often are not all said: their number is, with the next one.

use std::time::Duration;

use crate::base::Millis;

/// Changes of one thing that are said in so much time.
const SAID: u32 = 4;
const SAID_WITHIN: Duration = Duration::from_secs(60);

/// What was said of one thing that changes, and what was not.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Folded {
    said: u32,
    said_from: Millis,
    unsaid: u32,
}

impl Folded {
    /// Whether a change may be said now. Then these words are to follow: they have the number of
    /// those before it that were not, if there are any.
    pub(in crate::control) fn may_say(&mut self, now: Millis) -> Option<String> {
        if now.since(self.said_from) > SAID_WITHIN {
            (self.said, self.said_from) = (0, now);
        }
        if self.said >= SAID {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            changes => format!(" ({changes} changes before this one were not said)"),
        })
    }

    /// Whether the last change was not said and may be by now: what was said last is not so.
    pub(in crate::control) fn is_due(&self, now: Millis) -> bool {
        self.unsaid > 0 && now.since(self.said_from) > SAID_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_are_said_in_a_minute_and_then_the_number_of_the_others() {
        let mut folded = Folded::default();
        let said = |folded: &mut Folded, second: u64| folded.may_say(Millis(1000 * second));
        for second in [70, 71, 72, 73] {
            assert_eq!(said(&mut folded, second).as_deref(), Some(""));
        }
        assert!(!folded.is_due(Millis(200_000)), "all was said");
        assert_eq!([said(&mut folded, 74), said(&mut folded, 129)], [None, None]);
        assert!(!folded.is_due(Millis(130_000)) && folded.is_due(Millis(131_000)));
        assert_eq!(
            said(&mut folded, 131).as_deref(),
            Some(" (2 changes before this one were not said)")
        );
        assert_eq!(said(&mut folded, 132).as_deref(), Some(""));
    }
}
