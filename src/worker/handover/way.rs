//! A way to a worker of the successor, and the batches on it.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use crate::base::ConnIndex;
use crate::courier::{Link, may_go_later};
use crate::wire::handover::{Batch, RECORD_BYTES, in_pieces};

/// Batches that a way has not answered.
pub(super) const UNANSWERED_MAX: usize = 8;

/// The way, and what it has not answered.
#[derive(Debug)]
pub(super) struct Way<S> {
    pub(super) link: Box<dyn Link<S>>,
    pub(super) unanswered: VecDeque<(u32, Vec<ConnIndex>)>,
    pub(super) has_answered: bool,
    pub(super) is_cut: bool,
    /// Bytes of the longest message that its link takes.
    most_bytes: usize,
    /// A batch of which some pieces have been sent.
    long: Option<Long<S>>,
}

/// A batch that is too long for a message. No other process has it before its last piece.
#[derive(Debug)]
struct Long<S> {
    number: u32,
    members: Vec<ConnIndex>,
    pieces: VecDeque<Zeroizing<Vec<u8>>>,
    sockets: Vec<S>,
}

/// How the sending of a batch came out.
#[derive(Debug)]
pub(super) enum Sent {
    /// Another process may have its members, the last of those that are not answered, from now on.
    Whole,
    /// Not all of it, so far, if there is any.
    Partly,
    /// Nothing of it: its members are to go later, or on another way.
    Not(Vec<ConnIndex>),
    /// The way is cut: nobody has its members but this process.
    Cut(Vec<ConnIndex>),
}

impl<S> Way<S> {
    pub(super) fn new(link: Box<dyn Link<S>>) -> Way<S> {
        let most_bytes = link.most_bytes();
        let (unanswered, long) = (VecDeque::new(), None);
        Way { link, unanswered, has_answered: false, is_cut: false, most_bytes, long }
    }

    /// Whether a batch can begin on it.
    pub(super) fn is_free(&self) -> bool {
        !self.is_cut && self.long.is_none() && self.unanswered.len() < UNANSWERED_MAX
    }

    /// Connections of a batch that is on its way in pieces.
    pub(super) fn in_pieces(&self) -> usize {
        self.long.as_ref().map_or(0, |long| long.members.len())
    }

    /// The batch that is being sent stays here.
    pub(super) fn keep_back(&mut self) {
        self.long = None;
    }

    /// Sends a batch, or its first pieces.
    pub(super) fn send(
        &mut self,
        batch: &Batch,
        members: Vec<ConnIndex>,
        sockets: &mut Vec<S>,
    ) -> Sent {
        let mut message = Zeroizing::new(Vec::new());
        batch.encode(RECORD_BYTES, &mut message);
        if message.len() > self.most_bytes {
            let pieces = in_pieces(&message, self.most_bytes);
            let sockets = std::mem::take(sockets);
            self.long = Some(Long { number: batch.number, members, pieces, sockets });
            return self.go_on();
        }
        match self.link.send(&message, sockets) {
            Ok(()) => {
                self.unanswered.push_back((batch.number, members));
                Sent::Whole
            }
            Err(error) => {
                self.is_cut |= !may_go_later(error);
                Sent::Not(members)
            }
        }
    }

    /// Sends more pieces of a batch, if one is on its way.
    pub(super) fn go_on(&mut self) -> Sent {
        let Some(long) = &mut self.long else { return Sent::Partly };
        while let Some(piece) = long.pieces.front() {
            let sockets = if long.pieces.len() == 1 { &long.sockets[..] } else { &[] };
            match self.link.send(piece, sockets) {
                Ok(()) => drop(long.pieces.pop_front()),
                Err(error) if may_go_later(error) => return Sent::Partly,
                Err(_) => {
                    self.is_cut = true;
                    return Sent::Cut(self.long.take().map_or(Vec::new(), |long| long.members));
                }
            }
        }
        let Long { number, members, .. } = self.long.take().expect("it was just sent");
        self.unanswered.push_back((number, members));
        Sent::Whole
    }
}
