//! Searches for servers, from the start on: the first sets, and each that is found later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use super::change::take_sets;
use super::events::Events;
use super::runtime::Runtime;
use super::state::{ControlState, Sets, Stage};
use crate::config::{Config, Server};
use crate::discovery::{Found, Observer, Outcome, Search, Searches, kept};
use crate::doctor::count;
use crate::metrics::reading::Severity;

/// How long a start waits for those who know the servers.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// Between two looks whether a drain of the process is cancelled.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Searches that have begun, and what they have found by now.
#[derive(Debug)]
pub struct Searching {
    /// The searches.
    pub searches: Searches,
    /// What they find from here on.
    pub found: UnboundedReceiver<Found>,
    /// What they have found, or what was kept of the last run.
    pub sets: Sets,
}

impl Searching {
    /// Nothing is searched for.
    pub fn nothing(events: &Arc<Events>) -> Searching {
        let (searches, found) = Searches::new(events.clone());
        Searching { searches, found, sets: Sets::default() }
    }
}

/// Begins the searches that a config asks for, and waits for the first answers, a bounded time.
/// Where none comes, the servers are those that were kept of the last run.
pub fn begin(runtime: &Runtime, config: &Config, events: &Arc<Events>) -> Searching {
    let mut searching = Searching::nothing(events);
    let directory = config.gateway.state_directory.path();
    let of_last_run: BTreeMap<String, Vec<Server>> = Search::of(config)
        .into_iter()
        .map(|Search { upstream, .. }| {
            let servers = directory.as_ref().map(|directory| kept(directory, &upstream));
            (upstream, servers.unwrap_or_default())
        })
        .collect();
    let known = |upstream: &str| of_last_run.get(upstream).cloned().unwrap_or_default();
    let silent = runtime.block_on(searching.first_answers(Search::of(config), known));
    for upstream in of_last_run.keys() {
        let Some(servers) = searching.sets.found(upstream) else { continue };
        keep(&searching.searches, config, upstream, servers);
    }
    for upstream in silent {
        let servers = known(&upstream);
        match servers.len() {
            0 => say_without_servers(events, &upstream),
            servers => {
                let words = format!(
                    "nobody says which its servers are; those of the last run are used: {}",
                    count(servers as u64, "server")
                );
                events.tell(Severity::Warning, &format!("upstream/{upstream}"), &words);
            }
        }
        searching.sets.find(&upstream, servers);
    }
    searching
}

/// Adds the first answers about upstreams of which nothing is known yet: a reload that brings them
/// waits for these, so that their first clients find servers.
pub(super) async fn learn(sets: &mut Sets, config: &Config, events: &Arc<Events>) {
    let mut asked = Search::of(&sets.listed(config));
    asked.retain(|search| sets.found(&search.upstream).is_none());
    if asked.is_empty() {
        return;
    }
    let mut searching = Searching { sets: std::mem::take(sets), ..Searching::nothing(events) };
    for upstream in searching.first_answers(asked, |_| Vec::new()).await {
        say_without_servers(events, &upstream);
    }
    *sets = searching.sets;
}

fn say_without_servers(events: &Events, upstream: &str) {
    let words = "it has no servers yet: nobody says which they are; its clients are closed";
    events.tell(Severity::Warning, &format!("upstream/{upstream}"), words);
}

impl Observer for Events {
    fn good(&self, upstream: &str, of: &str) {
        let words = format!("{of} answers again; its servers are known");
        self.tell(Severity::Info, &format!("upstream/{upstream}"), &words);
    }

    fn bad(&self, upstream: &str, of: &str, outcome: Outcome, because: &str) {
        let words = format!(
            "servers could not be learned; the last good ones stay in use: {of}: {}: {because}",
            outcome.word()
        );
        self.tell(Severity::Warning, &format!("upstream/{upstream}"), &words);
    }
}

impl Searching {
    /// Begins these searches, and waits for the first answer of each, a bounded time; `known` has
    /// the servers that were good before. Says which upstreams have none.
    async fn first_answers(
        &mut self,
        asked: Vec<Search>,
        known: impl Fn(&str) -> Vec<Server>,
    ) -> Vec<String> {
        let mut silent: Vec<String> = asked.iter().map(|search| search.upstream.clone()).collect();
        self.searches.follow(asked, known);
        let answers = async {
            while !silent.is_empty() {
                let Some(Found { upstream, servers }) = self.found.recv().await else { return };
                silent.retain(|name| *name != upstream);
                self.sets.find(&upstream, servers);
            }
        };
        let _ = timeout(FIRST_ANSWERS, answers).await;
        silent
    }
}

/// Takes each set that is found; never ends. During a drain of the process the newest set of each
/// upstream waits for a cancel.
pub(super) async fn take_found(state: ControlState, mut found: UnboundedReceiver<Found>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Some(next) = found.recv().await else { return };
            waiting.push_back(next);
        }
        while let Ok(next) = found.try_recv() {
            replace_older(&mut waiting, next);
        }
        let change = state.begin_change().await;
        if state.stage() == Stage::Draining {
            drop(change);
            sleep(BETWEEN_LOOKS).await;
            continue;
        }
        let next = waiting.pop_front().expect("one came");
        take(&state, next).await;
    }
}

/// What is found of an upstream takes the turn of what was found of it before.
fn replace_older(waiting: &mut VecDeque<Found>, next: Found) {
    match waiting.iter_mut().find(|older| older.upstream == next.upstream) {
        Some(older) => *older = next,
        None => waiting.push_back(next),
    }
}

/// Takes a set that was found, within a change.
async fn take(state: &ControlState, Found { upstream, servers }: Found) {
    let mut sets = state.sources().present.sets().as_ref().clone();
    // A change may have ended the search meanwhile.
    let is_searched = state.sources().searches().has(&upstream);
    if !is_searched || !sets.find(&upstream, servers.clone()) {
        return;
    }
    let subject = format!("upstream/{upstream}");
    match take_sets(state, sets).await {
        Ok(()) => {
            let words =
                format!("its servers are others: {}", count(servers.len() as u64, "server"));
            state.tell(Severity::Info, &subject, &words);
            let config = &state.view().config;
            keep(&state.sources().searches(), config, &upstream, &servers);
        }
        Err(because) => {
            let words = format!("its servers stay as they were: {because}");
            state.tell(Severity::Warning, &subject, &words);
        }
    }
}

/// Keeps a set for a later start, where there is a place for it.
fn keep(searches: &Searches, config: &Config, upstream: &str, servers: &[Server]) {
    if let Some(directory) = config.gateway.state_directory.path() {
        searches.keep(&directory, upstream, servers);
    }
}
