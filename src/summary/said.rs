//! What a reading says in words: what is wrong at present, and what happened last.

use super::cell::Kind::Word;
use super::{Cell, Head, Row, Table, seconds, span};
use crate::base::plain_word;
use crate::metrics::Reading;
use crate::metrics::reading::{Event, Severity, Trouble, UpgradeProgress};

/// Something that is wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// How bad it is.
    pub severity: Severity,
    /// With what, what it is, and since when.
    pub words: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Whether all is well.
pub(super) fn verdict(troubles: &[Trouble]) -> String {
    match troubles.iter().filter(|one| one.severity != Severity::Info).count() {
        0 => "All is well".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        many => format!("{many} things are wrong"),
    }
}

/// The gateway's stage, and how far it is with it.
pub(super) fn stage(now: &Reading) -> (&'static str, Option<String>) {
    let deadline = now.drain.deadline_seconds;
    let ends = || deadline.map(|at| format!("ends within {}", span(seconds(at - now.at_seconds))));
    match &now.upgrade {
        _ if now.drain.draining => ("draining", ends()),
        Some(upgrade) => ("upgrading", Some(upgrade_words(upgrade))),
        None => ("ready", None),
    }
}

/// How far an upgrade is: `move, 34,000 moved, 66,000 left`.
pub fn upgrade_words(upgrade: &UpgradeProgress) -> String {
    let UpgradeProgress { step, moved, left, .. } = upgrade;
    let (moved, left) = (Cell::Count(*moved).text(), Cell::Count(*left).text());
    format!("{}, {moved} moved, {left} left", plain_word(step))
}

/// Whether a server or an upstream is among them. What an operator took out is none.
pub(super) fn servers_fail(troubles: &[Trouble]) -> bool {
    let mut subjects = troubles.iter().map(|one| &one.subject);
    subjects.any(|subject| subject.starts_with("server/") || subject.starts_with("upstream/"))
}

/// For how long it has been so, in words, where that is known.
pub fn lasted(now: &Reading, trouble: &Trouble) -> Option<String> {
    let (now, since) = now.at_seconds_since_1970.zip(trouble.since_seconds_since_1970)?;
    Some(format!("for {}", span(seconds(now - since))))
}

/// What is wrong at present, the worst first.
pub(super) fn troubles(now: &Reading) -> Vec<Said> {
    let said = |trouble: &Trouble| {
        let Trouble { severity, subject, words, remedy, .. } = trouble;
        let lasted = lasted(now, trouble).map(|lasted| format!(", {lasted}"));
        let words = format!("{subject}: {words}{}", lasted.unwrap_or_default());
        let plain = |words: &String| plain_word(words).into_owned();
        Said { severity: *severity, words: plain(&words), remedy: remedy.as_ref().map(plain) }
    };
    now.troubles.iter().map(said).collect()
}

/// An event as a line.
pub(super) fn event(event: &Event) -> String {
    let Event { at, severity, subject, words } = event;
    let severity = match severity {
        Severity::Info => "",
        Severity::Warning => "warning: ",
        Severity::Error => "error: ",
    };
    plain_word(&format!("{at}  {severity}{subject}: {words}")).into_owned()
}

const EVENTS: &[Head] = &[
    Head::new("time (UTC)", "time", Word, 0).means("when it happened; the log has the same words"),
    Head::new("date", "date", Word, 7).means("the day"),
    Head::new("severity", "severity", Word, 6).means("info, warning or error"),
    Head::new("subject", "subject", Word, 1).means("to what it happened").cut_to(12),
    Head::new("event", "words", Word, 0).means("what happened").cut_to(16),
];

/// The last events, the latest first.
pub fn events(now: &Reading) -> Table {
    let row = |(index, event): (usize, &Event)| {
        let Event { at, severity, subject, words } = event;
        // `2026-11-29T14:28:59Z`
        let (date, time) = at.split_once('T').unwrap_or(("", at));
        let words = [time.trim_end_matches('Z'), date, severity.word(), subject, words];
        let cells = words.map(|word| Cell::Word(word.to_owned())).into();
        Row { key: index.to_string(), cells }
    };
    let rows = now.events.iter().enumerate().rev().map(row).collect();
    Table { title: "Events", path: "events", heads: EVENTS, rows }
}
