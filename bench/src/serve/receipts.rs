//! What came of transfers whose clients cannot be told on the same connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::pattern::{Asked, Receipt};

/// Receipts that nobody has asked for, at most; beyond it the oldest go.
const RECEIPTS_MAX: usize = 65_536;

/// Receipts by run and seed, for all threads: who asks may come to another one.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    all: HashMap<(u64, u64), Receipt>,
    /// In the order in which they came, with those that were taken.
    order: VecDeque<(u64, u64)>,
}

impl Receipts {
    pub(super) fn shared() -> Arc<Mutex<Receipts>> {
        Arc::default()
    }

    /// Keeps what came of a transfer.
    pub(super) fn keep(&mut self, asked: Asked, receipt: Receipt) {
        self.all.insert((asked.run, asked.seed), receipt);
        self.order.push_back((asked.run, asked.seed));
        if self.order.len() > RECEIPTS_MAX {
            let oldest = self.order.pop_front().expect("there are many");
            self.all.remove(&oldest);
        }
    }

    /// What came of the transfer that is asked about, if it has ended.
    pub(super) fn of(&self, asked: Asked) -> Receipt {
        self.all.get(&(asked.run, asked.seed)).copied().unwrap_or(Receipt::NOT_YET)
    }
}

/// The receipts, for a moment.
pub(super) fn locked(receipts: &Mutex<Receipts>) -> MutexGuard<'_, Receipts> {
    receipts.lock().expect("nobody panics with them")
}
