//! Clients that may come or not by their address, and how many of one source.
//!
//! A client is judged as soon as its address is known, by its own or by the one that its PROXY
//! header says: before its TLS hello is read, and before any server. One that its source's limits
//! keep out is reset, or is held: it waits for a moment within the limits, or sits in a tarpit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::Worker;
use super::unserved::Stand;
use crate::base::limits::COUNTED_BYTES;
use crate::base::{Bar, ConnIndex, Millis, RouteId, Sparse};
use crate::config::SourceAction;
use crate::conn::{Event, Phase, Reason};
use crate::ring::{Accepts as _, Moves as _, Ring};
use crate::source::{Answer, Word};
use crate::topology::Denial;

/// Between two looks whether a client that waits is within its limits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Of a worker's slots, one in so many may be held at a time, and this many in any case.
const HELD_SHARE: u32 = 100;
const HELD_LEAST: usize = 16;

const _: () = assert!(size_of::<Option<NonZeroU32>>() == COUNTED_BYTES);

/// What a worker keeps of sources.
#[derive(Debug, Default)]
pub(super) struct Keep {
    /// By connection: where it is counted for its source, plus one.
    counted: Sparse<NonZeroU32>,
    held: HashMap<ConnIndex, Held>,
    /// How many ever were.
    numbers: u64,
    /// How many of them wait: a turn is not to look through those that sit in a tarpit.
    waiting: usize,
    /// When to look after them.
    next: Millis,
}

/// A client that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// How many were held before it.
    number: u64,
    from: IpAddr,
    bar: Bar,
    /// When its time is over, by what its listener said when it came.
    until: Millis,
    /// It waits for a moment within the limits. Others are counted as refused already.
    waits: bool,
}

/// Whether a client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It does.
    On,
    /// It is held, or on its way out.
    Stopped,
}

impl Keep {
    /// When somebody who is held is to be looked after.
    pub(super) fn next(&self) -> Option<Millis> {
        (self.waiting > 0).then_some(self.next)
    }

    /// Somebody is held.
    fn hold(&mut self, index: ConnIndex, held: Held) {
        self.numbers += 1;
        self.waiting += usize::from(held.waits);
        self.held.insert(index, held);
    }

    /// Somebody who is held goes on or ends.
    pub(super) fn let_go(&mut self, index: ConnIndex) -> Option<Held> {
        let held = self.held.remove(&index)?;
        self.waiting -= usize::from(held.waits);
        Some(held)
    }

    /// Whether one that is held was refused already.
    pub(super) fn is_barred(&self, index: ConnIndex) -> bool {
        self.held.get(&index).is_some_and(|held| !held.waits)
    }

    /// When the time of one that is held is over.
    pub(super) fn until(&self, index: ConnIndex) -> Option<Millis> {
        self.held.get(&index).map(|held| held.until)
    }

    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

impl<R: Ring> Worker<R> {
    /// A client's address is known: whether it may come.
    pub(super) fn judge_source(&mut self, index: ConnIndex, client: IpAddr) -> Course {
        let client = client.to_canonical();
        // What was decided elsewhere stands.
        let stood = self.unserved.take_stand(index);
        if let Some((Stand::Inside, _)) = stood {
            if self.keep.counted.get(index).is_none() {
                self.resume_source(index, client);
            }
            return Course::On;
        }
        let held = |(stand, _): &(Stand, Millis)| matches!(stand, Stand::Barred | Stand::Waiting);
        let held = stood.filter(held);
        let line = self.routes.line(self.lives.entry(index).route);
        let Some(keeper) = &line.listener.keeper else { return Course::On };
        if let Err(denial) = keeper.judge(client) {
            let bar = match denial {
                Denial::Denied => Bar::Denied,
                Denial::NotAllowed => Bar::NotAllowed,
            };
            line.counters.barred[bar as usize].add(1);
            self.apply(index, Event::PrefaceRefused(Reason::Denied));
            return Course::Stopped;
        }
        let is_barred = held.is_some_and(|(stand, _)| stand == Stand::Barred);
        let waits_on = held.is_some() && self.are_counts_coming();
        let bar = match is_barred || waits_on {
            true => Bar::Connections,
            false => match self.enter_source(index, client) {
                Some(bar) => bar,
                None => return Course::On,
            },
        };
        // The time of one that was held runs on.
        let since = held.map_or(self.time.now(), |(_, since)| since);
        let line = self.routes.line(self.lives.entry(index).route);
        let keeper = line.listener.keeper.as_ref().expect("it has just refused one");
        let until = since.after(keeper.wait_at_most);
        let most_held = ((self.ring.slots() / HELD_SHARE) as usize).max(HELD_LEAST);
        let action = match keeper.action {
            _ if self.keep.held.len() >= most_held => SourceAction::Reset,
            _ if is_barred => SourceAction::Tarpit,
            action => action,
        };
        if action != SourceAction::Wait && !is_barred {
            self.count_barred(index, bar, client);
        }
        match action {
            SourceAction::Reset => self.apply(index, Event::PrefaceRefused(Reason::SourceLimit)),
            action => {
                if self.keep.waiting == 0 {
                    self.keep.next = self.time.now().after(LOOK_EVERY);
                }
                let waits = action == SourceAction::Wait;
                let number = self.keep.numbers;
                self.keep.hold(index, Held { number, from: client, bar, until, waits });
                self.prefaces.set_aside(index);
                self.apply(index, Event::Hold);
            }
        }
        Course::Stopped
    }

