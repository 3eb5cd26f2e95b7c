//! Clients that have no server yet, on their way to another process, and when they enter there.
//!
//! Such a client leaves the queues that it is in, and what it has said is kept for it. It enters as
//! one that was just accepted would, here if it comes back, or in the worker that it comes to: what
//! it has said is read again, and the times that it may take run on. What was decided of it stands:
//! whether it may come is not asked twice, and a server is sought for it on the route that it has.
//!
//! Who was answered something, shakes hands or has done so stays, as does who is being connected:
//! all these have an end soon.

use std::collections::HashMap;

use super::Worker;
use crate::base::{Chunk, ConnIndex, Millis, Tick};
use crate::conn::{Entrance, Event, Phase, Shortage, Wiring};
use crate::ring::{Buffers as _, Moves as _, Ring};

/// Where a client stood, and what it has said.
#[derive(Clone, Debug)]
pub(super) struct Unserved {
    pub(super) stand: Stand,
    /// All of its preface that was read, or what its server is to get.
    pub(super) bytes: Vec<u8>,
    /// When it began to wait for what it waits for.
    pub(super) since: Millis,
}

/// How far a client had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its address was not judged, or it sends a header that says whose that is.
    Outside,
    /// Its source is at a limit, and it waits.
    Waiting,
    /// The same, but it was refused and is merely kept for a while.
    Barred,
    /// It may come in, and its preface is read.
    Inside,
    /// It has its preface behind it, and is silent.
    Silent,
    /// No server had room for it.
    Seeking,
}

impl Stand {
    const ALL: [Stand; 6] = [
        Stand::Outside,
        Stand::Waiting,
        Stand::Barred,
        Stand::Inside,
        Stand::Silent,
        Stand::Seeking,
    ];

    /// Its number between processes, which never changes.
    pub(super) fn number(self) -> u8 {
        match self {
            Stand::Outside => 1,
            Stand::Waiting => 2,
            Stand::Barred => 3,
            Stand::Inside => 4,
            Stand::Silent => 5,
            Stand::Seeking => 6,
        }
    }

    /// The one of this number; `None`: another version's.
    pub(super) fn of_number(number: u8) -> Option<Stand> {
        Stand::ALL.into_iter().find(|stand| stand.number() == number)
    }

    /// Whether nothing of a preface is still to be read.
    pub(super) fn is_past_preface(self) -> bool {
        matches!(self, Stand::Silent | Stand::Seeking)
    }
}

/// Those of a worker that are away, and what is not settled of those that have entered.
#[derive(Debug, Default)]
pub(super) struct Unserveds {
    away: HashMap<ConnIndex, Unserved>,
    brought: HashMap<ConnIndex, Unserved>,
}

impl Unserveds {
    /// Whether a client without a server is in another process, or on its way.
    pub(super) fn is_away(&self, index: ConnIndex) -> bool {
        !self.away.is_empty() && self.away.contains_key(&index)
    }

    /// What another process learns of it.
    pub(super) fn away(&self, index: ConnIndex) -> Option<&Unserved> {
        self.away.get(&index)
    }

    /// It is gone.
    pub(super) fn forget(&mut self, index: ConnIndex) {
        if !self.away.is_empty() {
            self.away.remove(&index);
        }
        if !self.brought.is_empty() {
            self.brought.remove(&index);
        }
    }

    /// Where one had stood whose address is known now, if it has entered and was not judged since.
    pub(super) fn take_stand(&mut self, index: ConnIndex) -> Option<(Stand, Millis)> {
        let brought = self.brought.get_mut(&index)?;
        let stand = brought.stand;
        // What comes after this judgement has its own time.
        brought.stand = Stand::Inside;
        Some((stand, brought.since))
    }

    /// Nothing is to be settled of one any more.
    pub(super) fn settle(&mut self, index: ConnIndex) {
        if !self.brought.is_empty() {
            self.brought.remove(&index);
        }
    }

