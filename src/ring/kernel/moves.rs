//! Sockets that go to another ring by ordinary descriptors, and those that come from one.
//!
//! A lend makes a descriptor of a slot's socket (FIXED_FD_INSTALL) once no receive is armed on it.
//! An adopted client's descriptor goes into a slot of the kernel's choice (FILES_UPDATE), which
//! accepts that are armed beside it cannot fill too; its server's goes into the slot next to it.
#![allow(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

use super::layout::Place;
use super::receives::Piece;
use super::sqe::{self, Tag};
use super::{KernelRing, address, descriptors};
use crate::base::{BySide, Chunk, ConnIndex, Errno, OpKind, Side};
use crate::ring::contract::{Accepts, Buffers, Completion, FourTuple, Moves};
use crate::ring::token::Token;

/// How much less room a table may have than another, and be adopted into: a message's connections.
const ADOPTED_IN_A_ROW: u32 = 32;

/// The sockets that are on their way, out of slots and into them.
pub(super) struct Moving {
    /// By connection and side: what was asked for, or brought and not taken yet.
    lends: HashMap<(ConnIndex, Side), Lend>,
    /// By the number's place in `Numbers`: what is being adopted.
    adoptions: HashMap<u32, Adoption>,
    /// Completions of what needed no request.
    told: VecDeque<Completion>,
    /// The table that the last adoption went to.
    table: usize,
}

enum Lend {
    /// A receive that is armed is being cancelled first.
    Waits,
    /// The kernel makes the descriptor.
    Asked,
    /// It is there.
    Made(OwnedFd),
}

struct Adoption {
    key: u32,
    /// Open until they are in their slots.
    sockets: BySide<Option<OwnedFd>>,
}

impl Moving {
    /// None.
    pub(super) fn new() -> Moving {
        let (lends, adoptions) = (HashMap::new(), HashMap::new());
        Moving { lends, adoptions, told: VecDeque::new(), table: 0 }
    }

    /// A completion is to be told that no request will bring.
    pub(super) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// The next completion that no request brings.
    pub(super) fn next_told(&mut self) -> Option<Completion> {
        self.told.pop_front()
    }

    /// A slot is about to be closed: what was lent of it and not taken is given up.
    pub(super) fn close(&mut self, conn: ConnIndex, side: Side) {
        if let Some(Lend::Waits) = self.lends.remove(&(conn, side)) {
            self.told.push_back(Completion::Lent { conn, side, result: Err(Errno::ECANCELED) });
        }
    }
}

impl Moves for KernelRing {
    type Socket = OwnedFd;

    fn lend(&mut self, conn: ConnIndex, generation: u32, side: Side) {
        let Place { table, slot } = self.tables.place(conn, side);
        let receives = &mut self.tables[table].receives;
        if !receives.is_armed(slot) {
            return self.push_lend(conn, side);
        }
        self.moving.lends.insert((conn, side), Lend::Waits);
        if receives.stop(slot) {
            let token = Token { conn, generation, side, kind: OpKind::Receive };
            self.push_stop(table, token);
        }
    }

    fn lent(&mut self, conn: ConnIndex, side: Side) -> Option<OwnedFd> {
        match self.moving.lends.remove(&(conn, side))? {
            Lend::Made(socket) => Some(socket),
            asked => {
                self.moving.lends.insert((conn, side), asked);
                None
            }
        }
    }

    fn four_tuple(&self, socket: &OwnedFd) -> Option<FourTuple> {
        address::four_tuple(socket.as_fd()).ok()
    }

    fn ahead(&self, conn: ConnIndex, side: Side, into: &mut Vec<u8>) -> Result<(), Errno> {
        let Place { table, slot } = self.tables.place(conn, side);
        for Piece { result, buffer } in self.tables[table].receives.ahead(slot) {
            let length_bytes = result?;
            if let Some(buffer) = buffer {
                into.extend_from_slice(self.bytes(Chunk { buffer, start_bytes: 0, length_bytes }));
            }
        }
        Ok(())
    }

    fn forget(&mut self, conn: ConnIndex, side: Side) {
        let Place { table, slot } = self.tables.place(conn, side);
        while let Some(piece) = self.tables[table].receives.take_ahead(slot) {
            if let Some(buffer) = piece.buffer {
                self.release(buffer);
            }
        }
    }

