//! Why each connection ended, as its worker counted it, and how things stood when its end began.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis::base::{OpKind, Side};
use portcullis::conn::{Reason, Wiring};
use portcullis::ring::{ConnIndex, Done, Operation, Token};

use crate::ring::{Op, QUIETS, SimRing};
use crate::scenario::Scenario;
use crate::tally::Tally;
use crate::world::Change;

/// The share of `max_lifetime` that every connection has at least.
const LEAST_SHARE: f64 = 0.9;
/// How long no byte has moved in a connection that the gateway may end by FIN, and to what that is
/// rounded up.
const REST_MILLIS: u64 = 5000;
const TICK_MILLIS: u64 = 50;
/// How long the last bytes of a side that was reset may make no way.
pub const LAST_BYTES_MILLIS: u64 = 5_000;

/// What a ring knows of the ends of its connections.
#[derive(Debug)]
pub struct Ends {
    /// The worker's, where it counts reasons.
    pub tally: Tally,
    counted: [u64; Reason::ALL.len()],
    /// The client whose slot the worker has just heard to be empty.
    emptied: Option<usize>,
    /// By the token of their close: clients whose slots are being emptied.
    closing: BTreeMap<u64, usize>,
    /// By client link.
    lives: BTreeMap<usize, Life>,
    /// By client link.
    over: BTreeMap<usize, End>,
    /// When a stop or drain was first ordered.
    ordered: Option<u64>,
    /// When a part was first to be drained.
    drained: Option<u64>,
    /// When a listener left the topology for the first time.
    listeners_gone: BTreeMap<usize, u64>,
    /// When a server did.
    server_gone: Option<u64>,
    /// When the last turns ended, the newest first.
    turned: [u64; 3],
    /// Others than ends have asked for names, and an end may share the answer.
    pub names_asked: bool,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    opened: u64,
    moved: u64,
    /// When bytes came of which it is not known whether the worker uses them.
    came: Option<u64>,
    /// When a name was answered that nobody has made use of.
    named: Option<u64>,
    /// Something was heard that may be a sign of life.
    stirred: u64,
    /// What may have been the first step of its end, or of something else.
    perhaps: Option<Begun>,
    begun: Option<Begun>,
}

/// How things stood when the worker began to end a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    /// It had begun by then.
    pub at: u64,
    /// How long nothing at all had come to it, by what its worker was sure to have read.
    pub rest: u64,
    /// When the client was accepted.
    pub opened: u64,
    /// When the worker last saw a byte move.
    pub moved: u64,
    /// When bytes arrived that it waited for and did not read.
    pub unread: Option<u64>,
    /// The same of the client's bytes alone.
    pub unread_client: Option<u64>,
    /// A send had not been answered.
    pub sends: bool,
}

/// The end of one connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub reason: Reason,
    pub begun: Begun,
}

impl Ends {
    pub fn new() -> Ends {
        Ends {
            tally: Tally::default(),
            counted: [0; Reason::ALL.len()],
            emptied: None,
            closing: BTreeMap::new(),
            lives: BTreeMap::new(),
            over: BTreeMap::new(),
            ordered: None,
            drained: None,
            listeners_gone: BTreeMap::new(),
            server_gone: None,
            turned: [0; 3],
            names_asked: false,
        }
    }

    /// How the connection of a client ended, if it did.
    pub fn of(&self, client: usize) -> Option<End> {
        self.over.get(&client).copied()
    }

    /// Clients of whose close the worker has not heard, nor counted why.
    pub fn unheard(&self) -> impl Iterator<Item = usize> {
        self.closing.values().copied()
    }

    /// How all did that have ended.
    pub fn all(&self) -> impl Iterator<Item = (usize, End)> {
        self.over.iter().map(|(client, end)| (*client, *end))
    }

    /// The topology changes.
    pub fn note_change(&mut self, change: Change, now: u64) {
        if let Change::Close(listener) = change {
            self.listeners_gone.entry(listener).or_insert(now);
        }
        // With the last listener that goes to them servers leave, too, and a server with another
        // name is another one.
        if !matches!(
            change,
            Change::Open(_)
                | Change::AddServer(_)
                | Change::Retell(..)
                | Change::Reread(..)
                | Change::Rekeep(..)
                | Change::Resecure(..)
        ) {
            self.server_gone.get_or_insert(now);
        }
    }

