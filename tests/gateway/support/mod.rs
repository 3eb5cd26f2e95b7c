//! What the tests of the running gateway stand on: the program, its clients, its servers.

#[path = "../../../bench/src/pattern/run.rs"]
pub(crate) mod pattern;

pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod config;
pub(crate) mod crowd;
pub(crate) mod exposition;
pub(crate) mod gateway;
pub(crate) mod growth;
pub(crate) mod hello;
pub(crate) mod http;
pub(crate) mod lineage;
pub(crate) mod log;
pub(crate) mod manager;
pub(crate) mod network;
pub(crate) mod procfs;
pub(crate) mod screen;
pub(crate) mod secured;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod stalled;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod unreachable;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. It measures nothing: it only turns a wait
/// without end into a failure, so it is far beyond what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a test watches for something that must *not* happen.
pub(crate) const WATCH: Duration = Duration::from_millis(400);

/// Waits until the condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a growing figure has not changed for a second, and returns it.
pub(crate) fn wait_until_still(what: &str, mut figure: impl FnMut() -> u64) -> u64 {
    let (mut last, mut since) = (figure(), Instant::now());
    wait_until(what, || {
        let now = figure();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_secs(1)
    });
    last
}

/// Sets the flag that ends other threads when it is dropped, so that a test which fails does not
/// wait for them for ever.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
