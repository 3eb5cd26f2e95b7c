//! Which signals the gateway hears, and when.

use nix::sys::signal::{SigSet, Signal};

const HEARD: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Holds back what the control plane hears until it does: from now on clients may be served, and
/// none of them is to be lost by a signal that nobody hears yet. Threads that are started meanwhile
/// hear none of these at all.
pub fn hold() {
    set().thread_block().expect("a set of known signals");
}

/// Hears them, what was held back at first.
pub(super) fn release() {
    set().thread_unblock().expect("a set of known signals");
}

fn set() -> SigSet {
    HEARD.into_iter().collect()
}
