//! What takes everything back.

use std::process::ExitStatus;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::sleep;

use super::{ANSWER, Handing};
use crate::api::upgrade::Upgraded;
use crate::control::upgrade::channel::POLL;
use crate::control::upgrade::foster::Successor;
use crate::control::upgrade::plan::Failure;
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::worker::{Departures, Order};

/// For the workers to take connections back.
const TAKE_BACK: Duration = Duration::from_secs(30);
/// For the parent of a successor that has ended to say how.
const STATUS: Duration = Duration::from_secs(1);

impl Handing<'_> {
    /// Ends the successor, and goes on as if it had never been.
    pub(super) async fn take_back(mut self, failure: Failure) -> Upgraded {
        let Failure { words: mut because, wrong_config, is_gone } = failure;
        let successor = self.successor.as_mut().and_then(Successor::pid);
        if let Some(status) = self.end_successor(is_gone).await.filter(|_| is_gone) {
            because += &format!(" ({status}); its words are where this gateway logs");
        }
        self.channel = None;
        self.enter_step("taken back");
        if self.has_committed
            && let Some(open) = self.state.reopen()
        {
            open.stay();
            self.state.ground().sign_locks();
        }
        if self.departures.has_begun() {
            self.order_all(|| Order::TakeBack);
            self.order_all(|| Order::OpenDoors);
            let until = self.state.now().after(TAKE_BACK);
            let is_back = |one: &Departures| one.is_taken_back.load(Relaxed);
            while !self.departures.all(is_back) && self.state.now() < until {
                sleep(POLL).await;
            }
        }
        self.leave_step();
        let (moved, lost) = (self.departures.moved(), self.departures.sum(|one| &one.lost));
        let back = self.departures.sum(|one| &one.back);
        let touched = match (self.departures.has_begun(), lost) {
            (false, _) => "nothing was touched".to_owned(),
            (true, 0) => format!("{} are back, nobody was lost", count(back, "connection")),
            (true, lost) => format!("{} are back, {lost} lost", count(back, "connection")),
        };
        let words = format!("{because}; {touched}");
        self.say(Severity::Error, &format!("the upgrade is taken back: {words}"));
        let Handing { ended, steps, .. } = self;
        Upgraded {
            back,
            ended,
            lost,
            moved,
            steps,
            successor,
            wrong_config,
            words,
            ..Upgraded::default()
        }
    }

    /// It must not wake up as a second reader: it is waited for until it is gone. One that has
    /// closed its end is about to end by itself.
    async fn end_successor(&mut self, is_gone: bool) -> Option<ExitStatus> {
        let until = self.state.now().after(if is_gone { ANSWER } else { Duration::ZERO });
        let successor = self.successor.as_mut()?;
        while !successor.is_over() {
            if self.state.now() >= until {
                successor.kill();
            }
            sleep(POLL).await;
        }
        let until = self.state.now().after(STATUS);
        while self.state.now() < until {
            if let Some(status) = successor.status() {
                return Some(status);
            }
            sleep(POLL).await;
        }
        None
    }
}
