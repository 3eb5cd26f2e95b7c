//! Files of networks that `allow` and `deny` name are read again when they change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::change::take_config;
use super::state::{ControlState, Stage};
use crate::config::NetworkList;
use crate::discovery::{Stamp, stamp};
use crate::doctor::count;
use crate::metrics::reading::Severity;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What was seen of the files.
#[derive(Debug, Default)]
struct Seen {
    /// As they were when they were read, and as they were at the last look.
    read: BTreeMap<PathBuf, Stamp>,
    last: BTreeMap<PathBuf, Stamp>,
}

impl Seen {
    /// Whether some of the files differ from those that were read here, and are as at the last
    /// look: one that is being written is let be. One that a config has just brought is read once
    /// more: it may have changed since it was read there.
    fn is_due(&mut self, now: BTreeMap<PathBuf, Stamp>) -> bool {
        let is_steady = self.last == now;
        self.last = now;
        self.read.retain(|path, _| self.last.contains_key(path));
        is_steady && self.read != self.last
    }
}

/// Looks at the files again and again; never ends.
pub(super) async fn watch_networks(state: ControlState) {
    let mut seen = Seen::default();
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let view = state.view();
        let lists = view.config.listeners.iter().map(|it| [&it.access.allow, &it.access.deny]);
        let files = lists.flatten().flat_map(NetworkList::files);
        let now = files.map(|path| (path.to_owned(), stamp(path))).collect();
        if !seen.is_due(now) {
            continue;
        }
        let change = state.begin_change().await;
        if state.stage() != Stage::Draining {
            seen.read = seen.last.clone();
            read_again(&state).await;
        }
        drop(change);
    }
}

/// Takes what the files say now, within a change. What cannot be read changes nothing.
async fn read_again(state: &ControlState) {
    let mut config = state.view().config.clone();
    let mut said = Vec::new();
    for listener in &mut config.listeners {
        let subject = format!("listener/{}", listener.name);
        let access = &mut listener.access;
        for (key, list) in [("allow", &mut access.allow), ("deny", &mut access.deny)] {
            if list.files().next().is_none() {
                continue;
            }
            match list.read_again() {
                Ok(now) if now == *list => {}
                Ok(now) => {
                    let many = count(now.networks().len() as u64, "network");
                    let words = format!("{key} has {many} now, by its files");
                    said.push((Severity::Info, subject.clone(), words));
                    *list = now;
                }
                Err(because) => {
                    let words = format!("{key} stays as it was: {because}");
                    said.push((Severity::Warning, subject.clone(), words));
                }
            }
        }
    }
    let sets = state.sources().present.sets().as_ref().clone();
    if config != state.view().config
        && let Err(because) = take_config(state, config, sets).await
    {
        said.push((Severity::Error, "gateway".to_owned(), because));
    }
    for (severity, subject, words) in said {
        state.tell(severity, &subject, &words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_once_it_is_steady() {
        let of = |size: i64| BTreeMap::from([(PathBuf::from("/a"), Ok([1, 2, size, 0, 0, 0, 0]))]);
        let mut seen = Seen::default();
        assert!(!seen.is_due(of(1)) && seen.is_due(of(1)), "since the start it may have changed");
        seen.read = seen.last.clone();
        assert!(!seen.is_due(of(1)));
        assert!(!seen.is_due(of(2)) && !seen.is_due(of(3)), "it is being written");
        assert!(seen.is_due(of(3)));
        seen.read = seen.last.clone();
        assert!(!seen.is_due(of(3)));
        let gone = BTreeMap::from([(PathBuf::from("/a"), Err(std::io::ErrorKind::NotFound))]);
        assert!(!seen.is_due(gone.clone()) && seen.is_due(gone));
        assert!(!seen.is_due(BTreeMap::new()), "no list names it any more");
    }
}
