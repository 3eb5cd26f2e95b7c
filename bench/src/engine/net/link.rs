//! What a thread keeps for each of its slots.

use portcullis::base::{Chunk, InFlight};
use portcullis::ring::{ServerId, Token};

/// Where in its life a slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is there.
    #[default]
    Vacant,
    /// A socket is made and connects.
    Opening,
    /// No socket could be made: there is nothing to close.
    Failed,
    /// It is connected, and asked for a session of TLS.
    Shaking,
    /// It is connected.
    Open,
    /// It is emptied when nothing is in flight.
    Closing,
}

/// A moment in milliseconds of the thread; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadline(u32);

impl Deadline {
    pub(super) const NEVER: Deadline = Deadline(0);

    pub(super) fn at(now_millis: u32, patience_millis: u32) -> Deadline {
        Deadline(now_millis.saturating_add(patience_millis).max(1))
    }

    pub(super) fn is_past(self, now_millis: u32) -> bool {
        self != Deadline::NEVER && now_millis >= self.0
    }
}

/// One slot.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) generation: u32,
    pub(super) in_flight: InFlight,
    pub(super) stage: Stage,
    pub(super) server: ServerId,
    pub(super) deadline: Deadline,
    /// What is on its way out.
    pub(super) sending: Option<Chunk>,
    pub(super) ending: Ending,
    /// Our FIN has been asked for.
    pub(super) finished: bool,
}

/// What a link knows of its end before it can say which kind it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    #[default]
    None,
    /// A receive came to the end while a send was in flight, which may yet tell of a reset.
    AwaitsSend,
    /// A send heard of a reset while a receive was in flight, which may yet bring bytes.
    AwaitsReceive,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            generation: 0,
            in_flight: InFlight::NONE,
            stage: Stage::Vacant,
            server: ServerId(0),
            deadline: Deadline::NEVER,
            sending: None,
            ending: Ending::None,
            finished: false,
        }
    }
}

impl Link {
    /// Begins the slot's next life.
    pub(super) fn vacate(&mut self) {
        let generation = (self.generation + 1) % Token::GENERATIONS;
        *self = Link { generation, ..Link::default() };
    }
}