    /// Everybody is to leave.
    pub fn note_order(&mut self, now: u64) {
        self.ordered.get_or_insert(now);
    }

    /// A part is drained.
    pub fn note_drain(&mut self, now: u64) {
        self.drained.get_or_insert(now);
    }

    /// From when on a client of this listener may have been ended by an order: for all, for a
    /// part, or because what it is on left the topology.
    pub fn ordered_for(&self, listener: usize, wiring: Wiring) -> Option<u64> {
        let server = self.server_gone.filter(|_| wiring == Wiring::Pair);
        let gone = self.listeners_gone.get(&listener).copied();
        [self.ordered, self.drained, server, gone].into_iter().flatten().min()
    }

    /// A turn ends.
    pub fn turned(&mut self, now: u64) {
        self.turned = [now, self.turned[0], self.turned[1]];
    }

    /// What the worker has counted since the last completion is why its connection ended.
    pub fn take_count(&mut self) {
        let Some(client) = self.emptied.take() else { return };
        let counted = Reason::ALL.map(|reason| {
            self.tally.over_listeners(|listener| listener.closed[reason as usize].get())
        });
        let before = std::mem::replace(&mut self.counted, counted);
        let reason = Reason::ALL.into_iter().find(|&reason| {
            let reason = reason as usize;
            counted[reason] > before[reason]
        });
        if let (Some(reason), Some(end)) = (reason, self.over.get_mut(&client)) {
            end.reason = reason;
        }
    }
}

impl SimRing {
    /// The worker sees a client in this slot.
    pub fn note_life(&mut self, conn: ConnIndex) {
        let now = self.now();
        let client = self.link_at(conn, Side::Client).expect("a client was accepted");
        let life = Life { opened: now, moved: now, stirred: now, ..Life::default() };
        self.ends.lives.insert(client, life);
    }

    /// The worker hears of an operation.
    pub fn note_heard(&mut self, done: &Done) {
        let Token { conn, side, kind, .. } = done.token;
        let now = self.now();
        if kind == OpKind::Close && side == Side::Client {
            self.ends.emptied = self.ends.closing.remove(&done.token.pack());
            self.gate.left.extend(self.ends.emptied);
        }
        if matches!(kind, OpKind::Receive | OpKind::Splice) {
            // The bytes that found no buffer included.
            self.note_reading(conn, side, false);
        }
        if !matches!(
            kind,
            OpKind::Cancel | OpKind::Addresses | OpKind::Guard | OpKind::WaitWritable
        ) {
            self.life(conn).stirred = now;
        }
        match kind {
            OpKind::Receive | OpKind::Splice if matches!(done.result, Ok(1..)) => {
                self.life(conn).came = Some(now);
            }
            OpKind::Send if matches!(done.result, Ok(1..)) => self.life(conn).moved = now,
            OpKind::Addresses => self.life(conn).named = Some(now),
            // It may wait for a place until it is read.
            OpKind::WaitReadable if side == Side::Client && self.speech.is_some() => {
                self.keep_waiting(done.token);
                if let Some(stands) = &mut self.life(conn).perhaps {
                    (stands.unread, stands.unread_client) = (None, None);
                }
            }
            _ => {}
        }
    }

    fn life(&mut self, conn: ConnIndex) -> &mut Life {
        let client = self.link_at(conn, Side::Client).unwrap_or(usize::MAX);
        self.ends.lives.entry(client).or_default()
    }

