//! What an origin says, for its tests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::{Health, Observer, Outcome, SetSink, Speaker};
use crate::config::ServerSet;

/// It only turns a wait without end into a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The other end of a sink.
pub(super) struct Heard {
    pub(super) sets: watch::Receiver<Option<ServerSet>>,
    pub(super) health: Arc<Health>,
}

/// Hears nothing: what a search says is in its health, too.
#[derive(Debug)]
pub(super) struct Deaf;

impl Observer for Deaf {
    fn good(&self, _upstream: &str, _of: &str) {}

    fn bad(&self, _upstream: &str, _of: &str, _outcome: Outcome, _because: &str) {}
}

impl Heard {
    pub(super) fn new() -> (SetSink, Heard) {
        let (sender, sets) = watch::channel(None);
        let health = Arc::new(Health::default());
        let (upstream, observer) = ("app".to_owned(), Arc::new(Deaf));
        let speaker = Speaker { upstream, health: health.clone(), observer };
        (SetSink { speaker, sets: sender }, Heard { sets, health })
    }

    /// The places of the present set.
    pub(super) fn places(&self) -> Vec<String> {
        let set = self.sets.borrow().clone().unwrap_or_default();
        let servers = set.servers.iter().map(|server| server.address.to_string());
        servers.chain(set.names.iter().map(|name| format!("{}:{}", name.host, name.port))).collect()
    }

    /// Waits until these are the places of the set.
    pub(super) async fn until(&self, places: &[&str]) {
        let found = || self.places() == places;
        let said = || format!("{places:?}, not {:?}, {:?}", self.places(), self.health);
        self.wait(found, said).await;
    }

    /// Waits until the trouble has these words; none: until there is no trouble.
    pub(super) async fn until_trouble(&self, words: &str) {
        let is_there = || match self.health.trouble() {
            Some(trouble) => !words.is_empty() && trouble.contains(words),
            None => words.is_empty(),
        };
        self.wait(is_there, || format!("{words:?}, not {:?}", self.health)).await;
    }

    async fn wait(&self, condition: impl Fn() -> bool, what: impl Fn() -> String) {
        let in_time = timeout(PATIENCE, until(condition)).await;
        assert!(in_time.is_ok(), "waited in vain for {}", what());
    }
}

/// Waits for a condition without an end.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(2)).await;
    }
}

/// Runs a test as the control thread runs tasks.
pub(super) fn on_a_local_set(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}
