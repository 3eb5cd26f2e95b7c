//! One direction of bytes, and the state of its source.

use crate::base::Chunk;

/// What one direction of bytes is doing. A lane that cannot send does not receive: it holds at
/// most one chunk, and the ring at most a few that came ahead. Its bytes lie in a buffer or in a
/// pipe: which, only the ring can tell.
///
/// ```text
///   Unarmed ──► Waiting ◄─► Receiving ──► Sending ──► Stalled
///                              ▲  │ ▲        │ ▲         │
///                      Starved ┘  │ └────────┘ └─────────┘
///                                 └──► Finishing ──► Finished
///   Splicing takes Receiving's place in a lane of bulk
///   any ──► Dropping ──► Dead
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Nothing is armed: before the join, or for a moment after it.
    Unarmed,
    /// A readiness wait is armed on the source; no buffer is held.
    Waiting,
    /// A receive is armed on the source.
    Receiving,
    /// The bytes that are at the source are moved into a pipe, at once.
    Splicing,
    /// It wants to receive and no buffer is free.
    Starved,
    /// The chunk is on its way into the sink.
    Sending(Chunk),
    /// The sink takes nothing now; a writability wait is armed on it.
    Stalled(Chunk),
    /// The source has ended; the FIN is on its way to the sink.
    Finishing,
    /// The FIN is passed on.
    Finished,
    /// The sink is gone: what the source still sends is read and dropped, so that a source that
    /// sends before it reads is not kept from reading.
    Dropping,
    /// Nothing is read any more, and nothing can be delivered.
    Dead,
}

/// The state of the bytes that come from a side, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// More may come.
    Open,
    /// A receive said 0 while a send to the same side was in flight: a FIN, or a reset whose error
    /// goes to that send. Its completion decides.
    Unsure,
    /// A FIN came.
    Ended,
    /// The side was reset. What was received before it is still to be delivered.
    Reset,
}