    /// The worker asks for something: perhaps the end has begun.
    pub fn note_end(&mut self, token: Token, operation: Operation) {
        let Token { conn, side, .. } = token;
        let now = self.now();
        if matches!(operation, Operation::WaitReadable | Operation::Receive) {
            self.note_reading(conn, side, true);
        }
        let client = self.link_at(conn, Side::Client);
        let asks = |op: &Op| op.token.conn == conn && op.token.kind == OpKind::Addresses;
        let [unread_client, unread_server] = Side::BOTH.map(|side| self.unread(conn, side));
        let unread = [unread_client, unread_server].into_iter().flatten().min();
        let is_asked = self.ops.iter().any(asks);
        let sends = |op: &Op| op.token.conn == conn && op.token.kind == OpKind::Send;
        let sends = self.ops.iter().any(sends);
        let [turned, _, heard] = self.ends.turned;
        let names_asked = self.ends.names_asked;
        let life = self.life(conn);
        let Life { opened, moved, stirred, .. } = *life;
        let rest = heard.saturating_sub(stirred);
        let stands = Begun { at: now, rest, opened, moved, unread, unread_client, sends };
        // An end goes on with the answer at once.
        if life.named.is_some_and(|named| named < turned) && !is_asked {
            life.perhaps = None;
        }
        life.named = None;
        match (operation, side) {
            // This one may be for quiet, and a silent server is guarded.
            (QUIETS | Operation::Guard(_), _) => {}
            // A name may be asked for by others, and a server may be given up for another. The
            // client's name is the first that an end asks for, unless somebody else has.
            (Operation::Addresses, Side::Client) if !is_asked => life.perhaps = Some(stands),
            (Operation::Cancel(_) | Operation::Addresses, _)
            | (Operation::Close, Side::Upstream) => {
                life.perhaps.get_or_insert(stands);
            }
            (Operation::Reset | Operation::Close, _) => {
                let mut first = life.perhaps.unwrap_or(stands);
                if names_asked || first.unread.is_none() {
                    first.unread = unread;
                }
                if names_asked || first.unread_client.is_none() {
                    first.unread_client = unread_client;
                }
                life.begun.get_or_insert(Begun { at: now, ..first });
            }
            // It was not. An end that begins now shares the answer to a question about a name.
            _ => {
                life.moved = moved.max(life.came.take().unwrap_or(0));
                let moved = life.moved;
                life.perhaps = is_asked.then_some(Begun { moved, ..stands });
                life.begun = None;
            }
        }
        let begun = life.begun.unwrap_or_default();
        if let (Operation::Close, Side::Client, Some(client)) = (operation, side, client) {
            self.ends.closing.insert(token.pack(), client);
            self.ends.over.insert(client, End { reason: Reason::ClosedByClient, begun });
        }
    }

    /// When the first byte came from a side that the worker waits for and has not read. A receive
    /// that the kernel has kept back for turns is the kernel's affair.
    fn unread(&self, conn: ConnIndex, side: Side) -> Option<u64> {
        let link = &self.links[self.link_at(conn, side)?];
        let kept_back = self.ops.iter().any(|op| {
            let Token { conn: of, side: on, kind, .. } = op.token;
            let receives = matches!(kind, OpKind::Receive | OpKind::Splice);
            (of, on) == (conn, side) && receives && op.asked <= self.ends.turned[2]
        });
        let waits = link.reads_since.is_some_and(|since| since <= link.unread_since);
        let is_unread = waits && !kept_back && link.sent_bytes > link.received_bytes;
        is_unread.then_some(link.unread_since)
    }

    /// The worker begins to wait for bytes of a side, or has them.
    pub fn note_reading(&mut self, conn: ConnIndex, side: Side, reads: bool) {
        let now = self.now();
        if let Some(link) = self.link_at(conn, side) {
            let since = &mut self.links[link].reads_since;
            *since = reads.then_some(since.unwrap_or(now));
        }
    }

    /// The kernel keeps back what it could tell of a side.
    pub fn keep_waiting(&mut self, token: Token) {
        if let Some(link) = self.link_at(token.conn, token.side) {
            self.links[link].reads_since = None;
        }
    }

    /// And of every side.
    pub fn keep_all_waiting(&mut self) {
        self.links.iter_mut().for_each(|link| link.reads_since = None);
    }

    /// Whether the worker has begun to end a connection.
    pub fn is_ending(&self, conn: ConnIndex) -> bool {
        let ends = |operation| match operation {
            Operation::Reset | Operation::Close | Operation::Addresses => true,
            Operation::Cancel(_) => operation != QUIETS,
            _ => false,
        };
        self.ops.iter().any(|op| op.token.conn == conn && ends(op.operation))
    }
}

impl End {
    /// The gateway ended it in mid-stream: both peers see RST.
    pub fn is_abrupt(&self) -> bool {
        self.is_from_outside() && self.begun.at < self.begun.moved + REST_MILLIS
    }

    /// The gateway ended it when nothing had come for long: a peer that is owed nothing sees FIN.
    pub fn is_orderly(&self) -> bool {
        let Begun { rest, sends, .. } = self.begun;
        self.is_from_outside() && rest >= REST_MILLIS + TICK_MILLIS && !sends
    }

