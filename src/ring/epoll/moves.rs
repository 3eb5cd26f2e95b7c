//! Sockets that go to another ring, and those that come from one.

use std::os::fd::{AsFd as _, OwnedFd};

use super::EpollRing;
use super::slots::Slot;
use super::sockets;
use crate::base::{BySide, ConnIndex, Errno, Side};
use crate::ring::contract::{Accepts, Completion, FourTuple, Moves};
use crate::ring::kernel::address;

impl Moves for EpollRing {
    type Socket = OwnedFd;

    fn lend(&mut self, conn: ConnIndex, _generation: u32, side: Side) {
        let result = match self.slots.get_mut(conn, side) {
            Some(Slot { socket: Some(socket), .. }) => sockets::another(socket),
            _ => Err(Errno::EBADF),
        };
        let result = result.map(|socket| drop(self.lends.insert((conn, side), socket)));
        self.later.push_back(Completion::Lent { conn, side, result });
    }

    fn lent(&mut self, conn: ConnIndex, side: Side) -> Option<OwnedFd> {
        self.lends.remove(&(conn, side))
    }

    fn four_tuple(&self, socket: &OwnedFd) -> Option<FourTuple> {
        address::four_tuple(socket.as_fd()).ok()
    }

    fn ahead(&self, _: ConnIndex, _: Side, _: &mut Vec<u8>) -> Result<(), Errno> {
        Ok(())
    }

    fn forget(&mut self, _: ConnIndex, _: Side) {}

    fn adopt(&mut self, key: u32, sockets: BySide<Option<OwnedFd>>) {
        assert!(sockets[Side::Client].is_some(), "a connection has a client");
        let result = self.adopt_sockets(sockets);
        self.later.push_back(Completion::Adopted { key, result });
    }
}

impl EpollRing {
    fn adopt_sockets(&mut self, sockets: BySide<Option<OwnedFd>>) -> Result<ConnIndex, Errno> {
        if self.slots.room() <= self.doors.gates.promised(self.accept_burst()) {
            return Err(Errno::ENFILE);
        }
        if sockets[Side::Upstream].is_some() && !self.slots.have_servers() {
            return Err(Errno::EINVAL);
        }
        let conn = self.slots.take_any().ok_or(Errno::ENFILE)?;
        for side in Side::BOTH {
            let Some(socket) = &sockets[side] else { continue };
            if let Err(errno) = self.poller.watch_socket(socket, conn, side) {
                // Others may have these sockets too.
                sockets.0.iter().flatten().for_each(|socket| self.poller.forget(socket));
                self.slots.give_back(conn);
                return Err(errno);
            }
        }
        for (side, socket) in Side::BOTH.into_iter().zip(sockets.0) {
            if let Some(socket) = socket {
                *self.slots.at(conn, side) = Slot::with(socket);
            }
        }
        Ok(conn)
    }

    /// A slot is about to be closed: what was lent of it and not taken is given up, and a lend of
    /// which the worker has not heard is answered with that.
    pub(super) fn end_lend(&mut self, conn: ConnIndex, side: Side) {
        if self.lends.remove(&(conn, side)).is_none() {
            return;
        }
        for completion in self.now.iter_mut().chain(&mut self.later) {
            if let Completion::Lent { conn: its, side: of, result } = completion
                && (*its, *of) == (conn, side)
            {
                *result = Err(Errno::ECANCELED);
            }
        }
    }
}
