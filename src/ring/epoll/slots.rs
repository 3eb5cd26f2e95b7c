//! The slots of connections: the socket in each, what waits on it, and what is known of it.

use std::os::fd::OwnedFd;

use nix::libc;

use crate::base::{ConnIndex, InFlight, OpKind, Side};
use crate::ring::token::Token;

/// Poll bits after which a receive may bring something: bytes, an end or an error.
pub(super) const READABLE: u32 =
    (libc::POLLIN | libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;
/// Poll bits that a sender waits for; the peer's FIN alone is none.
pub(super) const WRITABLE: u32 = (libc::POLLOUT | libc::POLLHUP | libc::POLLERR) as u32;
/// Poll bits that a watch for a hang-up tells of.
pub(super) const HANGUP: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;
/// Poll bits with which a receive that brings less than it could does not mean that nothing is
/// left: an end is behind it, or it stopped at urgent data.
const NOT_ALL: u32 = HANGUP | libc::POLLPRI as u32;

/// One side of a connection.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) socket: Option<OwnedFd>,
    /// What waits for an edge.
    pub(super) waiting: InFlight,
    /// The life whose operations wait.
    generation: u32,
    /// What poll(2) would have said at the last edge.
    bits: u32,
    /// What the watch for a hang-up has told.
    told: u32,
    /// An edge said so, and no receive has found the socket empty since. When this is false,
    /// nothing is there, or the edge that tells of it is still to be read.
    is_readable: bool,
}

impl Slot {
    /// A socket that nothing is known of.
    pub(super) fn with(socket: OwnedFd) -> Slot {
        Slot { socket: Some(socket), ..Slot::default() }
    }

    /// An operation waits from here on.
    pub(super) fn wait(&mut self, token: Token) {
        self.waiting.start(token.kind);
        self.generation = token.generation;
    }

    /// The token of what waits.
    pub(super) fn token(&self, (conn, side): (ConnIndex, Side), kind: OpKind) -> Token {
        Token { conn, generation: self.generation, side, kind }
    }

    /// An edge came.
    pub(super) fn edge(&mut self, bits: u32) {
        self.bits = bits;
        self.is_readable |= bits & (READABLE | NOT_ALL) != 0;
    }

    /// A connect is about to begin: a socket that is not connected seems to have hung up, and an
    /// edge may have told so.
    pub(super) fn begin_connect(&mut self) {
        self.bits = 0;
        self.is_readable = false;
    }

    /// No edge has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.bits == 0
    }

    /// A receive may bring something.
    pub(super) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// The socket was found empty.
    pub(super) fn is_empty_now(&mut self) {
        self.is_readable = false;
    }

    /// A receive brought less than it could.
    pub(super) fn was_short(&mut self) {
        self.is_readable = self.bits & NOT_ALL != 0;
    }

    /// The bits that a watch for a hang-up has not told yet.
    pub(super) fn news(&mut self) -> Option<u32> {
        let bits = self.bits & HANGUP;
        let is_news = bits & !self.told != 0;
        self.told |= bits;
        is_news.then_some(bits)
    }

    /// A watch for a hang-up begins: it tells of what holds already, which before the first edge
    /// only `bits_now` says.
    pub(super) fn begin_watch(&mut self, bits_now: impl FnOnce(&OwnedFd) -> u32) {
        self.told = 0;
        if let (0, Some(socket)) = (self.bits, &self.socket) {
            self.bits = bits_now(socket);
        }
    }
}

/// All slots. A client's is taken from when its socket comes until the worker hears of its close.
pub(super) struct Slots {
    clients: Box<[Slot]>,
    /// None where a connection has one side.
    servers: Box<[Slot]>,
    is_taken: Box<[bool]>,
    /// Client slots, the next on top, among which are all that are not taken.
    free: Vec<u32>,
    is_listed: Box<[bool]>,
    room: u32,
}

impl Slots {
    /// For so many connections.
    pub(super) fn new(connections: u32, with_upstream: bool) -> Slots {
        let empty = |count| (0..count).map(|_| Slot::default()).collect();
        Slots {
            clients: empty(connections),
            servers: empty(if with_upstream { connections } else { 0 }),
            is_taken: vec![false; connections as usize].into(),
            free: (0..connections).rev().collect(),
            is_listed: vec![true; connections as usize].into(),
            room: connections,
        }
    }

