//! What must hold while connections are between two processes.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::base::{ConnIndex, OpKind, Side};
use portcullis::config::AtLimit;
use portcullis::conn::Wiring;
use portcullis::courier::Flag;
use portcullis::ring::Completion;

use super::control::Handing;
use super::plan::Step;
use super::run::{Process, Run};
use super::seen::Sight;
use crate::ring::SimRing;

/// Turns of the successor until its predecessor has let go of whom has ended there.
const MOST_ENDED_TURNS: u64 = 100;

/// What is known of connections that moved.
#[derive(Debug, Default)]
pub struct Books {
    /// Clients that only a process had which was ended: what they had is cut.
    pub cut: BTreeSet<usize>,
    /// Servers' sockets that only such a process had: its clients had none when they moved.
    pub cut_servers: BTreeSet<usize>,
    /// Clients that a predecessor has too, each with the server that only such a process had.
    pub left: BTreeSet<(usize, usize)>,
    /// Clients whose end another process had begun when it was ended.
    pub touched: BTreeSet<usize>,
    /// Clients that may be lost with a successor: it said that it may have bytes of theirs.
    pub may_be_lost: BTreeSet<usize>,
}

impl Run {
    /// The worker of a process has turned.
    pub fn check(&mut self, turned: usize) {
        self.check_readers();
        self.check_slots();
        self.check_permits();
        if let Some(mut handing) = self.handing.take() {
            self.check_flags(&handing);
            if turned == handing.successor {
                self.check_ended(&mut handing);
            }
            self.handing = Some(handing);
        }
    }

    fn rings(&mut self) -> impl Iterator<Item = (usize, &SimRing)> {
        self.processes.iter_mut().map(|(number, process)| (*number, &*process.ring()))
    }

    fn two(&mut self, one: usize, other: usize) -> [&mut Process; 2] {
        let mut both = [None, None];
        for (number, process) in &mut self.processes {
            if *number == one {
                both[0] = Some(process);
            } else if *number == other {
                both[1] = Some(process);
            }
        }
        both.map(|process| process.expect("both live"))
    }

    /// One process at most has anything in flight on a socket, but to empty its slot, or to hear
    /// that bytes are there.
    fn check_readers(&mut self) {
        let mut users: BTreeMap<usize, (usize, OpKind)> = BTreeMap::new();
        let (mut waits, mut is_shared) = (BTreeMap::new(), false);
        for (number, ring) in self.rings() {
            for op in ring.ops.iter().filter(|op| op.token.kind != OpKind::Close) {
                let Some(link) = ring.link_at(op.token.conn, op.token.side) else { continue };
                if op.token.kind == OpKind::WaitReadable {
                    is_shared |= *waits.entry(link).or_insert(number) != number;
                    continue;
                }
                let (other, kind) = *users.entry(link).or_insert((number, op.token.kind));
                assert!(
                    other == number,
                    "two processes use link {link}: {kind:?} in {other}, {:?} in {number}",
                    op.token
                );
            }
        }
        if is_shared {
            self.seen.note(Sight::WaitKept);
        }
    }

