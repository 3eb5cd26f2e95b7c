//! Arrivals: connections that come from the workers of a predecessor.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::brought::Brought;
use super::custody::Custody;
use super::extras::wiring_of;
use super::{Arrivals, Arrive, Numbers};
use crate::base::{BySide, ConnIndex, Errno, Micros, Millis, RouteId, ServerId, Side, Tick};
use crate::conn::{Connection, Passport, Phase, Wiring};
use crate::courier::{Flag, Link, may_go_later};
use crate::ring::{Accepts as _, Moves as _, Ring};
use crate::upstream::Tried;
use crate::wire::handover::{Batch, Departure, ENDED_MAX, Ended, Message, Pieces, Record, Taken};
use crate::worker::Worker;
use crate::worker::table::{ConnectTime, CountedServer};

/// Batches that are taken up in a turn.
const BATCHES: usize = 2;
/// How soon a receive that waits is cancelled while a predecessor could take its connection back:
/// one that waits may have bytes in hand at any moment, and whose bytes are in hand is lost then.
const QUIET_AFTER: Duration = Duration::from_millis(100);
/// Between two looks for a message where nothing else wakes the worker.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The connections that come to a worker, and those that have come and that the predecessor could
/// still take back.
#[derive(Debug)]
pub(in crate::worker) struct Arriving<S> {
    pub(super) ways: Vec<Way<S>>,
    record_bytes: usize,
    numbers: Arc<Numbers>,
    arrivals: Arc<Arrivals>,
    /// By key: what is being put into slots.
    coming: HashMap<u32, Coming>,
    keys: u32,
    /// What is in slots whose last connection has not been heard of to be gone: rare.
    behind: HashMap<ConnIndex, Coming>,
    /// By slot: what has come, and where it was. As long as there are slots, or empty: to grow it
    /// among connections that wait would hold all of them up.
    pub(super) custody: Vec<Option<Custody>>,
    /// Nobody can take anything back any more.
    keeps: bool,
}

/// A way from a worker of the predecessor.
#[derive(Debug)]
pub(super) struct Way<S> {
    pub(super) link: Box<dyn Link<S>>,
    pub(super) flags_at: u64,
    /// Batches of which not all members are answered.
    open: Vec<Answer>,
    /// Slots whose connection has ended here, not told yet.
    ended: Vec<u32>,
    /// What could not be sent yet.
    unsent: Vec<Vec<u8>>,
    /// Of a batch that has not come whole.
    pieces: Pieces,
    is_cut: bool,
}

#[derive(Debug)]
struct Answer {
    number: u32,
    taken: u64,
    left: usize,
}

/// A connection whose sockets are on their way into slots.
#[derive(Debug)]
struct Coming {
    way: usize,
    number: u32,
    place: usize,
    record: Record,
    brought: Brought,
    route: RouteId,
    server: Option<ServerId>,
    /// `None`: it has no server yet.
    wiring: Option<Wiring>,
    /// The client's address, where its source is to be counted.
    peer: Option<IpAddr>,
}

/// What a record is of, where this version knows it: a connection of a wiring, or a client without
/// a server.
#[derive(Clone, Copy, Debug)]
struct Known(Option<Wiring>);

impl Known {
    fn of(record: &Record) -> Option<Known> {
        match record.wiring {
            Record::UNSERVED => Some(Known(None)),
            number => wiring_of(number).map(|wiring| Known(Some(wiring))),
        }
    }
}

impl<S> Arriving<S> {
    fn new(order: Arrive<S>, slots: u32) -> Arriving<S> {
        let Arrive { links, record_bytes, numbers, arrivals } = order;
        let way = |(link, flags_at)| Way {
            link,
            flags_at,
            open: Vec::new(),
            ended: Vec::new(),
            unsent: Vec::new(),
            pieces: Pieces::default(),
            is_cut: false,
        };
        Arriving {
            ways: links.into_iter().map(way).collect(),
            record_bytes,
            numbers,
            arrivals,
            coming: HashMap::new(),
            keys: 0,
            behind: HashMap::new(),
            custody: vec![None; slots as usize],
            keeps: false,
        }
    }

