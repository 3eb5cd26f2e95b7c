//! The epoll instance: what it watches, and whose an event is.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::base::limits::CONN_BITS;
use crate::base::{ConnIndex, Errno, GateId, Side};
use crate::ring::kernel::waker::Waker;

/// Events that one turn takes at most.
const EVENTS: usize = 512;

const WAKER: u64 = u64::MAX;
const GATE_BIT: u64 = 1 << 40;
const CONN_MASK: u64 = (1 << CONN_BITS) - 1;

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Another thread woke the ring.
    Waker,
    /// Somebody has come to a gate.
    Gate(GateId),
    /// Something happened to a socket.
    Socket(ConnIndex, Side),
}

impl For {
    fn data(self) -> u64 {
        match self {
            For::Waker => WAKER,
            For::Gate(GateId(gate)) => GATE_BIT | u64::from(gate),
            For::Socket(ConnIndex(conn), side) => u64::from(conn) | (side as u64) << CONN_BITS,
        }
    }

    fn of(data: u64) -> For {
        if data == WAKER {
            return For::Waker;
        }
        if data & GATE_BIT != 0 {
            return For::Gate(GateId(data as u16));
        }
        let side = if data >> CONN_BITS == 0 { Side::Client } else { Side::Upstream };
        For::Socket(ConnIndex((data & CONN_MASK) as u32), side)
    }
}

/// An epoll instance whose watches are edge-triggered.
pub(super) struct Poller {
    epoll: Epoll,
    events: Box<[EpollEvent]>,
    came: usize,
}

impl Poller {
    /// One that `waker` wakes. Its count is never read: each wake is an edge.
    pub(super) fn new(waker: &Waker) -> Result<Poller, Errno> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let events = vec![EpollEvent::empty(); EVENTS].into();
        let poller = Poller { epoll, events, came: 0 };
        poller.watch(waker.event(), EpollFlags::EPOLLIN, For::Waker)?;
        Ok(poller)
    }

    /// Watches a passive socket for clients of a gate, no longer of another that had it.
    pub(super) fn watch_gate(&self, socket: impl AsFd, gate: GateId) -> Result<(), Errno> {
        match self.watch(&socket, EpollFlags::EPOLLIN, For::Gate(gate)) {
            Err(Errno::EEXIST) => {
                let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                let mut event = EpollEvent::new(flags, For::Gate(gate).data());
                self.epoll.modify(&socket, &mut event)
            }
            watched => watched,
        }
    }

    /// Watches a socket for all that may happen to it. The first edge tells what holds already.
    /// `ENOSPC`: the user has as many watches as fs.epoll.max_user_watches allows.
    pub(super) fn watch_socket(
        &self,
        socket: impl AsFd,
        conn: ConnIndex,
        side: Side,
    ) -> Result<(), Errno> {
        let all = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLPRI;
        self.watch(socket, all, For::Socket(conn, side))
    }

    fn watch(&self, fd: impl AsFd, flags: EpollFlags, whose: For) -> Result<(), Errno> {
        self.epoll.add(fd, EpollEvent::new(flags | EpollFlags::EPOLLET, whose.data()))
    }

    /// Ends the watch of a descriptor whose file may live on.
    pub(super) fn forget(&self, fd: impl AsFd) {
        // One that was never watched is none any more.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something happens or `wait` is over; `None` waits for ever.
    pub(super) fn wait(&mut self, wait: Option<Duration>) -> Result<(), Errno> {
        self.came = match self.epoll.wait(&mut self.events, timeout(wait)) {
            Ok(came) => came,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        Ok(())
    }

    /// How many events came.
    pub(super) fn came(&self) -> usize {
        self.came
    }

    /// One of the events that came, and its poll bits.
    pub(super) fn event(&self, index: usize) -> (For, u32) {
        let event = &self.events[index];
        (For::of(event.data()), event.events().bits() as u32)
    }

    /// More may have come than there was room for.
    pub(super) fn is_full(&self) -> bool {
        self.came == self.events.len()
    }
}

/// Whole milliseconds, and never less than was asked for.
fn timeout(wait: Option<Duration>) -> EpollTimeout {
    let Some(wait) = wait else { return EpollTimeout::NONE };
    let millis = wait.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| millis.try_into().ok())
        .unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_whom_it_is_for() {
        let conn = ConnIndex((1 << CONN_BITS) - 1);
        let sockets = Side::BOTH.map(|side| For::Socket(conn, side));
        for whose in [For::Waker, For::Gate(GateId(u16::MAX)), sockets[0], sockets[1]] {
            assert_eq!(For::of(whose.data()), whose);
        }
    }

    #[test]
    fn a_wait_is_never_shorter_than_was_asked_for() {
        let millis = |wait| i32::from(timeout(Some(wait)));
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(1_500)), 2);
        assert_eq!(millis(Duration::MAX), i32::MAX);
        assert_eq!(i32::from(timeout(None)), -1);
    }
}
