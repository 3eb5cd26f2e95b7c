//! What a service manager hears each second: that the gateway is alive, what it does, and for how
//! long its end is to be waited for.

use std::time::Duration;

use super::state::{ControlState, Stage};
use crate::base::limits::STALLED_AFTER;
use crate::host::service_manager::{self, News, say_news};

/// Between two looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// How long a drain is waited for from each word on.
const END_WITHIN: Duration = Duration::from_secs(15);

/// What was said.
#[derive(Debug)]
pub(super) struct Service {
    is_there: bool,
    has_watchdog: bool,
    status: String,
}

impl Service {
    /// Nothing yet.
    pub(super) fn new() -> Service {
        let watchdog = service_manager::watchdog();
        if let Some(time) = watchdog.filter(|time| *time < 2 * STALLED_AFTER) {
            let (millis, least) = (time.as_millis(), (2 * STALLED_AFTER).as_secs());
            tracing::warn!(
                millis,
                "WatchdogSec= is too short for a stall to be seen: set it to {least} s or more"
            );
        }
        let (is_there, has_watchdog) = (service_manager::is_there(), watchdog.is_some());
        Service { is_there, has_watchdog, status: String::new() }
    }

    /// Says what there is to say. `turns`: all workers do.
    pub(super) fn look(&mut self, state: &ControlState, turns: bool) {
        // A predecessor is no longer the service, and is not listened to.
        if self.is_there && !state.is_succeeded() {
            let status = state.stage_words();
            say_news(self.news(&status, turns, state.stage() == Stage::Draining));
            self.status = status;
        }
    }

    fn news<'a>(&self, status: &'a str, turns: bool, ends: bool) -> News<'a> {
        News {
            status: (status != self.status).then_some(status),
            is_alive: self.has_watchdog && turns,
            ends_within: ends.then_some(END_WITHIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_no_sign_of_life_and_words_are_said_once() {
        let mut service =
            Service { is_there: true, has_watchdog: true, status: "ready".to_owned() };
        let alive = News { is_alive: true, ..News::default() };
        assert_eq!(service.news("ready", true, false), alive);
        assert_eq!(service.news("ready", false, false), News::default());
        let draining = service.news("draining", true, true);
        assert_eq!((draining.status, draining.ends_within), (Some("draining"), Some(END_WITHIN)));
        service.has_watchdog = false;
        assert_eq!(service.news("ready", true, false), News::default());
    }
}