    /// What has come is this worker's alone; what is on its way still comes.
    fn keep(&mut self) {
        self.keeps = true;
        self.custody = Vec::new();
    }

    /// Nothing is on its way into slots.
    pub(in crate::worker) fn is_still(&self) -> bool {
        self.coming.is_empty() && self.behind.is_empty()
    }

    /// Nothing comes any more.
    fn is_over(&self) -> bool {
        self.keeps && self.is_still() && self.ways.iter().all(|way| way.is_cut)
    }

    /// When it is to go on even if nothing completes.
    pub(in crate::worker) fn next(&self, now: Millis) -> Millis {
        now.after(LOOK_EVERY)
    }

    /// Nobody but the predecessor has it besides.
    fn has_come(&mut self, index: ConnIndex, custody: Custody) {
        if !self.keeps {
            self.custody[index.0 as usize] = Some(custody);
        }
    }

    /// A connection is over.
    pub(in crate::worker) fn end(&mut self, index: ConnIndex) {
        self.flag(index, Flag::Ended);
        let held = self.custody.get_mut(index.0 as usize).and_then(Option::take);
        if let Some(Custody { way, slot, .. }) = held {
            self.ways[usize::from(way)].ended.push(slot);
            self.arrivals.ended.fetch_add(1, Relaxed);
        }
    }

    /// One of a batch is answered; the answer goes with the last.
    fn answer(&mut self, way: usize, number: u32, place: usize, is_taken: bool) {
        let counter = if is_taken { &self.arrivals.taken } else { &self.arrivals.refused };
        counter.fetch_add(1, Relaxed);
        let way = &mut self.ways[way];
        let Some(at) = way.open.iter().position(|answer| answer.number == number) else { return };
        let answer = &mut way.open[at];
        answer.taken |= u64::from(is_taken) << place;
        answer.left -= 1;
        if answer.left == 0 {
            let Answer { number, taken, .. } = way.open.swap_remove(at);
            let mut bytes = Vec::new();
            Taken { number, taken }.encode(&mut bytes);
            way.unsent.push(bytes);
        }
    }

    /// Sends what is to be told.
    fn tell(&mut self) {
        for way in &mut self.ways {
            for slots in std::mem::take(&mut way.ended).chunks(ENDED_MAX) {
                let mut bytes = Vec::new();
                Ended { slots: slots.to_vec() }.encode(&mut bytes);
                way.unsent.push(bytes);
            }
            let mut sent = 0;
            for bytes in &way.unsent {
                match way.link.send(bytes, &[]) {
                    Ok(()) => sent += 1,
                    Err(errno) if may_go_later(errno) => break,
                    Err(_) => {
                        // What has come before its end is received still: nobody else has it.
                        sent = way.unsent.len();
                        self.arrivals.is_cut_off.store(true, Relaxed);
                        break;
                    }
                }
            }
            way.unsent.drain(..sent);
            if way.is_cut {
                self.arrivals.is_cut_off.store(true, Relaxed);
            }
        }
    }
}

impl<R: Ring> Worker<R> {
    /// Connections come from here on.
    pub(in crate::worker) fn begin_arrivals(&mut self, order: Arrive<R::Socket>) {
        self.arriving = Some(Arriving::new(order, self.ring.slots()));
        self.lives.set_quiet_after(self.quiet_after());
    }

    /// What has come is this worker's alone.
    pub(in crate::worker) fn keep_arrivals(&mut self) {
        if let Some(arriving) = &mut self.arriving {
            arriving.keep();
        }
        self.lives.set_quiet_after(self.quiet_after());
    }

    /// For how long a receive may wait.
    pub(in crate::worker) fn quiet_after(&self) -> Duration {
        let asked = self.plan.settings.quiet.after;
        let is_custody = self.arriving.as_ref().is_some_and(|arriving| !arriving.keeps);
        if is_custody { asked.min(QUIET_AFTER) } else { asked }
    }

