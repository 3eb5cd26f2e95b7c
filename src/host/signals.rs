//! The signals that the gateway handles, and from when on.

use nix::sys::signal::{SigSet, Signal};

/// Signals that ask for the end: they also end a start.
const ENDS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];
/// Signals that ask for something else. By default each ends a process: a rotation of logs is not
/// to end a gateway that starts, which may take minutes while a predecessor's sockets go.
const REQUESTS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Blocks, from the very start, the signals that ask for something else, until the control plane
/// has handlers for them: by default they end the process. Threads that are started meanwhile
/// inherit the mask.
pub fn hold_requests() {
    set(&REQUESTS).thread_block().expect("a set of known signals");
}

/// Blocks the signals that ask for the end: from now on clients may be served, and none of them is
/// to be lost by a signal that has no handler yet.
pub fn hold_ends() {
    set(&ENDS).thread_block().expect("a set of known signals");
}

/// Lets a start be ended again.
pub fn release_ends() {
    set(&ENDS).thread_unblock().expect("a set of known signals");
}

/// Lets all of them through, those first that were blocked first.
pub fn release() {
    set(&REQUESTS).thread_unblock().expect("a set of known signals");
    release_ends();
}

fn set(signals: &[Signal]) -> SigSet {
    signals.iter().copied().collect()
}
