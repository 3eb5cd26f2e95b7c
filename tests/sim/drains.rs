//! Drains of everybody and of parts, and their cancels.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use portcullis::base::{ListenerId, Millis};
use portcullis::worker::{Account, DrainOrder, Order, Pace, Part, Whom};

use crate::moves::SimOrder;
use crate::random::Random;
use crate::scenario::Steer;
use crate::tally::Tally;

/// A drain of a listener's connections, or of everybody's, while clients go on coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartDrain {
    pub listener: Option<usize>,
    pub share: u8,
    pub pace: Pace,
    pub rate: Option<u32>,
    pub within: Duration,
}

/// The drains under way.
#[derive(Debug, Default)]
pub struct Drains {
    /// Of everybody: its account, and when it was ordered.
    farewell: Option<(Arc<Account>, u64)>,
    parts: Vec<Arc<Account>>,
}

impl Drains {
    /// Everybody is drained.
    pub fn begin_farewell(&mut self, orders: &[Sender<SimOrder>], within: Duration, now: u64) {
        let account = order(orders, Whom::All, Pace::Brisk, None, within, now);
        self.farewell = Some((account, now));
    }

    /// A part is drained; its listener has this id.
    pub fn begin_part(
        &mut self,
        orders: &[Sender<SimOrder>],
        id: Option<ListenerId>,
        drain: PartDrain,
        now: u64,
    ) {
        let whom = Whom::Part(id.map_or(Part::Whole, Part::Listener), drain.share);
        let PartDrain { pace, rate, within, .. } = drain;
        self.parts.push(order(orders, whom, pace, rate, within, now));
    }

    /// The drain of a part that began first is cancelled; whether it was under way.
    pub fn cancel_part(&mut self, orders: &[Sender<SimOrder>]) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        let account = self.parts.remove(0);
        orders.iter().for_each(|worker| say(worker, Order::Cancel(account.clone())));
        !account.is_over()
    }

    /// Once no worker has anybody left, every worker is stopped.
    pub fn end_drained(&mut self, orders: &[Sender<SimOrder>], tallies: &[Tally]) {
        if self.farewell.is_some() && tallies.iter().all(|tally| tally.drained.get() > 0) {
            self.farewell = None;
            orders.iter().for_each(|worker| say(worker, Order::Stop));
        }
    }

    /// Cancels the drain of everybody, if it was ordered `after` ago and no worker has come to its
    /// end; whether it did.
    pub fn cancel_farewell(
        &mut self,
        orders: &[Sender<SimOrder>],
        tallies: &[Tally],
        after: u64,
        now: u64,
    ) -> bool {
        let is_time = self.farewell.as_ref().is_some_and(|(_, began)| now >= began + after);
        if !is_time || tallies.iter().any(|tally| tally.leaving.get() > 1) {
            return false;
        }
        let (account, _) = self.farewell.take().expect("it was looked at");
        orders.iter().for_each(|worker| say(worker, Order::Cancel(account.clone())));
        true
    }
}

fn order(
    orders: &[Sender<SimOrder>],
    whom: Whom,
    pace: Pace,
    rate: Option<u32>,
    within: Duration,
    now: u64,
) -> Arc<Account> {
    let (account, lines) = Account::open(orders.len(), rate, Millis(now));
    for (worker, line) in orders.iter().zip(lines) {
        say(worker, Order::Drain(Box::new(DrainOrder { whom, pace, within, line })));
    }
    account
}

fn say(worker: &Sender<SimOrder>, order: SimOrder) {
    worker.send(order).expect("a worker listens");
}

/// When the drain of everybody is cancelled, and how long afterwards the next begins. Drawn apart,
/// and not in the runs of `regressions`.
pub fn returns(seed: u64) -> VecDeque<(u64, u64)> {
    let mut random = Random::new(seed.rotate_left(56));
    if ![3, 4, 9, 10, 11].contains(&(seed % 16)) {
        return VecDeque::new();
    }
    let many = random.between(1, 3);
    let mut some = || (random.pick(&[0, 1, 5, 40, 200, 1000]), random.pick(&[0, 10, 300]));
    (0..many).map(|_| some()).collect()
}

/// Drains of parts and their cancels. Drawn apart, too.
pub fn of_parts(seed: u64, listeners: usize) -> Vec<(u64, Steer)> {
    let mut random = Random::new(!seed.rotate_left(56));
    let mut steers = Vec::new();
    if ![1, 2, 7, 15].contains(&(seed % 17)) {
        return steers;
    }
    for _ in 0..random.between(1, 3) {
        let at = random.between(0, 1000);
        let one = random.below(listeners as u64) as usize;
        let drain = PartDrain {
            listener: random.percent(60).then_some(one),
            share: random.pick(&[100, 100, 30, 60]),
            pace: random.pick(&[Pace::Brisk, Pace::Even, Pace::Rate]),
            rate: random.percent(30).then(|| random.pick(&[1, 20, 500])),
            within: Duration::from_millis(random.between(1, 2000)),
        };
        steers.push((at, Steer::Drain(drain)));
        if random.percent(50) {
            steers.push((at + random.pick(&[0, 3, 50, 500]), Steer::Cancel));
        }
    }
    steers
}