    /// A socket is in as many slots as have it.
    fn check_slots(&mut self) {
        let mut filled: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, ring) in self.rings() {
            for link in ring.slots.iter().flatten().flatten() {
                *filled.entry(*link).or_default() += 1;
            }
        }
        for (link, slots) in filled {
            let link = &self.shared.links[link];
            assert!(link.holds.count() >= slots, "slots were miscounted: {link:?}");
            assert!(!link.closed, "a socket was closed in {slots} slots: {link:?}");
        }
    }

    /// Every connection has a permit, in each process that has it, and no more are used.
    fn check_permits(&mut self) {
        if self.plan.scenario.at_limit == AtLimit::Reset {
            return;
        }
        let elsewhere = |number: usize| match &self.handing {
            Some(handing) if handing.successor == number => handing.elsewhere.all(),
            _ => 0,
        };
        let elsewhere: BTreeMap<usize, u32> =
            self.processes.keys().map(|number| (*number, elsewhere(*number))).collect();
        let mut all: BTreeSet<usize> = BTreeSet::new();
        let limit = self.plan.scenario.budget;
        for (number, process) in &mut self.processes {
            let (used, leased) = (process.budget.used(), process.budget.leased());
            let open = process.tally.open.get() as u32 + elsewhere[number];
            let ring = process.ring();
            // Clients that came into a slot whose last one has not been heard of to be gone.
            let between = ring.unheard_closes.len() as u32;
            assert!(
                used >= open && used <= open + between,
                "permits of process {number} were miscounted: {used} used, {open} open"
            );
            let held = ring.live_clients() - unseen(ring) + ring.armed_credits();
            assert!(
                held + elsewhere[number] <= leased,
                "{held} clients and credits of process {number} on {leased} permits"
            );
            let is_over = |slot: usize| {
                let handing = self.handing.as_ref().filter(|one| one.predecessor == *number);
                handing.is_some_and(|one| one.flags.of(slot as u32) == Flag::Ended)
            };
            let slots = ring.slots[Side::Client as usize].iter().enumerate();
            all.extend(slots.filter(|(slot, _)| !is_over(*slot)).filter_map(|(_, client)| *client));
        }
        assert!(all.len() as u32 <= limit, "{} connections, {limit} may be", all.len());
        for (listener, most) in self.plan.scenario.quotas.iter().enumerate() {
            let Some(most) = *most else { continue };
            let of_it = all.iter().filter(|client| self.shared.origin[*client] == listener);
            let count = of_it.count() as u32;
            assert!(count <= most, "{count} connections of listener {listener}, {most} may be");
        }
    }

    /// A connection whose flag says that nothing of it is in hand has nothing in the successor that
    /// a receive has brought or could bring.
    fn check_flags(&mut self, handing: &Handing) {
        let (predecessor, successor) = (handing.predecessor, handing.successor);
        if !self.processes.contains_key(&successor) || handing.is_kept() {
            return;
        }
        let Some(process) = self.processes.get_mut(&predecessor) else { return };
        let lent = lent_by(process, handing);
        let ring = self.processes.get_mut(&successor).expect("it lives").ring();
        for (client, (slot, flag)) in lent {
            let Some(conn) = slot_of(ring, client) else { continue };
            assert!(flag != Flag::Ended, "the flag of slot {slot} says ended, and it lives");
            if flag != Flag::Idle {
                continue;
            }
            let brings = |kind| matches!(kind, OpKind::Receive | OpKind::Splice | OpKind::Send);
            let busy = ring.ops.iter().find(|op| op.token.conn == conn && brings(op.token.kind));
            assert!(busy.is_none(), "the flag of slot {slot} says idle, and in flight is {busy:?}");
            for side in Side::BOTH {
                let Some(link) = ring.link_at(conn, side) else { continue };
                let has_ahead = self.shared.has_ahead(successor, link);
                assert!(!has_ahead, "the flag of slot {slot} says idle with bytes ahead");
            }
        }
    }

    /// The predecessor lets go of whom has ended in the successor.
    fn check_ended(&mut self, handing: &mut Handing) {
        let Some(process) = self.processes.get_mut(&handing.predecessor) else { return };
        if handing.step == Step::TakingBack {
            return;
        }
        let mut lent = lent_by(process, handing);
        // A wait that was kept can escape its cancel, and has to be cancelled once more.
        let waits = process.ring().ops.iter().map(|op| op.token.conn.0);
        let waits: BTreeSet<u32> = waits.collect();
        let ends = &self.processes.get_mut(&handing.successor).expect("it turned").ring().ends;
        lent.retain(|client, _| ends.of(*client).is_some());
        handing.turned += 1;
        let turned = handing.turned;
        handing.ended.retain(|client, _| lent.contains_key(client));
        for (client, (slot, _)) in lent.iter().filter(|(_, (_, flag))| *flag == Flag::Ended) {
            let since = *handing.ended.entry(*client).or_insert(turned);
            let is_late = turned > since + MOST_ENDED_TURNS && !waits.contains(slot);
            assert!(!is_late, "slot {slot} is kept for who ended {MOST_ENDED_TURNS} turns ago");
        }
    }

    /// The successor is about to be ended: who may be lost with it, and who is cut.
    pub fn take_snapshot(&mut self, handing: &Handing) {
        let (predecessor, successor) = (handing.predecessor, handing.successor);
        let Some(process) = self.processes.get_mut(&predecessor) else { return };
        let lent = lent_by(process, handing);
        let ring = self.processes.get_mut(&successor).expect("it lives").ring();
        for (client, (_, flag)) in &lent {
            if *flag == Flag::InHand {
                self.books.may_be_lost.insert(*client);
            }
            let Some(conn) = slot_of(ring, *client) else { continue };
            match flag {
                Flag::InHand => {}
                Flag::Idle => self.seen.note(Sight::TakenBack),
                Flag::Ended => {}
            }
            if ring.is_ending(conn) {
                self.books.touched.insert(*client);
            }
        }
    }

    /// A process ends: whom no other has is cut.
    pub fn note_cut(&mut self, number: usize, process: &mut Process) {
        let [cut, cut_servers] = Side::BOTH.map(|side| {
            let own = process.ring().slots[side as usize].clone();
            let others: BTreeSet<usize> = self
                .rings()
                .filter(|(other, _)| *other != number)
                .flat_map(|(_, ring)| ring.slots[side as usize].iter().flatten().copied())
                .collect();
            let own = own.into_iter().flatten();
            own.filter(move |link| !others.contains(link)).collect::<Vec<_>>()
        });
        let slots = &process.ring().slots;
        let pairs = slots[Side::Client as usize].iter().zip(&slots[Side::Upstream as usize]);
        let pairs: Vec<_> = pairs.filter_map(|(client, server)| client.zip(*server)).collect();
        let predecessors = self.processes.range_mut(..number);
        let theirs: BTreeSet<usize> = predecessors
            .flat_map(|(_, one)| one.ring().slots[Side::Client as usize].clone())
            .flatten()
            .collect();
        let left = pairs.into_iter().filter(|(client, _)| theirs.contains(client));
        self.books.left.extend(left.filter(|(_, server)| cut_servers.contains(server)));
        self.books.cut.extend(cut);
        self.books.cut_servers.extend(cut_servers);
    }

    /// The predecessor is about to leave: whatever it has lives on, or has ended, in the successor.
    pub fn check_left(&mut self, handing: &Handing) {
        let (predecessor, successor) = (handing.predecessor, handing.successor);
        let [successors, _] = self.two(successor, predecessor);
        let successors = successors.ring();
        let clients: BTreeSet<usize> =
            successors.slots[Side::Client as usize].iter().flatten().copied().collect();
        let wirings = &self.plan.scenario.wirings;
        let of_pairs = self.shared.origin.iter().filter(|(_, at)| wirings[**at] == Wiring::Pair);
        let of_pairs: BTreeSet<usize> = of_pairs.map(|(client, _)| *client).collect();
        let [successors, process] = self.two(successor, predecessor);
        let successors = successors.ring();
        let (mut moved, mut unserved, mut left) = (0, 0, Vec::new());
        for (slot, client) in process.ring().slots[Side::Client as usize].clone().iter().enumerate()
        {
            let Some(client) = client else { continue };
            let phase = process.worker.phase(ConnIndex(slot as u32));
            match handing.flags.of(slot as u32) {
                _ if clients.contains(client) => {
                    moved += 1;
                    let server = process.ring().slots[Side::Upstream as usize][slot];
                    unserved += u64::from(server.is_none() && of_pairs.contains(client));
                }
                Flag::Ended => {}
                // It empties its slots just now.
                _ if successors.ends.of(*client).is_some() => {}
                _ => left.push((slot, *client, phase)),
            }
        }
        self.seen.add(Sight::Moved, moved);
        self.seen.add(Sight::UnservedMoved, unserved);
        assert!(left.is_empty(), "connections end with the predecessor: {left:?}");
    }
}

/// By client: the slot of the predecessor, and its flag.
fn lent_by(process: &mut Process, handing: &Handing) -> BTreeMap<usize, (u32, Flag)> {
    let slots = process.ring().slots[Side::Client as usize].iter().enumerate();
    let lent = slots.filter_map(|(slot, client)| Some(((*client)?, slot as u32)));
    lent.map(|(client, slot)| (client, (slot, handing.flags.of(slot)))).collect()
}

fn slot_of(ring: &SimRing, client: usize) -> Option<ConnIndex> {
    let slots = &ring.slots[Side::Client as usize];
    slots.iter().position(|one| *one == Some(client)).map(|slot| ConnIndex(slot as u32))
}

/// Adoptions that the worker has not heard of.
fn unseen(ring: &SimRing) -> u32 {
    let posted = ring.posted.iter().chain(&ring.out);
    let is_one =
        |completion: &Completion| matches!(completion, Completion::Adopted { result: Ok(_), .. });
    posted.filter(|posted| is_one(&posted.completion)).count() as u32
}
