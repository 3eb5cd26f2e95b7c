//! Departures: connections go to the workers of a successor, a batch at a time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::bits::Bits;
use super::ended::EndedThere;
use super::pass::Pass;
use super::way::{Sent, UNANSWERED_MAX, Way};
use super::{Depart, Departures};
use crate::base::{ConnIndex, Errno, Millis, Side};
use crate::conn::{Event, Phase, Wiring};
use crate::courier::Flag;
use crate::ring::{Accepts as _, Moves as _, Ring};
use crate::wire::handover::{Batch, Departure, MAX_RECORDS, Message, RECORD_BYTES, Taken};
use crate::worker::Worker;

/// Connections that may be on their way out at once: what is out of service for a moment.
const UNDERWAY_MAX: usize = 4 * MAX_RECORDS;
/// Bytes that may be packed: where connections have much in hand, fewer depart at once.
const PACKED_BYTES: usize = 8 << 20;
/// Connections on a way of which nothing has been heard yet: the worker at its other end may only
/// be beginning to look, and a pass begins with those that are most active.
const FIRST_MAX: usize = 4;
/// Slots that a turn looks at. Most are vacant or have departed.
pub(super) const VISITS: u32 = 4096;
/// Connections that a turn asks to depart.
const ASKED: usize = MAX_RECORDS;
/// How long a connection may take to depart until it goes on here, to be asked again later.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two passes over those that could not go.
const PASS_EVERY: Duration = Duration::from_millis(50);
/// Between two looks for answers where nothing else wakes the worker.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The connections that leave a worker.
#[derive(Debug)]
pub(in crate::worker) struct Leaving<S> {
    pub(super) ways: Vec<Way<S>>,
    /// The way that the next batch takes.
    next_way: usize,
    pub(super) flags_at: u64,
    /// The successor takes clients that have no server yet.
    takes_unserved: bool,
    pub(super) departures: Arc<Departures>,
    /// The pass that is under way, and when the next one may begin.
    pass: Option<Pass>,
    next_pass: Millis,
    /// Asked, and not departed: until when they may take.
    pub(super) asked: BTreeMap<ConnIndex, Millis>,
    /// Sockets that are being lent, so many of each.
    pub(super) lending: HashMap<ConnIndex, u8>,
    /// Lent, and not sent.
    packed: VecDeque<Packed<S>>,
    /// Another process has it, or may have.
    pub(super) custody: Bits,
    /// It was sent, perhaps as another connection's: its flag may say anything.
    flagged: Bits,
    numbers: u32,
    /// Those that are left once no client comes any more.
    pub(super) rest: Rest,
    /// It takes back: the next slot.
    pub(super) reclaim: Option<u32>,
    /// What has ended in the successor is counted there, and here if that fails.
    pub(super) ended: Vec<EndedThere>,
}

/// A connection that is ready to be sent.
#[derive(Debug)]
struct Packed<S> {
    index: ConnIndex,
    departure: Departure,
    sockets: Vec<S>,
}

/// Those that are left.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Where they are, once they were counted; some of these slots may be vacant since.
    pub(super) slots: Option<Vec<ConnIndex>>,
    /// They cannot go, and are ended.
    pub(super) ending: Option<Ending>,
}

/// The pace of an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) interval: Duration,
    /// When the next one's turn is.
    pub(super) next: Millis,
}

impl<S> Leaving<S> {
    pub(in crate::worker) fn new(order: Depart<S>, slots: u32, now: Millis) -> Leaving<S> {
        let Depart { links, flags_at, takes_unserved, departures } = order;
        Leaving {
            ways: links.into_iter().map(Way::new).collect(),
            next_way: 0,
            flags_at,
            takes_unserved,
            departures,
            pass: None,
            next_pass: now,
            asked: BTreeMap::new(),
            lending: HashMap::new(),
            packed: VecDeque::new(),
            custody: Bits::new(slots),
            flagged: Bits::new(slots),
            numbers: 0,
            rest: Rest::default(),
            reclaim: None,
            ended: Vec::new(),
        }
    }

    /// Another process has the connection of a slot, or may have.
    pub(in crate::worker) fn has_custody(&self, index: ConnIndex) -> bool {
        self.custody.has(index.0)
    }

    pub(super) fn set_custody(&mut self, index: ConnIndex, is: bool) {
        self.custody.set(index.0, is);
    }

