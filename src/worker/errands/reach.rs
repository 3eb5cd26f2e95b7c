//! The interface of errands to their worker.

use std::sync::Arc;

use crate::base::{ConnIndex, ListenerId, Millis, ServerId, Side, Tick, UpstreamId};
use crate::conn::Reason;
use crate::query::{ConnId, Facts};
use crate::topology::Parties;
use crate::worker::limit::Limit;
use crate::worker::tls_clients::TlsClient;

/// The worker as an errand sees it. Every method is a bounded piece of work.
pub trait Reach {
    /// When this turn began.
    fn now(&self) -> Millis;

    /// The moment up to which arrivals have been read.
    fn heard(&self) -> Millis;

    /// The first slot at or after `from` that may hold a connection.
    fn next_slot(&self, from: u32) -> Option<ConnIndex>;

    /// When the connection in a slot was last active; `None` when none is there, or it is ending.
    fn activity(&mut self, index: ConnIndex) -> Option<Activity>;

    /// Whether the connection in a slot, which is there, is on a listener or a server that the
    /// topology no longer has.
    fn is_left(&mut self, index: ConnIndex) -> bool;

    /// Whether the connection in a slot, which is there, belongs to a part of the gateway.
    fn is_of(&mut self, index: ConnIndex, part: Part) -> bool;

    /// Whether the connection in a slot, which is there, is open or silent for longer than it may
    /// be. If not, it goes by what the worker goes by now: its timeouts, and what is noted of it.
    fn is_overdue(&mut self, index: ConnIndex) -> bool;

    /// Ends the connection in a slot as its timeout does, if it is overdue.
    fn end_overdue(&mut self, index: ConnIndex);

    /// From when on the connection in a slot may be evicted, if no byte of it moves; `None`: there
    /// is none, it is not joined, or its listener evicts nobody. `of`: only that listener's may be.
    fn makes_way_at(&mut self, index: ConnIndex, of: Option<ListenerId>) -> Option<Millis>;

    /// Evicts the connection in a slot, which may be, for a client that waits at a limit.
    fn evict(&mut self, index: ConnIndex, limit: &Limit);

    /// The facts of the connection in a slot, if there is one.
    fn facts(&mut self, index: ConnIndex) -> Option<Facts>;

    /// The parties of the connection in a slot, if there is one.
    fn parties(&mut self, index: ConnIndex) -> Option<Parties>;

    /// How the client of the connection in a slot speaks TLS, if that ends here.
    fn tls(&mut self, index: ConnIndex) -> Option<Arc<TlsClient>>;

    /// The id of the connection in a slot.
    fn id(&mut self, index: ConnIndex) -> ConnId;

    /// The connection is not gone.
    fn is_there(&mut self, id: ConnId) -> bool;

    /// The connection is there, and it is not ending.
    fn is_living(&mut self, id: ConnId) -> bool;

    /// Whether the addresses of a side can be found out: its socket is there.
    fn has_addresses(&mut self, index: ConnIndex, side: Side) -> bool;

    /// Asks for the addresses of a side; `Errands::addresses_found` brings them. A question that is
    /// open already is answered once.
    fn ask_addresses(&mut self, index: ConnIndex, side: Side);

    /// Ends the connection in a slot, if there is one that is not ending.
    fn end(&mut self, index: ConnIndex, reason: Reason);

    /// Clients that wait in the worker's own accept queues.
    fn queued_clients(&self) -> u32;

    /// Accepts no more. Clients that still wait are reset when the passive sockets close.
    fn stop_accepting(&mut self);

    /// The slots of clients that came since a farewell last took them.
    fn take_arrivals(&mut self) -> Vec<ConnIndex>;
}

/// A part of the gateway, to whose connections a drain is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The connections of a listener.
    Listener(ListenerId),
    /// Those that count for a server.
    Server(ServerId),
    /// Those that go to an upstream.
    Upstream(UpstreamId),
}

/// When a connection was active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When it was accepted.
    pub opened: Millis,
    /// When a byte of it last moved, or it was accepted.
    pub last: Tick,
}