    /// It was ended by more than its peers: a timeout, an order.
    pub fn is_from_outside(&self) -> bool {
        use Reason::{Drained, Evicted, FirstByteTimeout, HalfCloseTimeout, IdleTimeout, Killed};
        use Reason::{MaxLifetime, PreambleTimeout, Stopped};
        let timed = matches!(self.reason, FirstByteTimeout | IdleTimeout | HalfCloseTimeout);
        let timed = timed || self.reason == PreambleTimeout;
        timed || matches!(self.reason, MaxLifetime | Drained | Stopped | Killed | Evicted)
    }

    /// It was no connection yet.
    pub fn is_before_join(&self) -> bool {
        matches!(
            self.reason,
            Reason::ClientGone
                | Reason::NoServer
                | Reason::QueueTimeout
                | Reason::BadPreamble
                | Reason::PreambleTimeout
                | Reason::Denied
                | Reason::SourceLimit
        )
    }

    /// Whose it is could not be found out, it was gone by then, or it may not come.
    pub fn is_unmet(&self) -> bool {
        use Reason::{BadPreamble, ClientGone, Denied, SourceLimit};
        matches!(self.reason, BadPreamble | ClientGone | Denied | SourceLimit)
    }

    /// An end from outside has a cause, and its time had come.
    pub fn check(&self, name: &str, scenario: &Scenario, listener: usize, ordered: Option<u64>) {
        // What moves in TLS is not what moves in the socket.
        if scenario.is_any_secured(listener) {
            return;
        }
        let Begun { at, opened, moved, unread, unread_client, .. } = self.begun;
        let timeouts = &scenario.timeouts;
        let preface = scenario.preface_within(listener);
        let since = |moment: u64, timeout: Option<Duration>| {
            timeout.is_some_and(|timeout| at >= moment + timeout.as_millis() as u64)
        };
        let due = match self.reason {
            Reason::FirstByteTimeout => since(opened, timeouts.first_byte),
            Reason::PreambleTimeout => since(opened, preface),
            Reason::IdleTimeout => since(moved, timeouts.idle),
            Reason::HalfCloseTimeout => since(moved, timeouts.half_close),
            Reason::MaxLifetime => since(opened, least(timeouts.max_lifetime)),
            Reason::Drained | Reason::Stopped => ordered.is_some_and(|ordered| at >= ordered),
            Reason::QueueTimeout => since(opened, Some(timeouts.queue)),
            Reason::Evicted => since(moved, scenario.evict),
            Reason::Killed => scenario.kills && scenario.asks > 0,
            _ => true,
        };
        assert!(due, "{name} was ended before its time: {self:?}");
        let deadline = |since: u64, timeout: Option<Duration>| {
            since + timeout.map_or(0, |timeout| timeout.as_millis() as u64)
        };
        let deadline = match self.reason {
            Reason::FirstByteTimeout => deadline(opened, timeouts.first_byte),
            Reason::IdleTimeout => deadline(moved, timeouts.idle),
            Reason::HalfCloseTimeout => deadline(moved, timeouts.half_close),
            Reason::Evicted => deadline(moved, scenario.evict),
            _ => return,
        };
        let unread = if self.reason == Reason::FirstByteTimeout { unread_client } else { unread };
        let read = unread.is_none_or(|since| since > deadline);
        assert!(read, "{name} was ended for silence with bytes unread: {self:?}");
    }

    /// The last bytes of a side that was reset may not have been waited for to their end.
    pub fn may_cut_last_bytes(&self, scenario: &Scenario, ordered: Option<u64>) -> bool {
        let Begun { at, opened, moved, .. } = self.begun;
        let since = |moment: u64, timeout: Option<Duration>| {
            timeout.is_some_and(|timeout| at >= moment + timeout.as_millis() as u64)
        };
        let timeouts = &scenario.timeouts;
        ordered.is_some_and(|ordered| at >= ordered)
            || scenario.kills && scenario.asks > 0
            || since(opened, least(timeouts.max_lifetime))
            || since(moved, timeouts.idle)
            || since(moved, timeouts.half_close)
    }
}

fn least(lifetime: Option<Duration>) -> Option<Duration> {
    lifetime.map(|lifetime| lifetime.mul_f64(LEAST_SHARE))
}
