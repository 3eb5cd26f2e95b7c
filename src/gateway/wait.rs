//! A bounded wait for processes and sockets on their way out.

use std::time::Duration;

use crate::base::{Clock, Millis};

/// How long a dead predecessor's listeners are waited for. Its 600,000 connections took the kernel
/// ten seconds. After that it is an error, not a start beside them: they would go on taking their
/// share of the clients after the log has said `ready`, and a listener that nobody seems to have
/// open may belong to a living gateway in another PID namespace.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Between two checks.
pub(super) const BETWEEN_CHECKS: Duration = Duration::from_millis(50);

/// A bounded wait for processes and sockets on their way out.
pub(super) struct Wait {
    clock: Clock,
    began: Millis,
}

impl Wait {
    pub(super) fn new() -> Wait {
        let clock = Clock::system();
        Wait { began: clock.now(), clock }
    }

    pub(super) fn so_far(&self) -> Duration {
        self.clock.now().since(self.began)
    }

    /// Sleeps, and says whether to check again.
    pub(super) fn goes_on(&self) -> bool {
        let goes_on = self.so_far() < LONGEST_WAIT;
        if goes_on {
            std::thread::sleep(BETWEEN_CHECKS);
        }
        goes_on
    }
}