    /// Carries arrivals on by one step.
    pub(in crate::worker) fn run_arrivals(&mut self) {
        let Some(mut arriving) = self.arriving.take() else { return };
        let mut heard = Vec::new();
        for (nth, way) in arriving.ways.iter_mut().enumerate().filter(|(_, way)| !way.is_cut) {
            for _ in 0..BATCHES {
                let mut bytes = Vec::new();
                match way.link.receive(&mut bytes) {
                    Ok(sockets) => heard.push((nth, bytes, sockets)),
                    Err(Errno::EAGAIN | Errno::EINTR) => break,
                    // A batch that is lost, without its descriptors, the predecessor still has.
                    Err(_) => {
                        way.is_cut = true;
                        break;
                    }
                }
            }
        }
        for (way, bytes, sockets) in heard {
            let whole = match arriving.ways[way].pieces.add(bytes) {
                // Sockets come with the last piece.
                Ok(None) => continue,
                Ok(Some(whole)) => Message::decode(&whole, arriving.record_bytes),
                Err(bad) => Err(bad),
            };
            match whole {
                Ok(Message::Batch(batch)) => self.take_batch(&mut arriving, way, batch, sockets),
                other => {
                    tracing::error!(?other, "a predecessor's message is no batch");
                    arriving.ways[way].is_cut = true;
                }
            }
        }
        arriving.tell();
        let is_over = arriving.is_over();
        arriving.arrivals.is_over.store(is_over, Relaxed);
        self.arriving = Some(arriving).filter(|_| !is_over);
    }

    fn take_batch(
        &mut self,
        arriving: &mut Arriving<R::Socket>,
        way: usize,
        batch: Batch,
        sockets: Vec<R::Socket>,
    ) {
        let Batch { number, records } = batch;
        let left = records.len();
        arriving.ways[way].open.push(Answer { number, taken: 0, left });
        let mut sockets = sockets.into_iter();
        for (place, departure) in records.into_iter().enumerate() {
            let known = Known::of(&departure.record);
            let count = departure.record.sockets();
            let own: Vec<_> = sockets.by_ref().take(count).collect();
            let whole = own.len() == count;
            let known = known.filter(|_| whole && departure.record.is_understood());
            let parties = known.and_then(|_| self.parties_of(&arriving.numbers, &departure.record));
            let Departure { record, in_hand, extras } = departure;
            let brought = known.filter(|_| parties.is_some());
            let brought = brought.and_then(|Known(wiring)| self.unpack(wiring, in_hand, &extras));
            let (Some(Known(wiring)), Some((route, server)), Some(brought)) =
                (known, parties, brought)
            else {
                arriving.answer(way, number, place, false);
                continue;
            };
            let mut own = own.into_iter();
            let own = BySide([own.next(), own.next()]);
            let client = own[Side::Client].as_ref();
            let peer = client.and_then(|client| self.peer_to_count(route, client));
            let key = arriving.keys;
            arriving.keys = key.wrapping_add(1);
            let coming =
                Coming { way, number, place, record, brought, route, server, wiring, peer };
            arriving.coming.insert(key, coming);
            self.ring.adopt(key, own);
        }
    }

    /// Whom a record names, as far as they are here.
    fn parties_of(
        &self,
        numbers: &Numbers,
        record: &Record,
    ) -> Option<(RouteId, Option<ServerId>)> {
        let route = *numbers.routes.get(&record.route)?;
        let server = match record.server {
            Record::NO_SERVER => None,
            number => Some(*numbers.servers.get(&number)?),
        };
        self.routes.has(route, server).then_some((route, server))
    }