    /// Since when one has waited for a server, that waited for one before it came.
    pub(super) fn take_search(&mut self, index: ConnIndex) -> Option<Millis> {
        if self.brought.is_empty() {
            return None;
        }
        let brought = self.brought.remove(&index)?;
        (brought.stand == Stand::Seeking).then_some(brought.since)
    }
}

impl<R: Ring> Worker<R> {
    /// Whether all of a client without a server could be learned by another process.
    pub(super) fn may_withdraw(&mut self, index: ConnIndex) -> bool {
        self.lives.entry(index).conn.can_withdraw()
            && !self.ring.is_secured(index)
            && self.prefaces.can_withdraw(index)
    }

    /// A client without a server leaves, if it may.
    pub(super) fn withdraw(&mut self, index: ConnIndex) {
        let now = self.time.now();
        let entry = self.lives.entry(index);
        let (phase, mut since) = (entry.conn.phase(), entry.waits_since.begins());
        let line = self.routes.line(entry.route);
        let asks_headers = line.preface.as_ref().is_some_and(|preface| preface.trust.is_some());
        let stand = match phase {
            Phase::Held { .. } if self.keep.is_barred(index) => Stand::Barred,
            Phase::Held { .. } => Stand::Waiting,
            Phase::Preface { .. } | Phase::Standby { .. } => {
                if let Phase::Standby { .. } = phase {
                    // Its time begins with its turn.
                    since = now;
                }
                match self.prefaces.is_judged(index, asks_headers) {
                    true => Stand::Inside,
                    false => Stand::Outside,
                }
            }
            Phase::Pressed(shortage) => {
                if shortage == Shortage::Room {
                    since = self.waits.since(index).unwrap_or(since);
                }
                Stand::Seeking
            }
            _ => Stand::Silent,
        };
        if let Phase::Held { .. } = phase {
            self.keep.let_go(index);
        }
        let (bytes, chunk) = self.prefaces.withdraw(index);
        if let Some(chunk) = chunk {
            self.ring.release(chunk.buffer);
        }
        if !stand.is_past_preface() {
            // It will say so again.
            self.headers.forget(index);
            self.named.forget(index);
        }
        self.end_wait(index, false);
        self.unserved.away.insert(index, Unserved { stand, bytes, since });
        self.apply(index, Event::Withdraw { keeps_waits: true });
    }

    /// The header that the server of one that is away is to get is made while its client's address
    /// can be had.
    pub(super) fn make_header_of(&mut self, index: ConnIndex, client: &R::Socket) {
        let is_due = self.unserved.away(index).is_some_and(|away| away.stand.is_past_preface());
        if !is_due || !self.lives.entry(index).conn.wants_header() {
            return;
        }
        let found = self.ring.four_tuple(client);
        let found = found.map(|found| self.named.behind(index, found));
        self.make_header(index, found);
    }

    /// What one that withdraws has said before its receive was cancelled.
    pub(super) fn hear_last(&mut self, index: ConnIndex, chunk: Chunk) {
        let client = self.unserved.away.get_mut(&index).expect("it withdraws");
        client.bytes.extend_from_slice(self.ring.bytes(chunk));
        self.ring.release(chunk.buffer);
    }

    /// A departed connection goes on here.
    pub(super) fn go_on_here(&mut self, index: ConnIndex) {
        match self.unserved.away.remove(&index) {
            Some(client) => self.admit_again(index, client),
            None => self.apply(index, Event::Stay),
        }
    }

