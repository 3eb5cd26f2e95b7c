//! What a search finds, as the control thread takes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::base::Clock;
use portcullis::config::{Config, Server};
use portcullis::control::{Events, Runtime};
use portcullis::discovery::{Found, Health, Outcome, Search, Searches};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use crate::support::PATIENCE;

/// The search for the servers of one upstream; it ends when this is dropped.
pub(crate) struct Searching {
    _searches: Searches,
    found: UnboundedReceiver<Found>,
    pub(crate) health: Arc<Health>,
}

/// A search among these DNS servers, with these keys of `[resolver]` and these of the upstream, on
/// a runtime like that of the control thread.
pub(crate) fn search(
    dns: &[SocketAddr],
    resolver: &str,
    upstream: &str,
    test: impl AsyncFnOnce(Searching),
) {
    search_after(Vec::new(), dns, resolver, upstream, test);
}

/// The same, where these servers were good before.
pub(crate) fn search_after(
    before: Vec<Server>,
    dns: &[SocketAddr],
    resolver: &str,
    upstream: &str,
    test: impl AsyncFnOnce(Searching),
) {
    let servers: Vec<String> = dns.iter().map(|address| format!("\"{address}\"")).collect();
    let config = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [resolver]\nservers = [{}]\nmax_ttl = \"1s\"\ntimeout = \"500ms\"\n{resolver}\n\
         [upstream.app]\n{upstream}\n",
        servers.join(", ")
    );
    let config = Config::parse(&config, "test", &|_| None).expect("a right config");
    let runtime = Runtime::new(false).expect("a runtime");
    runtime.block_on(async {
        let (mut searches, found) = Searches::new(Arc::new(Events::new(Clock::system())));
        searches.follow(Search::of(&config), |_| before.clone());
        let health = searches.health()["app"].clone();
        test(Searching { _searches: searches, found, health }).await;
    });
}

impl Searching {
    /// The servers that are found next.
    pub(crate) async fn next(&mut self) -> Vec<Server> {
        let found = timeout(PATIENCE, self.found()).await;
        found.unwrap_or_else(|_| panic!("nothing is found: {:?}", self.health))
    }

    async fn found(&mut self) -> Vec<Server> {
        let found = self.found.recv().await;
        let Found { upstream, servers } = found.expect("the search goes on");
        assert_eq!(upstream, "app");
        assert!(!servers.is_empty(), "no servers are never found");
        servers
    }

    /// Waits until exactly the servers at these addresses are found.
    pub(crate) async fn until(&mut self, addresses: &[&str]) {
        let mut last = Vec::new();
        let found = async {
            while last != addresses {
                last = places(&self.found().await);
            }
        };
        if timeout(PATIENCE, found).await.is_err() {
            panic!("found {last:?}, not {addresses:?}: {:?}", self.health);
        }
    }

    /// Waits for so many more answers of an outcome, and that none of them is news.
    pub(crate) async fn nothing_new(&mut self, outcome: Outcome, answers: u64) {
        self.more(outcome, answers).await;
        let news = self.found.try_recv().map(|found| places(&found.servers));
        assert!(news.is_err(), "{news:?} at {outcome:?}");
    }

    /// Waits for so many more answers of an outcome.
    pub(crate) async fn more(&self, outcome: Outcome, answers: u64) {
        let before = self.health.answers(outcome);
        let more = async {
            while self.health.answers(outcome) < before + answers {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, more).await.is_err() {
            panic!("no answers are {outcome:?}: {:?}", self.health);
        }
    }

    /// What was found and not yet taken, in how many steps.
    pub(crate) fn steps(&mut self) -> u64 {
        std::iter::from_fn(|| self.found.try_recv().ok()).count() as u64
    }
}

/// The addresses of servers.
pub(crate) fn places(servers: &[Server]) -> Vec<String> {
    servers.iter().map(|server| server.address.to_string()).collect()
}
