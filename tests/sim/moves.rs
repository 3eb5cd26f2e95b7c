//! Sockets of the simulated kernel beside their slots: lent, adopted, and closed when neither a
//! slot nor a reference holds them any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis::base::{BySide, Errno, OpKind, Side};
use portcullis::ring::{AcceptMode, Accepts, Completion, ConnIndex, FourTuple, Moves};
use portcullis::worker::Order;

use crate::border::address_of;
use crate::random::Random;
use crate::ring::{SimRing, Submitted};

/// An order to a worker over the simulated kernel.
pub type SimOrder = Order<Reference>;

/// A reference to a simulated socket.
#[derive(Clone, Debug)]
pub struct Reference {
    link: usize,
    /// As many as there are references, and the link's own.
    held: Arc<()>,
}

/// What keeps a socket open: slots of any ring, and references.
#[derive(Debug, Default)]
pub struct Holds {
    /// One of the references.
    held: Arc<()>,
    slots: u32,
    /// One of the slots was emptied.
    leaves_slots: bool,
}

impl Holds {
    /// It is in one more slot.
    pub fn fill(&mut self) {
        self.slots += 1;
    }

    /// A slot of it is emptied.
    pub fn empty(&mut self) {
        self.slots -= 1;
        self.leaves_slots = true;
    }

    /// How many slots and references it is in.
    pub fn count(&self) -> usize {
        self.slots as usize + Arc::strong_count(&self.held) - 1
    }
}

/// An adoption that the kernel has not seen.
#[derive(Debug)]
pub struct Adoption {
    key: u32,
    part: u32,
    sockets: BySide<Option<Reference>>,
}

/// What is on its way out of the ring and into it.
#[derive(Debug)]
pub struct Moving {
    /// By side and slot: whether the reference is there that was asked for, and not taken.
    lent: BTreeMap<(u32, usize), Option<Reference>>,
    /// Adoptions, in the order of their calls, and clients' slots that were kept for one.
    adoptions: BTreeMap<u64, Adoption>,
    kept: BTreeMap<u32, u32>,
    /// Receives that go on do so on a socket that is lent: a mutant's.
    pub reads_on: bool,
    /// In how many of a hundred the kernel refuses.
    pub refuses: u64,
    /// Chance of its own, so that a run without any of this means what it meant before.
    random: Random,
}

impl Moving {
    pub fn new() -> Moving {
        Moving {
            lent: BTreeMap::new(),
            adoptions: BTreeMap::new(),
            kept: BTreeMap::new(),
            reads_on: false,
            refuses: 0,
            random: Random::new(0),
        }
    }
}

impl Moves for SimRing {
    type Socket = Reference;

    fn lend(&mut self, conn: ConnIndex, generation: u32, side: Side) {
        self.note(|| format!("lend {side:?} of {}", conn.0));
        assert_eq!(generation, self.lives[conn.0 as usize], "{conn:?} lends of another life");
        assert!(self.link_at(conn, side).is_some(), "{conn:?} lends an empty slot");
        let mut ops = self.ops.iter().filter(|op| op.token.kind != OpKind::WaitReadable);
        let busy = ops.find(|op| op.token.conn == conn && op.token.side == side);
        assert!(busy.is_none(), "{conn:?} is lent while {busy:?} is in flight");
        self.submitted.push(Submitted::Lend(conn, side));
    }

    fn lent(&mut self, conn: ConnIndex, side: Side) -> Option<Reference> {
        self.moving.lent.get_mut(&(conn.0, side as usize))?.take()
    }

    fn four_tuple(&self, socket: &Reference) -> Option<FourTuple> {
        Some(address_of(socket.link))
    }

    fn ahead(&self, conn: ConnIndex, side: Side, into: &mut Vec<u8>) -> Result<(), Errno> {
        self.link_at(conn, side).map_or(Ok(()), |link| self.copy_ahead(link, into))
    }

    fn forget(&mut self, conn: ConnIndex, side: Side) {
        self.note(|| format!("forget {side:?} of {}", conn.0));
        self.forget_ahead(conn, side);
    }