    /// Sockets are in slots, or could not be put there.
    pub(in crate::worker) fn adopted(&mut self, key: u32, result: Result<ConnIndex, Errno>) {
        let Some(mut arriving) = self.arriving.take() else {
            panic!("an adoption that nobody asked for");
        };
        if let Some(coming) = arriving.coming.remove(&key) {
            let Coming { way, number, place, .. } = coming;
            match result {
                // The slot's close was carried out, but this overtook its completion.
                Ok(index) if self.lives.entry(index).conn.phase() != Phase::Vacant => {
                    let other = arriving.behind.insert(index, coming);
                    assert!(other.is_none(), "two connections in slot {}", index.0);
                }
                Ok(index) => return self.arrive(arriving, index, coming),
                Err(_) => {
                    self.put_down(coming.brought);
                    arriving.answer(way, number, place, false);
                }
            }
        }
        self.arriving = Some(arriving);
    }

    /// A slot's connection is gone: one that has come for it already goes on there.
    pub(in crate::worker) fn arrive_behind(&mut self, index: ConnIndex) {
        let Some(mut arriving) = self.arriving.take() else { return };
        if let Some(coming) = arriving.behind.remove(&index) {
            return self.arrive(arriving, index, coming);
        }
        self.arriving = Some(arriving);
    }

    /// A connection goes on here.
    fn arrive(&mut self, mut arriving: Arriving<R::Socket>, index: ConnIndex, coming: Coming) {
        let Coming { way, number, place, record, mut brought, route, server, wiring, peer } =
            coming;
        arriving.answer(way, number, place, true);
        self.lives.begin();
        self.routes.arrive(route, server);
        self.admission.arrived(&self.routes.line(route).listener);
        let entry = self.lives.entry(index);
        entry.opened = Micros(record.opened_us);
        entry.active = Tick::not_before(Millis(record.active_ms));
        entry.waits_since = Tick::not_before(Millis(record.waits_since_ms));
        entry.route = route;
        entry.server = server.map(CountedServer::new);
        entry.connect = match record.connect_us {
            0 => ConnectTime::NONE,
            micros => ConnectTime::done(Duration::from_micros(micros.into())),
        };
        entry.tried = Tried::NONE;
        entry.had_no_port = false;
        entry.has_unique_id = false;
        entry.again = None;
        let asks_addresses = self.plan.settings.asks_addresses();
        let unserved = brought.take_unserved(Millis(record.waits_since_ms));
        let is_secured = brought.is_secured();
        let chunks = self.keep_brought(index, wiring.unwrap_or(Wiring::Hold), brought);
        let is_counted = unserved.as_ref().is_none_or(|client| client.stand.is_past_preface());
        if let Some(peer) = peer.filter(|_| is_counted) {
            // Who it comes for, where somebody has said so.
            let client = self.named.of(index).map_or(peer, |named| named.ip().to_canonical());
            self.resume_source(index, client);
        }
        let Some(wiring) = wiring else {
            let custody = Custody::of(way, record.slot).unserved();
            arriving.has_come(index, custody);
            self.arriving = Some(arriving);
            let client = unserved.expect("what has no wiring stands somewhere");
            self.lives.entry(index).conn = Connection::unserved(asks_addresses);
            self.admit_again(index, client);
            self.set_timer(index);
            return self.errands.arrived(index);
        };
        let passport = Passport {
            wiring,
            finished: BySide(Side::BOTH.map(|side| record.lanes & Record::finished(side) != 0)),
            moved_bytes: record.moved_bytes,
            spoke: record.flags & Record::SPOKE != 0,
            probed: record.flags & Record::PROBED != 0,
            server_first: record.flags & Record::SERVER_ENDED_FIRST != 0,
        };
        let has_in_hand = wiring != Wiring::Discard && chunks.0.iter().any(Option::is_some);
        let is_final = has_in_hand || is_secured;
        arriving.has_come(index, Custody { is_final, ..Custody::of(way, record.slot) });
        if has_in_hand {
            arriving.flag(index, Flag::InHand);
        }
        self.arriving = Some(arriving);
        let (conn, actions) = Connection::arrived(passport, chunks, asks_addresses);
        self.lives.entry(index).conn = conn;
        if actions.moved {
            let server = self.lives.entry(index).server;
            self.count_bytes(route, server, actions.delivered_bytes);
        }
        for action in actions.list {
            self.perform(index, action);
        }
        self.set_timer(index);
        self.errands.arrived(index);
    }
}
