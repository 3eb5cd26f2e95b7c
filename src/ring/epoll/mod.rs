//! A ring over epoll(7), for hosts that refuse io_uring: the second choice, behind the same
//! contract.
//!
//! A slot holds an ordinary descriptor. What is started is tried at once by a system call that does
//! not wait. What cannot go on then waits in its slot until an edge tells that it can: every
//! connected socket is watched for all that may happen to it from its first moment on, so that a
//! wait itself takes no system call. Completions are kept for the next turn.
//!
//! Nothing is received ahead, and there are no batches to wait for. Pools, addresses, splices and
//! gates are those of `kernel`.
//!
//! `slots` has the sockets and what waits on each, `poller` the epoll instance, `sockets` the
//! system calls, `doors` the gates at which clients wait. The contract: `accepts`, `buffers`,
//! `operations`, `moves`, `turn`; `waits` ends what waited.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use self::doors::Doors;
use self::poller::Poller;
use self::slots::Slots;
use super::kernel::addresses::Addresses;
use super::kernel::descriptors::Descriptors;
use super::kernel::memory::Memory;
use super::kernel::self_connect::SelfConnects;
use super::kernel::setup::{RingError, RingSetup, check};
use super::kernel::splices::Splices;
use super::kernel::supplier::{Supplier, Supplies};
use super::kernel::waker::Waker;
use crate::base::{ConnIndex, Errno, Side};
use crate::metrics::RingCounters;
use crate::ring::contract::{Completion, Done};
use crate::ring::token::Token;

mod accepts;
mod buffers;
mod doors;
mod moves;
mod operations;
mod poller;
mod slots;
mod sockets;
mod turn;
mod waits;

/// A worker's sockets, watched by one epoll instance. Made, used and dropped on the worker's
/// thread.
pub struct EpollRing {
    poller: Poller,
    slots: Slots,
    doors: Doors,
    memory: Memory,
    supplies: Supplies,
    descriptors: Descriptors,
    self_connects: SelfConnects,
    addresses: Addresses,
    /// References that were made for another ring and not taken yet.
    lends: HashMap<(ConnIndex, Side), OwnedFd>,
    /// What completed since the turn began: the next turn's.
    later: VecDeque<Completion>,
    /// This turn's.
    now: VecDeque<Completion>,
    waker: Waker,
    counters: RingCounters,
}

impl EpollRing {
    /// Makes the ring for the calling thread.
    ///
    /// # Errors
    /// When the setup breaks a rule or the kernel refuses a part; the message says which and what
    /// to do.
    ///
    /// # Panics
    /// When two gates or two servers have the same id.
    pub fn new(setup: RingSetup) -> Result<EpollRing, RingError> {
        check(&setup)?;
        let refused = |what: &str| {
            let tried = what.to_owned();
            move |errno| RingError::refused(tried, errno)
        };
        let waker = Waker::new().map_err(refused("the worker's eventfd"))?;
        let poller = Poller::new(&waker).map_err(refused("the worker's epoll instance"))?;
        let doors = Doors::new(setup.gates.clone(), &poller);
        let splices = Splices::new(setup.splice_pipes, setup.buffer_bytes);
        Ok(EpollRing {
            poller,
            slots: Slots::new(setup.connections, setup.with_upstream),
            doors: doors.map_err(refused("a watch of the listeners"))?,
            memory: Memory::new(&setup)?,
            supplies: Supplies::new(),
            descriptors: Descriptors::new(setup.descriptors, splices),
            self_connects: SelfConnects::new(&setup.servers, setup.ephemeral_ports),
            addresses: Addresses::new(),
            lends: HashMap::new(),
            later: VecDeque::new(),
            now: VecDeque::new(),
            waker,
            counters: RingCounters::default(),
        })
    }

    /// A handle that wakes this ring from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// A handle that passes gates and servers to this ring, from any thread, before they are added.
    pub fn supplier(&self) -> Supplier {
        self.supplies.supplier()
    }

    /// Keeps an operation's last completion, which brings no buffer, for the next turn.
    fn complete(&mut self, token: Token, result: Result<u32, Errno>) {
        let done = Done { token, result, buffer: None, full: false, more: false };
        self.later.push_back(Completion::Done(done));
    }
}