    fn adopt(&mut self, key: u32, sockets: BySide<Option<Reference>>) {
        self.note(|| format!("adopt {key}: {sockets:?}"));
        assert!(sockets[Side::Client].is_some(), "a connection has a client");
        let room = |part: &u32| {
            let promised = if *part == self.target { self.promised() } else { 0 };
            self.room(*part).saturating_sub(promised)
        };
        let best = (0..self.shape.parts).max_by_key(room).filter(|part| room(part) > 0);
        let Some(part) = best else {
            let (posted, result) = (self.key(), Err(Errno::ENFILE));
            return self.post(posted, Completion::Adopted { key, result }, true);
        };
        self.seen_clients[part as usize] += 1;
        self.moving.kept.insert(key, part);
        let call = self.key();
        self.moving.adoptions.insert(call, Adoption { key, part, sockets });
        self.submitted.push(Submitted::Adopt(call));
    }
}

impl SimRing {
    /// Slots that accepts may need, or have filled without the worker's having seen it.
    fn promised(&self) -> u32 {
        let goes_on = self.accepts.iter().any(|one| one.mode == AcceptMode::Multishot && !one.over);
        let burst = if goes_on { self.accept_burst() } else { 0 };
        self.armed_credits() + self.accepted_unseen() as u32 + burst
    }

    fn refuses(&mut self) -> bool {
        let percent = self.moving.refuses;
        !self.faults.calm && self.moving.random.percent(percent)
    }

    /// Carries a lend out: receives that go on end first.
    pub fn run_lend(&mut self, conn: ConnIndex, side: Side) {
        if !self.moving.reads_on {
            self.stop_ahead(conn, side);
        }
        let link = self.link_at(conn, side).expect("nothing closes what is being lent");
        let result = if self.refuses() { Err(Errno::EMFILE) } else { Ok(()) };
        let reference = Reference { link, held: self.links[link].holds.held.clone() };
        self.moving.lent.insert((conn.0, side as usize), result.is_ok().then_some(reference));
        let key = self.key();
        self.post(key, Completion::Lent { conn, side, result }, true);
    }

    /// Carries an adoption out.
    pub fn run_adoption(&mut self, call: u64) {
        let adoption = self.moving.adoptions.remove(&call).expect("it was asked for");
        let Adoption { key, part, sockets } = adoption;
        let slot = if self.refuses() { None } else { self.free_slot_of(part) };
        // The second may fail where the first did not, whose slot is empty again then.
        let slot = slot.filter(|_| sockets[Side::Upstream].is_none() || !self.refuses());
        let result = slot.map(ConnIndex).ok_or(Errno::ENFILE);
        if let Ok(conn) = result {
            for side in Side::BOTH {
                let Some(Reference { link, held }) = &sockets[side] else { continue };
                let is_ours = Arc::ptr_eq(&self.links[*link].holds.held, held);
                assert!(is_ours, "a socket of another kernel is adopted");
                let before = self.slots[side as usize][conn.0 as usize].replace(*link);
                assert!(before.is_none(), "{side:?} of {conn:?} was filled");
                self.links[*link].holds.fill();
            }
            self.live += 1;
        }
        self.post_adopted(key, result);
    }

    fn post_adopted(&mut self, key: u32, result: Result<ConnIndex, Errno>) {
        let posted = self.key();
        self.post(posted, Completion::Adopted { key, result }, true);
    }

    /// The worker hears of an adoption.
    pub fn show_adopted(&mut self, key: u32, result: Result<ConnIndex, Errno>) {
        let part = self.moving.kept.remove(&key);
        match (result, part) {
            (Ok(conn), _) => {
                self.note_life(conn);
                self.heard[conn.0 as usize] = self.patient;
            }
            (Err(_), Some(part)) => self.seen_clients[part as usize] -= 1,
            (Err(_), None) => {}
        }
    }