    fn adopt(&mut self, key: u32, sockets: BySide<Option<OwnedFd>>) {
        let client = sockets[Side::Client].as_ref().expect("a connection has a client");
        let fd = client.as_raw_fd();
        let Some(table) = self.table_for_adopted() else {
            let full = Completion::Adopted { key, result: Err(Errno::ENFILE) };
            return self.moving.told.push_back(full);
        };
        self.moving.table = table;
        // From here on nobody else may count on the slot; which it is the kernel says.
        self.tables.client_comes(table);
        let (place, number) = self.memory.numbers.put(fd);
        self.moving.adoptions.insert(place, Adoption { key, sockets });
        self.push(table, sqe::put_anywhere(number), Tag::Adopt.with(place.into()));
    }
}

impl KernelRing {
    fn push_lend(&mut self, conn: ConnIndex, side: Side) {
        let Place { table, slot } = self.tables.place(conn, side);
        self.moving.lends.insert((conn, side), Lend::Asked);
        self.push(table, sqe::install(slot), sqe::lend_data(conn, side));
    }

    /// A receive is over: a lend may have waited for that.
    pub(super) fn lend_after_receives(&mut self, conn: ConnIndex, side: Side) {
        if let Some(Lend::Waits) = self.moving.lends.get(&(conn, side)) {
            self.push_lend(conn, side);
        }
    }

    /// A descriptor was made for a lend, or could not be.
    pub(super) fn lend_made(&mut self, payload: u64, result: Result<u32, Errno>) -> Completion {
        let (conn, side) = sqe::lend_of(payload);
        // SAFETY: only completions of `Tag::Lend` come here, each once.
        let socket = result.map(|fd| unsafe { descriptors::take(fd) });
        let lends = &mut self.moving.lends;
        let is_closed = lends.remove(&(conn, side)).is_none();
        let result = match socket {
            Ok(_) if is_closed => Err(Errno::ECANCELED),
            Ok(socket) => {
                lends.insert((conn, side), Lend::Made(socket));
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        Completion::Lent { conn, side, result }
    }

    /// The table with the most room that armed accepts may not need; or the one that the last
    /// adoption went to, while others have hardly more: a kernel ring is entered for a few of them
    /// rather than for each.
    fn table_for_adopted(&self) -> Option<usize> {
        let target = self.tables.target();
        let promised = self.gates.promised(self.accept_burst());
        let room = |table: &usize| {
            let promised = if *table == target { promised } else { 0 };
            self.tables[*table].free_clients().saturating_sub(promised)
        };
        let best = (0..self.tables.len()).min_by_key(|table| Reverse(room(table)))?;
        let last = self.moving.table;
        let goes_on = room(&last) > 0 && room(&last) + ADOPTED_IN_A_ROW > room(&best);
        Some(if goes_on { last } else { best }).filter(|one| room(one) > 0)
    }

    /// An adopted client is in a slot, or not; its server follows.
    pub(super) fn adopted(
        &mut self,
        table: usize,
        payload: u64,
        result: Result<u32, Errno>,
    ) -> Option<Completion> {
        let place = payload as u32;
        let number = self.memory.numbers.take(place);
        let Adoption { key, sockets } = self.moving.adoptions.remove(&place)?;
        let slot = match result {
            Ok(1) => number as u32,
            refused => return Some(self.not_adopted(table, key, refused.err())),
        };
        let conn = self.tables.conn(table, slot);
        if let Some(server) = &sockets[Side::Upstream] {
            let beside = self.tables.place(conn, Side::Upstream).slot;
            if let Err(errno) = self.tables[table].queue.put(beside, server.as_raw_fd()) {
                let undo = sqe::adopt_undo_data(key, errno);
                self.push(table, sqe::close(slot), undo);
                return None;
            }
        }
        Some(Completion::Adopted { key, result: Ok(conn) })
    }

    /// The slot of a client whose server could not follow is empty again.
    pub(super) fn adoption_undone(&mut self, table: usize, payload: u64) -> Completion {
        let (key, errno) = sqe::adopt_undo_of(payload);
        self.not_adopted(table, key, Some(errno))
    }

    fn not_adopted(&mut self, table: usize, key: u32, errno: Option<Errno>) -> Completion {
        self.tables.client_left(table);
        Completion::Adopted { key, result: Err(errno.unwrap_or(Errno::ENFILE)) }
    }
}