    /// A client without a server enters.
    pub(super) fn admit_again(&mut self, index: ConnIndex, client: Unserved) {
        let line = self.routes.line(self.lives.entry(index).route);
        let has_said = !client.bytes.is_empty();
        let preface = line.preface.as_ref().filter(|_| line.reads || has_said);
        let is_met = line.listener.keeper.is_some()
            || preface.is_some_and(|preface| preface.trust.is_some());
        let (wiring, is_read) = (line.wiring, preface.is_some());
        if client.stand.is_past_preface() || !is_read {
            return self.seek_again(index, client);
        }
        let since = client.since;
        if is_met || has_said {
            self.unserved.brought.insert(index, client);
        }
        if is_met {
            return self.apply(index, Event::Enter(Entrance::Meeting(wiring)));
        }
        match has_said {
            true => {
                self.apply(index, Event::Enter(Entrance::Brought(wiring)));
                self.read_again(index);
            }
            false => self.apply(index, Event::Enter(Entrance::Preface(wiring))),
        }
        self.waits_on(index, since);
    }

    /// One that has its preface behind it enters.
    fn seek_again(&mut self, index: ConnIndex, client: Unserved) {
        let has_header = self.headers.is_made(index);
        let mut onward = self.routes.line(self.lives.entry(index).route).onward();
        onward.is_headed |= has_header;
        onward.is_lazy &= client.stand != Stand::Seeking;
        let keeps = !client.bytes.is_empty() && onward.wiring != Wiring::Hold;
        if keeps {
            self.prefaces.keep_again(index, client.bytes, &mut self.ring);
        }
        if client.stand == Stand::Seeking {
            let brought = Unserved { bytes: Vec::new(), ..client };
            self.unserved.brought.insert(index, brought);
        }
        self.apply(index, Event::Enter(Entrance::Onward { onward, keeps }));
        self.waits_on(index, client.since);
    }

    /// The preface of a client that has entered is awaited from here on, or read as far as it has
    /// come with it.
    pub(super) fn await_preface(&mut self, index: ConnIndex) {
        let brought = self.unserved.brought.get(&index);
        let Some(&Unserved { since, ref bytes, .. }) = brought else {
            return self.apply(index, Event::PrefaceAwaited);
        };
        // The time of one that was held begins with its end.
        let was_held = matches!(self.lives.entry(index).conn.phase(), Phase::Held { .. });
        if bytes.is_empty() {
            self.apply(index, Event::PrefaceAwaited);
        } else {
            self.apply(index, Event::PrefaceBrought);
            self.read_again(index);
        }
        if !was_held {
            self.waits_on(index, since);
        }
    }

    /// A client that was read before is not read here: what it has said is its server's. Says
    /// whether there is anything.
    pub(super) fn keep_unread(&mut self, index: ConnIndex, wiring: Wiring) -> bool {
        let Some(client) = self.unserved.brought.remove(&index) else { return false };
        let keeps = !client.bytes.is_empty() && wiring != Wiring::Hold;
        if keeps {
            self.prefaces.keep_again(index, client.bytes, &mut self.ring);
        }
        keeps
    }

    /// What a client has said is read again.
    fn read_again(&mut self, index: ConnIndex) {
        let Some(brought) = self.unserved.brought.get_mut(&index) else { return };
        let bytes = std::mem::take(&mut brought.bytes);
        let line = self.routes.line(self.lives.entry(index).route);
        let preface = line.preface.clone().expect("its route asks for one");
        let tls = line.tls.clone();
        self.prefaces.read_again(index, tls, &bytes, preface);
        self.decode_on(index);
    }

    /// What was read of a preface is not all of it. While the predecessor could go on with what a
    /// client has brought, no receive waits for more.
    pub(super) fn read_on(&mut self, index: ConnIndex) {
        let event = if self.may_go_back(index) { Event::PrefaceRests } else { Event::PrefaceMore };
        self.apply(index, event);
    }

    /// The time of one that waits for its preface, or is silent, runs on.
    fn waits_on(&mut self, index: ConnIndex, since: Millis) {
        let entry = self.lives.entry(index);
        if let Phase::Preface { .. } | Phase::Silent { .. } = entry.conn.phase() {
            entry.waits_since = Tick::not_before(since);
            self.set_timer(index);
        }
    }
}
