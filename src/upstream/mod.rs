//! Servers and the choice among them, pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;

pub use crate::config::Balance;

/// One worker's view of an upstream: what it is and how many connections each server has.
#[derive(Clone, Debug)]
pub struct Servers {
    balance: Balance,
    /// Connections to each server, over all workers.
    open: Arc<[CachePadded<AtomicU32>]>,
    /// Where the next search begins, so that equals take turns.
    cursor: usize,
}

impl Servers {
    /// An upstream of `count` servers without connections. Clones share the counts.
    ///
    /// # Panics
    /// When `count` is 0: the config does not let that through.
    pub fn new(balance: Balance, count: usize) -> Servers {
        assert!(count > 0, "an upstream has at least one server");
        let open = (0..count).map(|_| CachePadded::new(AtomicU32::new(0))).collect();
        Servers { balance, open, cursor: 0 }
    }

    /// This view with its turns begun at `offset`, so that workers do not move in step.
    pub fn beginning_at(mut self, offset: usize) -> Servers {
        self.cursor = offset % self.open.len();
        self
    }

    /// How many servers there are.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// The server that a new connection tries first.
    pub fn choose(&mut self) -> usize {
        let chosen = match self.balance {
            Balance::RoundRobin => self.cursor,
            Balance::LeastConnections => (0..self.count())
                .map(|step| (self.cursor + step) % self.count())
                .min_by_key(|&server| self.open[server].load(Ordering::Relaxed))
                .expect("there is at least one server"),
        };
        self.cursor = (chosen + 1) % self.count();
        chosen
    }

    /// Counts a connection to `server`.
    pub fn opened(&self, server: usize) {
        self.open[server].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less.
    pub fn closed(&self, server: usize) {
        let before = self.open[server].fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "server {server} lost a connection it did not have");
    }

    /// Whether any server has a connection.
    pub fn any_open(&self) -> bool {
        self.open.iter().any(|open| open.load(Ordering::Relaxed) > 0)
    }

    /// Connections to `server` now.
    pub fn open(&self, server: usize) -> u32 {
        self.open[server].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_takes_turns() {
        let mut servers = Servers::new(Balance::RoundRobin, 3).beginning_at(1);
        assert_eq!([1, 2, 0, 1], [(); 4].map(|()| servers.choose()));
    }

    #[test]
    fn least_connections_evens_out_and_equals_take_turns() {
        let servers = Servers::new(Balance::LeastConnections, 3);
        servers.opened(0);
        servers.opened(0);
        servers.opened(1);
        let mut other_worker = servers.clone();
        for _ in 0..6 {
            let chosen = other_worker.choose();
            other_worker.opened(chosen);
        }
        assert_eq!([3, 3, 3], [0, 1, 2].map(|server| servers.open(server)));
        assert_eq!([0, 1, 2, 0], {
            let mut equals = Servers::new(Balance::LeastConnections, 3);
            [(); 4].map(|()| equals.choose())
        });
    }
}
