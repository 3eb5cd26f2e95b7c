//! `check`: whether a config is right, and whether this host has what a start with it takes.

use super::outcome::{Outcome, warn};
use crate::base::Clock;
use crate::config::Config;
use crate::doctor::{self, Lack, count};
use crate::gateway::{self, Trial};
use crate::tls::{LoadError, Loaded};

/// What a right file names: what this host lacks is a warning, and so is a file that this user
/// cannot read. One that is read and wrong is an error. With `host` a start is tried, and all that
/// it would fail of is a no.
pub(super) fn check(place: &str, config: &Config, host: bool) -> Outcome {
    let (mut wrong, unreadable) = files(place, config);
    let unreadable = unreadable.iter().map(LoadError::to_string);
    let fails = |lack: String| format!("{place}: a start on this host fails: {lack}");
    if !host {
        let lacks = doctor::lacks(config);
        for lack in lacks.iter().map(Lack::to_string).chain(unreadable) {
            warn(&format!("{place}: warning: a start on this host fails: {lack}\n"));
        }
        return match wrong.is_empty() {
            true => Outcome::Answer(summary(place, config)),
            false => Outcome::Files(wrong.join("\n")),
        };
    }
    let Trial { lacks, notes } = gateway::tried(config);
    for note in notes {
        warn(&format!("{place}: note: {note}\n"));
    }
    if !wrong.is_empty() {
        return Outcome::Files(wrong.join("\n"));
    }
    wrong.extend(lacks.iter().map(Lack::to_string).chain(unreadable).map(fails));
    wrong.extend(gateway::refused(config).map(fails));
    match wrong.is_empty() {
        true => {
            Outcome::Answer(format!("{}; a start on this host can have it", summary(place, config)))
        }
        false => Outcome::Lacking(wrong.join("\n")),
    }
}

/// Files of TLS: lines for those that are wrong, and those that cannot be read.
fn files(place: &str, config: &Config) -> (Vec<String>, Vec<LoadError>) {
    match Loaded::load(config, Clock::system().calendar()) {
        Ok(loaded) => {
            for warning in loaded.warnings {
                warn(&format!("{place}: warning: {warning}\n"));
            }
            (Vec::new(), Vec::new())
        }
        Err(errors) => {
            let (unreadable, wrong): (Vec<_>, Vec<_>) =
                errors.into_iter().partition(|error| error.is_unreadable);
            (wrong.iter().map(|error| format!("{place}: {error}")).collect(), unreadable)
        }
    }
}

/// What `check` answers about a right file.
fn summary(place: &str, config: &Config) -> String {
    let listeners = count(config.listeners.len() as u64, "listener");
    let upstreams = count(config.upstreams.len() as u64, "upstream");
    format!("{place}: ok: {listeners}, {upstreams}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_plural() {
        let text = summary("f.toml", &Config::embedded());
        assert_eq!(text, "f.toml: ok: 1 listener, 1 upstream");
    }
}