    /// A client is counted for its source, where that has limits; or says which one it is at.
    fn enter_source(&mut self, index: ConnIndex, client: IpAddr) -> Option<Bar> {
        let line = self.routes.line(self.lives.entry(index).route);
        let limits = line.listener.keeper.as_ref()?.limits.as_ref()?;
        let (listener, now) = (line.route.listener, self.time.now());
        let word = match self.routes.sources().enter(listener, limits, client, now) {
            Answer::Within(word) => word,
            Answer::Untracked(word) => {
                line.counters.untracked.add(1);
                word
            }
            Answer::TooMany => return Some(Bar::Connections),
            Answer::TooFast => return Some(Bar::Rate),
        };
        if let Some(Word(word)) = word {
            self.keep.counted.put(index, NonZeroU32::MIN.saturating_add(word));
        }
        None
    }

    /// The address of a client that comes from a predecessor, where somebody asks for it.
    pub(super) fn peer_to_count(&self, route: RouteId, client: &R::Socket) -> Option<IpAddr> {
        let keeper = self.routes.line(route).listener.keeper.as_ref()?;
        keeper.limits.as_ref()?.connections?;
        let peer = self.ring.four_tuple(client)?.peer?;
        Some(peer.ip().to_canonical())
    }

    /// A client from this address has come from a predecessor: its source has one more here.
    pub(super) fn resume_source(&mut self, index: ConnIndex, client: IpAddr) {
        let line = self.routes.line(self.lives.entry(index).route);
        let keeper = line.listener.keeper.as_ref();
        let Some(limits) = keeper.and_then(|keeper| keeper.limits.as_ref()) else { return };
        let listener = line.route.listener;
        if let Some(Word(word)) = self.routes.sources().resume(listener, limits, client) {
            self.keep.counted.put(index, NonZeroU32::MIN.saturating_add(word));
        }
    }

    fn count_barred(&mut self, index: ConnIndex, bar: Bar, client: IpAddr) {
        let line = self.routes.line(self.lives.entry(index).route);
        line.counters.barred[bar as usize].add(1);
        if let Some(limits) = line.listener.keeper.as_ref().and_then(|it| it.limits.as_ref()) {
            self.routes.sources().refused(limits, client);
        }
    }

    /// Connections are still coming that count for their sources: who waits would find room that
    /// is another's. New clients come in from the same moment on.
    fn are_counts_coming(&self) -> bool {
        self.arriving.is_some() && self.admission.is_stopping()
    }

    /// Lets those go on that wait and are within their limits by now. Called once a turn.
    pub(super) fn look_after_held(&mut self) {
        let now = self.time.now();
        if self.keep.waiting == 0 || now < self.keep.next {
            return;
        }
        self.keep.next = now.after(LOOK_EVERY);
        if self.are_counts_coming() {
            return;
        }
        let waiting = self.keep.held.iter().filter(|(_, held)| held.waits);
        let waiting = waiting.map(|(index, held)| (held.number, *index, held.from));
        // The longest wait first.
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable();
        for (_, index, client) in waiting {
            let Phase::Held { is_read } = self.lives.entry(index).conn.phase() else { continue };
            if self.enter_source(index, client).is_some() {
                continue;
            }
            self.keep.let_go(index);
            match is_read {
                true => {
                    self.prefaces.bring_back(index);
                    self.decode_on(index);
                }
                false => self.go_on_direct(index),
            }
        }
    }

    /// A connection's slots are empty.
    pub(super) fn leave_source(&mut self, index: ConnIndex, reason: Reason) {
        if let Some(word) = self.keep.counted.take(index) {
            self.routes.sources().leave(Word(word.get() - 1));
        }
        if self.keep.held.is_empty() {
            return;
        }
        // One whose time was over while it waited was refused after all.
        if let Some(Held { from, bar, waits: true, .. }) = self.keep.let_go(index)
            && reason == Reason::SourceLimit
        {
            self.count_barred(index, bar, from);
        }
    }
}