    /// Connections that there are slots for.
    pub(super) fn connections(&self) -> u32 {
        self.clients.len() as u32
    }

    /// Client slots that nobody has.
    pub(super) fn room(&self) -> u32 {
        self.room
    }

    /// Connections have two sides.
    pub(super) fn have_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Takes a client slot.
    pub(super) fn take_any(&mut self) -> Option<ConnIndex> {
        loop {
            let conn = self.free.pop()?;
            self.is_listed[conn as usize] = false;
            if !self.is_taken[conn as usize] {
                self.take(ConnIndex(conn));
                return Some(ConnIndex(conn));
            }
        }
    }

    /// Takes this client slot.
    pub(super) fn take(&mut self, ConnIndex(conn): ConnIndex) {
        self.is_taken[conn as usize] = true;
        self.room -= 1;
    }

    /// Gives a client slot back.
    pub(super) fn give_back(&mut self, ConnIndex(conn): ConnIndex) {
        self.is_taken[conn as usize] = false;
        self.room += 1;
        if !std::mem::replace(&mut self.is_listed[conn as usize], true) {
            self.free.push(conn);
        }
    }

    /// One side of a connection; `None` where connections have no such side.
    pub(super) fn get(&self, conn: ConnIndex, side: Side) -> Option<&Slot> {
        match side {
            Side::Client => self.clients.get(conn.0 as usize),
            Side::Upstream => self.servers.get(conn.0 as usize),
        }
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, conn: ConnIndex, side: Side) -> Option<&mut Slot> {
        match side {
            Side::Client => self.clients.get_mut(conn.0 as usize),
            Side::Upstream => self.servers.get_mut(conn.0 as usize),
        }
    }

    /// One side of a connection that is known to be there.
    ///
    /// # Panics
    /// When it is not.
    pub(super) fn at(&mut self, conn: ConnIndex, side: Side) -> &mut Slot {
        self.get_mut(conn, side).expect("a slot")
    }

    /// The socket of a side, if there is one.
    pub(super) fn socket(&self, conn: ConnIndex, side: Side) -> Option<&OwnedFd> {
        self.get(conn, side)?.socket.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_taken_by_name_is_taken_by_nobody_else() {
        let mut slots = Slots::new(2, true);
        slots.take(ConnIndex(0));
        assert_eq!((slots.take_any(), slots.room()), (Some(ConnIndex(1)), 0));
        assert_eq!(slots.take_any(), None);
        for _ in 0..3 {
            slots.give_back(ConnIndex(0));
            slots.take(ConnIndex(0));
        }
        slots.give_back(ConnIndex(0));
        assert_eq!((slots.take_any(), slots.take_any()), (Some(ConnIndex(0)), None));
    }

    #[test]
    fn a_short_receive_leaves_an_end_or_urgent_data_to_the_next() {
        let mut slot = Slot::default();
        slot.edge(libc::POLLIN as u32);
        slot.was_short();
        assert!(!slot.is_readable());
        for bits in [libc::POLLRDHUP, libc::POLLERR, libc::POLLPRI] {
            slot.edge((libc::POLLIN | bits) as u32);
            slot.was_short();
            assert!(slot.is_readable());
        }
        slot.is_empty_now();
        assert!(!slot.is_readable());
    }

    #[test]
    fn a_watch_tells_of_each_bit_once_and_a_new_one_of_all_again() {
        let mut slot = Slot::default();
        slot.begin_watch(|_| 0);
        assert_eq!(slot.news(), None);
        let fin = libc::POLLRDHUP as u32;
        slot.edge(fin);
        assert_eq!((slot.news(), slot.news()), (Some(fin), None));
        slot.edge(fin | libc::POLLHUP as u32);
        assert_eq!(slot.news(), Some(fin | libc::POLLHUP as u32));
        slot.begin_watch(|_| 0);
        assert!(slot.news().is_some());
    }
}
