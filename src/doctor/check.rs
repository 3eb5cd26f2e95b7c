//! One look at the host or the config, and what it says.

use serde::Serialize;

use super::lacks::Lack;
use super::remedy::Remedy;
use super::words::count;

/// One look at the host or the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// As the host or the config has it.
    pub value: String,
    /// Whether it is well.
    pub verdict: Verdict,
    /// The consequence.
    pub says: String,
    /// The remedies, when it is not well.
    pub remedies: Vec<Remedy>,
}

/// A certificate of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The table that names it.
    pub key: String,
    /// Its first name, or its subject.
    pub title: String,
    /// Until it expires; below 0: it has.
    pub left_seconds: i64,
}

const DAY_SECONDS: i64 = 86_400;
const WARNING_DAYS: i64 = 7;
const NOTE_DAYS: i64 = 30;

fn days_left(days: i64) -> String {
    format!("{} left", count(days as u64, "day"))
}

/// Whether a check is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is.
    Good,
    /// It is, and one should know it.
    Note,
    /// It is not.
    Warning,
}

impl Check {
    /// Without remedies.
    pub(super) fn new(
        name: &str,
        value: String,
        verdict: Verdict,
        says: impl Into<String>,
    ) -> Check {
        Check { name: name.to_owned(), value, verdict, says: says.into(), remedies: Vec::new() }
    }

    /// A start fails of it.
    pub(super) fn of_lack(lack: &Lack) -> Check {
        let Lack { key, value, says, remedy } = lack.clone();
        let remedies = vec![Remedy::Words(remedy)];
        Check { remedies, ..Check::new(&key, value, Verdict::Warning, says) }
    }

    /// A start copes with it.
    pub(super) fn of_note(note: &Lack) -> Check {
        Check { verdict: Verdict::Note, ..Check::of_lack(note) }
    }

    /// A certificate that expires ends the service of its listener's clients, not the gateway.
    pub(super) fn of_certificate(certificate: &Certificate) -> Check {
        let Certificate { key, title, left_seconds } = certificate;
        let days = left_seconds / DAY_SECONDS;
        let (verdict, value, says) = match (*left_seconds < 0, days) {
            (true, _) => (Verdict::Warning, "expired".to_owned(), "clients refuse it"),
            (_, ..WARNING_DAYS) => (Verdict::Warning, days_left(days), "it expires within a week"),
            (_, ..NOTE_DAYS) => (Verdict::Note, days_left(days), "it expires within 30 days"),
            _ => (Verdict::Good, days_left(days), "it is valid for long enough"),
        };
        let check = Check::new(key, format!("{title}: {value}"), verdict, says);
        let remedy = "renew it, and have the gateway read it: portcullis reload";
        let remedies = match verdict {
            Verdict::Good => Vec::new(),
            _ => vec![Remedy::Words(remedy.to_owned())],
        };
        Check { remedies, ..check }
    }

    /// It is well, or there is a remedy; what follows in each case.
    pub(super) fn good_or(
        good: bool,
        name: &str,
        value: String,
        says: [&str; 2],
        remedy: Remedy,
    ) -> Check {
        if good {
            return Check::new(name, value, Verdict::Good, says[0]);
        }
        Check { remedies: vec![remedy], ..Check::new(name, value, Verdict::Warning, says[1]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_the_days_that_it_has_left() {
        for (left_seconds, value, verdict) in [
            (-1, "a.example: expired", Verdict::Warning),
            (0, "a.example: 0 days left", Verdict::Warning),
            (7 * DAY_SECONDS - 1, "a.example: 6 days left", Verdict::Warning),
            (7 * DAY_SECONDS, "a.example: 7 days left", Verdict::Note),
            (30 * DAY_SECONDS - 1, "a.example: 29 days left", Verdict::Note),
            (30 * DAY_SECONDS, "a.example: 30 days left", Verdict::Good),
        ] {
            let key = "listener.edge.tls".to_owned();
            let title = "a.example".to_owned();
            let check = Check::of_certificate(&Certificate { key, title, left_seconds });
            assert_eq!((&*check.value, check.verdict), (value, verdict));
            assert_eq!(check.remedies.is_empty(), verdict == Verdict::Good);
        }
    }
}
