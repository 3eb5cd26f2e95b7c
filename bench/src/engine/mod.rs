//! Threads that drive connections over rings, phase by phase, and count what comes of it.

mod drive;
mod net;
mod phase;
mod progress;
mod tally;
mod timeline;

pub(crate) use drive::{Job, Outcome, Script, Tick, allow_large_tables, hold_signals, run};
pub(crate) use net::{End, Event, Net, NetSetup, Towards};
pub(crate) use phase::{Phase, Until};
pub(crate) use tally::{Tally, words};