    /// A slot is emptied: the socket that was in it is closed, if nothing else holds it.
    pub fn let_go(&mut self, conn: ConnIndex, side: Side, link: usize) {
        self.moving.lent.remove(&(conn.0, side as usize));
        self.links[link].holds.empty();
        self.close_unheld(link);
    }

    /// Closes the sockets whose last reference went.
    pub fn step_moves(&mut self) {
        for link in 0..self.links.len() {
            if self.links[link].holds.leaves_slots {
                self.close_unheld(link);
            }
        }
    }

    fn close_unheld(&mut self, link: usize) {
        if self.links[link].holds.count() == 0 {
            let now = self.now();
            self.links[link].holds.leaves_slots = false;
            self.links[link].close(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portcullis::ring::{Operation, Operations as _, Ring, Token};

    use crate::link::End;
    use crate::moved::quiet_ring;

    use super::*;

    fn told(ring: &mut SimRing) -> Vec<Completion> {
        ring.turn(Some(std::time::Duration::from_secs(1))).expect("a turn");
        std::iter::from_fn(|| ring.next()).collect()
    }

    fn lend(ring: &mut SimRing) -> (Result<(), Errno>, Option<Reference>) {
        let (conn, side) = (ConnIndex(0), Side::Client);
        ring.lend(conn, ring.lives[0], side);
        let told = told(ring);
        let [Completion::Lent { result, .. }] = told[..] else { panic!("{told:?}") };
        (result, ring.lent(conn, side))
    }

    fn adopt(ring: &mut SimRing, socket: Reference) -> Result<ConnIndex, Errno> {
        ring.adopt(3, BySide([Some(socket), None]));
        let told = told(ring);
        let [Completion::Adopted { key: 3, result }] = told[..] else { panic!("{told:?}") };
        result
    }

    fn close(ring: &mut SimRing, conn: ConnIndex) {
        let generation = ring.lives[conn.0 as usize];
        let token = Token { conn, generation, side: Side::Client, kind: Operation::Close.kind() };
        ring.start(token, Operation::Close);
        assert_eq!(told(ring).len(), 1);
    }

    #[test]
    fn a_socket_ends_when_its_last_slot_and_reference_are_gone() {
        let mut ring = quiet_ring();
        let (_, socket) = lend(&mut ring);
        let conn = adopt(&mut ring, socket.expect("it was lent")).expect("a slot");
        assert_ne!(conn, ConnIndex(0));
        let (_, kept) = lend(&mut ring);
        close(&mut ring, ConnIndex(0));
        close(&mut ring, conn);
        assert_eq!((ring.links[0].closed, ring.live), (false, 0));
        drop(kept);
        ring.settle();
        assert_eq!((ring.links[0].closed, ring.links[0].end), (true, Some(End::Fin)));
        assert_eq!(ring.best_accept_room(), ring.slots());
    }

    #[test]
    fn the_kernel_may_refuse_both_and_the_slot_stays_as_it_was() {
        let mut ring = quiet_ring();
        let socket = lend(&mut ring).1.expect("it was lent");
        (ring.faults.calm, ring.moving.refuses) = (false, 100);
        assert!(matches!(lend(&mut ring), (Err(Errno::EMFILE), None)));
        assert_eq!(adopt(&mut ring, socket), Err(Errno::ENFILE));
        assert_eq!((ring.live, ring.best_accept_room()), (1, ring.slots() - 1));
        assert!(!ring.links[0].closed);
    }

    #[test]
    fn a_full_ring_adopts_nobody_and_no_slot_is_filled_twice() {
        let mut ring = quiet_ring();
        let mut slots = BTreeSet::from([0]);
        for _ in 1..ring.slots() {
            let socket = lend(&mut ring).1.expect("it was lent");
            assert!(slots.insert(adopt(&mut ring, socket).expect("a slot").0));
        }
        let socket = lend(&mut ring).1.expect("it was lent");
        assert_eq!(adopt(&mut ring, socket), Err(Errno::ENFILE));
        assert_eq!((ring.live, ring.accept_room()), (ring.slots(), 0));
    }
}
