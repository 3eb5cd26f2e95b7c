//! The control plane's end of a worker: the queue of its orders, its thread's exit.

use std::time::Duration;

use crossbeam::channel::Sender;
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::ring::{Supplier, Waker};
use crate::worker::Order;

/// Orders that may wait for a worker when it is asked something.
const ORDERS_WAITING: usize = 16;

/// The control plane's end of a worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// The queue of its orders.
    pub orders: Sender<Order>,
    /// Wakes it to read them.
    pub waker: Waker,
    /// Hands new gates and servers over to its ring.
    pub supplier: Supplier,
}

impl WorkerHandle {
    pub(super) fn order(&self, order: Order) {
        // A worker that is gone has said so through its `Exit`.
        let _ = self.orders.send(order);
        self.waker.wake();
    }

    /// Whether it may be asked something: orders do not pile up at a worker that stands still.
    pub(super) fn has_time(&self) -> bool {
        self.orders.len() < ORDERS_WAITING
    }
}

/// Between two looks for an answer of a worker, or for the effect of an order.
pub(super) const POLL: Duration = Duration::from_millis(2);

/// A worker was asked, and has ended without an answer.
#[derive(Debug)]
pub(super) struct Ended;

/// The answer of a worker; none ever comes of one that stands still. The answer is polled, because
/// a worker that wakes another thread takes a lock.
pub(super) async fn answer_of<T>(mut answer: Receiver<T>) -> Result<T, Ended> {
    loop {
        match answer.try_recv() {
            Ok(answer) => return Ok(answer),
            Err(TryRecvError::Closed) => return Err(Ended),
            Err(TryRecvError::Empty) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The last word of a worker's thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Which worker.
    pub worker: usize,
    /// How it ended.
    pub how: Ending,
}

/// How a worker's thread ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It carried a stop order out.
    Stopped,
    /// The kernel refused its ring.
    RingFailed(nix::errno::Errno),
    /// It panicked, with these words.
    Panicked(String),
}