    /// When it is to go on even if nothing completes.
    pub(in crate::worker) fn next(&self, now: Millis) -> Millis {
        let goes_on = self.reclaim.is_some() || self.pass.is_some() && self.room() > 0;
        if goes_on { now } else { now.after(LOOK_EVERY) }
    }

    /// Those that were sent, and perhaps are taken.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = ConnIndex> {
        let unanswered = self.ways.iter().flat_map(|way| &way.unanswered);
        unanswered.flat_map(|(_, members)| members.iter().copied())
    }

    /// How many more may be asked to depart. Who could not be sent when he has departed would be
    /// out of service for nothing.
    fn room(&self) -> usize {
        let most = |way: &Way<S>| match way.has_answered {
            true => UNANSWERED_MAX * MAX_RECORDS,
            false => FIRST_MAX,
        };
        let packed_bytes: usize = self.packed.iter().map(|one| one.departure.bytes()).sum();
        if packed_bytes > PACKED_BYTES {
            return 0;
        }
        let sent_max: usize = self.ways.iter().map(most).sum();
        let sendable = sent_max.saturating_sub(self.unanswered().count());
        UNDERWAY_MAX.min(sendable).saturating_sub(self.underway())
    }

    fn underway(&self) -> usize {
        let in_pieces: usize = self.ways.iter().map(Way::in_pieces).sum();
        self.asked.len() + self.lending.len() + self.packed.len() + in_pieces
    }

    /// Takes back what it can, from the next turn on.
    pub(in crate::worker) fn take_back(&mut self) {
        self.reclaim.get_or_insert(0);
        self.packed.clear();
        self.ways.iter_mut().for_each(Way::keep_back);
        self.rest = Rest::default();
    }
}

impl<R: Ring> Worker<R> {
    /// Carries departures on by one step.
    pub(in crate::worker) fn run_departures(&mut self) {
        let Some(mut leaving) = self.leaving.take() else { return };
        if leaving.reclaim.is_some() {
            let is_over = self.reclaim(&mut leaving);
            self.leaving = (!is_over).then_some(leaving);
            return;
        }
        self.hear_answers(&mut leaving);
        self.give_up_slow(&mut leaving);
        self.send_batches(&mut leaving);
        self.leaving = Some(leaving);
        self.ask_to_depart();
        self.end_rest_at_pace();
        self.say_how_far();
    }

    /// Asks the next connections of the pass.
    fn ask_to_depart(&mut self) {
        let now = self.time.now();
        let Some(leaving) = &self.leaving else { return };
        let (pass, room) = (leaving.pass, leaving.room().min(ASKED));
        let takes_unserved = leaving.takes_unserved;
        if pass.is_none() && now < leaving.next_pass {
            return;
        }
        let mut pass = pass.unwrap_or_else(|| self.begin_pass());
        let (from, mut asked, mut is_over) = (pass.past, 0, false);
        while asked < room && pass.past - from < VISITS {
            let Some(index) = self.next_of_pass(&mut pass) else {
                is_over = true;
                break;
            };
            let is_joined = self.lives.entry(index).conn.can_depart() && self.may_depart(index);
            let may_go = is_joined || takes_unserved && self.may_withdraw(index);
            if !may_go {
                continue;
            }
            asked += 1;
            if let Some(leaving) = &mut self.leaving {
                leaving.asked.insert(index, now.after(PATIENCE));
            }
            match is_joined {
                true => {
                    let keeps_waits = !self.ring.is_secured(index);
                    self.apply(index, Event::Depart { keeps_waits });
                }
                false => self.withdraw(index),
            }
        }
        let Some(leaving) = &mut self.leaving else { return };
        leaving.pass = Some(pass).filter(|_| !is_over);
        if is_over {
            leaving.next_pass = now.after(PASS_EVERY);
            leaving.departures.passes.fetch_add(1, Relaxed);
        }
    }

    /// Nothing of a connection is in flight: its sockets are lent.
    pub(in crate::worker) fn departed(&mut self, index: ConnIndex) {
        let wants = self.leaving.as_mut().is_some_and(|leaving| {
            leaving.reclaim.is_none() && leaving.asked.remove(&index).is_some()
        });
        if !wants {
            return self.go_on_here(index);
        }
        let sides = self.sides_of(index);
        if let Some(leaving) = &mut self.leaving {
            leaving.lending.insert(index, sides.len() as u8);
        }
        let generation = self.lives.entry(index).generation;
        sides.iter().for_each(|side| self.ring.lend(index, generation, *side));
    }

