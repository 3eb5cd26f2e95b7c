//! The drain of the process, from its grace to the workers' end or its cancel.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::drains::{Drain, Leave, Of, Undo};
use super::endpoints::Serving;
use super::handle::POLL;
use super::handover::Handover;
use super::state::{ControlState, Stage};
use crate::api::patience;
use crate::base::Millis;
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::worker::{Account, DrainOrder, Line, Order, Whom};

/// Between two looks whether the workers have nobody left.
pub(super) const POLL_DRAINED: Duration = Duration::from_millis(10);

/// The drain of the process.
///
/// Its workers wait with nobody left until all are so far, and the passive sockets stay open to the
/// end. So a cancel finds everything that serving takes, until the time is over or the last
/// connection has ended.
#[derive(Debug)]
pub(super) struct Farewell {
    state: ControlState,
    leave: Leave,
    account: Arc<Account>,
    /// Goes to another gateway, if one waits.
    serving: Arc<Serving>,
    handover: Option<Handover>,
    stage: Step,
    /// When the stage is over.
    until: Millis,
}

#[derive(Debug)]
enum Step {
    /// New clients are still served. With the workers' lines for the drain.
    Grace(Vec<Line>),
    /// Connections are closed at a pace.
    Drain,
    /// Nobody is left; the workers end.
    Over,
}

impl Farewell {
    /// One that begins now, with its grace.
    pub(super) fn begin(state: &ControlState, serving: Arc<Serving>, leave: Leave) -> Farewell {
        let config = &state.view().config.gateway;
        let (grace, now) = (leave.grace.unwrap_or(config.drain_grace), state.now());
        let (begins, within) = (now.after(grace), time(state, leave));
        let rate = leave.speed.rate;
        let (account, lines) = Account::open(state.workers().len(), rate, begins);
        state.drains().begin(Drain {
            of: Of::Process,
            name: "process".to_owned(),
            begins,
            deadline: begins.after(within),
            rate,
            account: account.clone(),
            undo: Undo::default(),
        });
        state.ground().say_draining(Some((grace + within, state.open())));
        state.forget_reading();
        let (state, stage) = (state.clone(), Step::Grace(lines));
        Farewell { state, leave, account, serving, handover: None, stage, until: begins }
    }

    /// Whether new clients are still served.
    pub(super) fn is_in_grace(&self) -> bool {
        matches!(self.stage, Step::Grace(_))
    }

    /// Until the stage is over.
    pub(super) fn until_next(&self) -> Duration {
        self.until.since(self.state.now())
    }

    /// The grace is over: no new clients, and every worker drains.
    pub(super) fn begin_drain(&mut self) {
        let Step::Grace(lines) = std::mem::replace(&mut self.stage, Step::Drain) else { return };
        // There may be more connections than when it was asked for.
        let within = time(&self.state, self.leave);
        self.until = self.state.now().after(within);
        self.state.drains().set_deadline(self.until);
        self.state.ground().say_draining(Some((within, self.state.open())));
        self.state.ground().turn_clients_away();
        self.handover = Some(Handover::begin(&self.state, &self.serving));
        // Workers end what is left a little before the time is over, to be gone when it is.
        let of_workers = within - (within / 20).min(Duration::from_secs(1));
        for (worker, line) in self.state.workers().iter().zip(lines) {
            let pace = self.leave.speed.pace();
            let order = DrainOrder { whom: Whom::All, pace, within: of_workers, line };
            worker.order(Order::Drain(Box::new(order)));
        }
        self.state.forget_reading();
    }

    /// Has the workers end once no worker has anybody left.
    pub(super) fn look(&mut self) {
        let view = self.state.view();
        let is_drained = || view.counters.iter().all(|counters| counters.drained.get() > 0);
        if matches!(self.stage, Step::Drain) && is_drained() {
            self.stage = Step::Over;
            self.state.workers().iter().for_each(|worker| worker.order(Order::Stop));
        }
    }

    /// Serves again, with everybody who is still there.
    ///
    /// # Errors
    /// When it is too late: the workers are ending what is left, or nobody is.
    pub(super) async fn cancel(&mut self) -> Result<(), String> {
        match self.stage {
            Step::Grace(_) => {}
            Step::Drain => {
                self.stay().await?;
                self.state.ground().let_clients_in();
            }
            Step::Over => {
                return Err("too late: the last connection has ended, and the process ends".into());
            }
        }
        self.state.ground().say_draining(None);
        self.state.drains().end(&self.account);
        self.state.enter(Stage::Ready);
        self.state.forget_reading();
        let ended = count(self.account.standing().ended, "connection");
        let open = self.state.open();
        let words = format!("the drain is cancelled; it has ended {ended}, and {open} are open");
        self.state.tell(Severity::Info, "gateway", &words);
        Ok(())
    }

    /// Keeps the addresses and the connections.
    async fn stay(&mut self) -> Result<(), String> {
        if !self.handover.as_ref().is_none_or(Handover::hold) {
            return Err("too late: another gateway has its addresses".into());
        }
        let outcome = self.cancel_at_workers().await;
        match (&outcome, &self.handover) {
            (Ok(()), Some(handover)) => handover.call_off(),
            (Err(_), Some(handover)) => handover.go_on(),
            (_, None) => {}
        }
        outcome
    }

    async fn cancel_at_workers(&mut self) -> Result<(), String> {
        let view = self.state.view();
        let is_ending = || view.counters.iter().any(|counters| counters.leaving.get() > 1);
        let is_late = || Err("too late: its time is over, and what is left is being ended".into());
        if is_ending() {
            return is_late();
        }
        for worker in self.state.workers() {
            worker.order(Order::Cancel(self.account.clone()));
            // The drain has served the clients of paused listeners, too.
            view.paused().for_each(|listener| worker.order(Order::Pause(listener)));
        }
        let is_leaving = || view.counters.iter().any(|counters| counters.leaving.get() > 0);
        let all_stay = async {
            while is_leaving() && !is_ending() {
                sleep(POLL).await;
            }
        };
        // A worker that stands still ends nobody either, and hears it when it turns again.
        let _ = timeout(patience::CHANGE, all_stay).await;
        if is_ending() {
            // One had come to the end of its time meanwhile: so have the others.
            self.stage = Step::Over;
            self.state.workers().iter().for_each(|worker| worker.order(Order::Stop));
            return is_late();
        }
        Ok(())
    }
}

/// The time of the drain, by what was asked for and the connections that are open. Workers close
/// over nine tenths of it, so a rate gets so much more.
fn time(state: &ControlState, leave: Leave) -> Duration {
    let usual = state.view().config.gateway.drain_timeout;
    leave.speed.time(state.open() * 5 / 4, usual)
}
