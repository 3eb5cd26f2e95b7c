//! Secured sides that go to another process, and those that come from one.
//!
//! A session may seal in one process only: a nonce that is used twice gives its data away. So a
//! side that was handed over says nothing here, also when its slot is closed, until its connection
//! goes on here: the worker has made sure then that the other process has sealed nothing.

use zeroize::Zeroizing;

use super::gathered::Gathered;
use super::secured::Secured;
use super::session::{NoSession, Session};
use super::sessions::BROKEN;
use super::work::{Output, Then, Work};
use crate::base::{Buffer, Chunk, ConnIndex, Errno, Side};
use crate::ring::Ring;
use crate::wire::handover::SecuredSide;

/// A secured side that comes from another process.
#[derive(Debug)]
pub struct Moved {
    session: Session,
    opened: Zeroizing<Vec<u8>>,
    received: Vec<u8>,
    waiting_data_bytes: u32,
}

impl Moved {
    /// What a side says of itself, without the records that wait to be sent to it.
    ///
    /// # Errors
    /// When its session is none.
    pub fn of(side: SecuredSide) -> Result<(Moved, Vec<u8>), NoSession> {
        let SecuredSide { session, waits, waiting_data_bytes, opened, received } = side;
        let session = Session::from_bytes(&session)?;
        Ok((Moved { session, opened, received, waiting_data_bytes }, waits))
    }

    /// Bytes of data that wait to be sent to it, sealed.
    pub fn waiting_data_bytes(&self) -> u32 {
        self.waiting_data_bytes
    }
}

impl<R: Ring> Secured<R> {
    /// Whether the secured sides of a connection can go to another process: nothing is wrong with
    /// any of them, and none was cut off in a record.
    pub fn can_move(&self, conn: ConnIndex) -> bool {
        let can = |side: &Side| {
            let Some(kept) = self.sessions.get((conn, *side)) else { return true };
            let is_well = |work: &Work| {
                work.fault.is_none() && work.output.is_none_or(|output| output.then == Then::Tell)
            };
            !kept.has(BROKEN) && self.sessions.working((conn, *side)).is_none_or(is_well)
        };
        self.sessions.is_empty() || Side::BOTH.iter().all(can)
    }

    /// Whether a side of a connection is secured.
    pub fn is_secured(&self, conn: ConnIndex) -> bool {
        !self.sessions.is_empty() && self.sessions.has_any(conn)
    }

    /// Bytes of data that wait to be sent to a side, sealed: the first of what the worker has for
    /// it.
    pub fn waiting_data_bytes(&self, conn: ConnIndex, side: Side) -> u32 {
        let output = self.sessions.working((conn, side)).and_then(|work| work.output);
        output.map_or(0, |output| output.plain_bytes)
    }

    /// A secured side as another process takes it over, while nothing of it is in flight; `None`:
    /// it is not secured. What is here stays, and says nothing from now on.
    ///
    /// # Errors
    /// As [`crate::ring::Moves::ahead`].
    pub fn hand_over(&mut self, conn: ConnIndex, side: Side) -> Result<Option<SecuredSide>, Errno> {
        let Some(kept) = self.sessions.get((conn, side)) else { return Ok(None) };
        let session = Zeroizing::new(kept.session.to_bytes().to_vec());
        let mut handed = SecuredSide { session, ..SecuredSide::default() };
        if let Some(work) = self.sessions.working((conn, side)) {
            let (opened, received) = work.input.parts();
            handed.opened = Zeroizing::new(opened.to_vec());
            handed.received = received.to_vec();
            if let Some(output) = work.output {
                handed.waits = self.below.bytes(output.sealed).to_vec();
                handed.waiting_data_bytes = output.plain_bytes;
            }
        }
        self.below.ahead(conn, side, &mut handed.received)?;
        self.sessions.go_away((conn, side));
        Ok(Some(handed))
    }

    /// Secures a side of a connection that comes from another process, in this generation of its
    /// slot. Where records wait to be sent to it, they are in a chunk of their own, and the worker
    /// has a buffer whose first bytes stand for their data.
    ///
    /// # Panics
    /// When it is secured.
    pub fn take_over(
        &mut self,
        (conn, generation): (ConnIndex, u32),
        side: Side,
        moved: Moved,
        waits: Option<(Chunk, Buffer)>,
    ) {
        let Moved { session, opened, received, waiting_data_bytes } = moved;
        let mut work = Work { input: Gathered::of(&opened, &received), ..Work::default() };
        if let Some((sealed, from)) = waits {
            let (plain_bytes, is_given, then) = (waiting_data_bytes, false, Then::Tell);
            work.output = Some(Output { sealed, plain_bytes, from, is_given, then });
            self.stalled.insert(from, (conn, side));
        }
        self.sessions.put((conn, side), generation, session, work);
    }

    /// A connection goes on here: its sides are this process's, if they were away.
    pub fn comes_back(&mut self, conn: ConnIndex) {
        for side in Side::BOTH {
            self.sessions.come_back((conn, side));
        }
    }
}