    /// The sides of a departed connection that have sockets.
    fn sides_of(&mut self, index: ConnIndex) -> &'static [Side] {
        let is_pair = !self.unserved.is_away(index)
            && self.lives.entry(index).conn.passport().wiring == Wiring::Pair;
        if is_pair { &Side::BOTH } else { &[Side::Client] }
    }

    /// A socket was lent, or could not be.
    pub(in crate::worker) fn lent(&mut self, index: ConnIndex) {
        let Some(leaving) = &mut self.leaving else {
            Side::BOTH.iter().for_each(|side| drop(self.ring.lent(index, *side)));
            return;
        };
        let Some(sides) = leaving.lending.get_mut(&index) else { return };
        *sides -= 1;
        if *sides > 0 {
            return;
        }
        leaving.lending.remove(&index);
        let goes_back = leaving.reclaim.is_some();
        let sides = self.sides_of(index);
        let sockets: Vec<_> =
            sides.iter().filter_map(|side| self.ring.lent(index, *side)).collect();
        if let Some(client) = sockets.first() {
            self.make_header_of(index, client);
        }
        let departure = (!goes_back && sockets.len() == sides.len()).then(|| self.pack(index));
        match (departure.flatten(), &mut self.leaving) {
            (Some(departure), Some(leaving)) => {
                leaving.packed.push_back(Packed { index, departure, sockets });
            }
            _ => self.stay(index),
        }
    }

    /// Sends what is packed, while the successor answers.
    fn send_batches(&mut self, leaving: &mut Leaving<R::Socket>) {
        for way in 0..leaving.ways.len() {
            let sent = leaving.ways[way].go_on();
            self.is_sent(leaving, way, sent);
        }
        let is_pass_over = leaving.asked.is_empty() && leaving.lending.is_empty();
        while leaving.packed.len() >= MAX_RECORDS || is_pass_over && !leaving.packed.is_empty() {
            let ways = leaving.ways.len();
            let mut ways_on = (0..ways).map(|nth| (leaving.next_way + nth) % ways);
            let Some(way) = ways_on.find(|way| leaving.ways[*way].is_free()) else { return };
            if !self.send_batch(leaving, way) {
                return;
            }
            leaving.next_way = (way + 1) % ways;
        }
    }

    /// Sends one batch on this way; says whether it went.
    fn send_batch(&mut self, leaving: &mut Leaving<R::Socket>, way: usize) -> bool {
        let number = leaving.numbers;
        let mut batch = Batch { number, records: Vec::new() };
        let (mut members, mut sockets, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(packed) =
            leaving.packed.pop_front_if(|packed| batch.has_room_for(&packed.departure))
        {
            members.push(packed.index);
            batch.records.push(packed.departure);
            counts.push(packed.sockets.len());
            sockets.extend(packed.sockets);
        }
        for index in &members {
            if leaving.flagged.set(index.0, true) {
                // An earlier connection of the slot has left something there, which says nothing of
                // this one.
                let at = leaving.flags_at + u64::from(index.0);
                leaving.ways[way].link.set_flag(at, Flag::Idle);
            }
        }
        let sent = leaving.ways[way].send(&batch, members, &mut sockets);
        let was_begun = !matches!(sent, Sent::Not(_));
        leaving.numbers = number.wrapping_add(was_begun.into());
        match sent {
            Sent::Not(members) => {
                let mut sockets = sockets.into_iter();
                let again = members.into_iter().zip(batch.records).zip(counts);
                let again = again.map(|((index, departure), count)| Packed {
                    index,
                    departure,
                    sockets: sockets.by_ref().take(count).collect(),
                });
                let again: Vec<_> = again.collect();
                again.into_iter().rev().for_each(|packed| leaving.packed.push_front(packed));
            }
            sent => self.is_sent(leaving, way, sent),
        }
        was_begun
    }

    fn is_sent(&mut self, leaving: &mut Leaving<R::Socket>, way: usize, sent: Sent) {
        match sent {
            Sent::Whole => {
                let (_, members) = leaving.ways[way].unanswered.back().expect("it was just sent");
                for index in members {
                    leaving.custody.set(index.0, true);
                }
            }
            Sent::Partly | Sent::Not(_) => {}
            Sent::Cut(members) => members.into_iter().for_each(|index| self.stay(index)),
        }
    }

    /// Hears what the successor has taken, and what of that has ended there.
    fn hear_answers(&mut self, leaving: &mut Leaving<R::Socket>) {
        let mut heard = Vec::new();
        for (nth, way) in leaving.ways.iter_mut().enumerate() {
            let mut bytes = Vec::new();
            loop {
                match way.link.receive(&mut bytes) {
                    Ok(_) => match Message::decode(&bytes, RECORD_BYTES) {
                        Ok(message) => heard.push((nth, message)),
                        Err(bad) => {
                            tracing::error!(%bad, "a successor's message is not understood");
                            way.is_cut = true;
                            break;
                        }
                    },
                    Err(Errno::EAGAIN | Errno::EINTR) => break,
                    Err(_) => {
                        way.is_cut = true;
                        break;
                    }
                }
            }
        }
        for (way, message) in heard {
            match message {
                Message::Taken(taken) => self.answered(leaving, way, taken),
                Message::Ended(ended) => {
                    for index in ended.slots.into_iter().map(ConnIndex) {
                        self.let_go(leaving, index);
                    }
                }
                Message::Batch(_) => leaving.ways[way].is_cut = true,
            }
        }
    }

    fn answered(&mut self, leaving: &mut Leaving<R::Socket>, way: usize, answer: Taken) {
        let Taken { number, taken } = answer;
        let unanswered = &mut leaving.ways[way].unanswered;
        let Some(place) = unanswered.iter().position(|(sent, _)| *sent == number) else {
            leaving.ways[way].is_cut = true;
            return;
        };
        let (_, members) = unanswered.remove(place).expect("it was just found");
        leaving.ways[way].has_answered = true;
        for (nth, index) in members.into_iter().enumerate() {
            if taken & 1 << nth != 0 {
                leaving.departures.taken.fetch_add(1, Relaxed);
                continue;
            }
            leaving.departures.refused.fetch_add(1, Relaxed);
            leaving.set_custody(index, false);
            self.stay(index);
        }
    }

    /// A connection has ended in the successor: its slots here are emptied, and the kernel sends
    /// what the successor's close had to leave to the last that has the socket.
    pub(super) fn let_go(&mut self, leaving: &mut Leaving<R::Socket>, index: ConnIndex) {
        let is_lent = index.0 < self.ring.slots() && leaving.has_custody(index);
        if !is_lent || self.lives.entry(index).conn.phase() != Phase::Departed {
            return;
        }
        leaving.departures.ended.fetch_add(1, Relaxed);
        Side::BOTH.iter().for_each(|side| self.ring.forget(index, *side));
        self.apply(index, Event::Gone);
    }

    /// Those that do not come to rest go on.
    fn give_up_slow(&mut self, leaving: &mut Leaving<R::Socket>) {
        let now = self.time.now();
        let slow = leaving.asked.iter().filter(|(_, until)| **until <= now);
        let slow: Vec<ConnIndex> = slow.map(|(index, _)| *index).collect();
        for index in slow {
            leaving.asked.remove(&index);
            self.apply(index, Event::Stay);
        }
    }

    fn say_how_far(&mut self) {
        let open = self.lives.open();
        let is_shut = self.admission.is_over() && self.lives.all_have_begun();
        let Some(leaving) = &self.leaving else { return };
        let lent = leaving.custody.count();
        // The successor counts whom it has taken; until it has, they count here.
        let unanswered = leaving.unanswered().count() as u32;
        let departures = &leaving.departures;
        departures.left.store(open.saturating_sub(lent) + unanswered, Relaxed);
        departures.is_still.store(leaving.underway() == 0 && unanswered == 0, Relaxed);
        departures.is_cut_off.fetch_or(leaving.ways.iter().any(|way| way.is_cut), Relaxed);
        if is_shut {
            self.count_rest();
        }
        if let Some(leaving) = &self.leaving {
            let is_counted = leaving.rest.slots.is_some();
            leaving.departures.is_shut.store(is_shut && is_counted, Relaxed);
        }
    }
}
