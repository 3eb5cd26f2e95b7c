//! What is under way in sessions, of which few are at work at a time.

use super::fault::Fault;
use super::gathered::Gathered;
use crate::base::{Buffer, Chunk};
use crate::ring::Token;

/// The place of a session in which nothing is under way.
pub(super) const NO_WORK: u32 = u32::MAX;

/// What is under way in a session.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) input: Gathered,
    /// Its place in the order of those that wait for the rest of a record.
    pub(super) number: Option<u64>,
    pub(super) output: Option<Output>,
    /// Its slot is closed in this second at the latest, whether there is memory for close_notify or
    /// not.
    pub(super) closes_by: Option<u64>,
    /// What was wrong with its records.
    pub(super) fault: Option<Fault>,
}

impl Work {
    fn is_done(&self) -> bool {
        let waits = self.number.is_some() || self.closes_by.is_some();
        self.input.is_empty() && self.output.is_none() && !waits && self.fault.is_none()
    }
}

/// Sealed bytes on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) sealed: Chunk,
    /// Bytes of data in it of which the worker does not know yet that they are sent.
    pub(super) plain_bytes: u32,
    /// What the worker has for these bytes.
    pub(super) from: Buffer,
    /// That is the sealed bytes' own buffer by now.
    pub(super) is_given: bool,
    pub(super) then: Then,
}

/// What follows when sealed bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The worker hears of it.
    Tell,
    /// They are close_notify: the direction is ended.
    End,
    /// They are a fatal alert: this receive fails.
    Fail(Token),
    /// They are close_notify: the slot is closed, whether they were sent or not.
    Close,
}

/// The work of all sessions, by place.
#[derive(Debug, Default)]
pub(super) struct Works {
    all: Vec<Work>,
    free: Vec<u32>,
}

impl Works {
    pub(super) fn get(&self, place: u32) -> Option<&Work> {
        self.all.get(place as usize)
    }

    /// The work of a session that has this place, or gets one.
    pub(super) fn of(&mut self, place: &mut u32) -> &mut Work {
        if *place == NO_WORK {
            *place = self.free.pop().unwrap_or_else(|| {
                self.all.push(Work::default());
                self.all.len() as u32 - 1
            });
        }
        &mut self.all[*place as usize]
    }

    /// A session gives its place up, with what is there.
    pub(super) fn take(&mut self, place: &mut u32) -> Option<Work> {
        let work = std::mem::take(self.all.get_mut(*place as usize)?);
        self.free.push(std::mem::replace(place, NO_WORK));
        Some(work)
    }

    /// A session gives its place up if nothing is there any more.
    pub(super) fn settle(&mut self, place: &mut u32) {
        if self.get(*place).is_some_and(Work::is_done) {
            self.take(place);
        }
    }

    /// Gives memory back that nobody needs.
    pub(super) fn trim(&mut self) {
        if self.free.len() == self.all.len() {
            *self = Works::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_to_the_next_when_nothing_is_under_way_there() {
        let mut works = Works::default();
        let (mut one, mut other) = (NO_WORK, NO_WORK);
        works.of(&mut one).fault = Some(Fault::Forged);
        works.settle(&mut one);
        assert_eq!(works.get(one).and_then(|work| work.fault), Some(Fault::Forged));
        works.of(&mut other);
        works.settle(&mut other);
        assert_eq!((other, works.all.len()), (NO_WORK, 2));
        works.trim();
        assert!(works.get(one).is_some(), "it is not done");
        assert!(works.take(&mut one).is_some() && works.take(&mut one).is_none());
        works.of(&mut other);
        assert_eq!((works.all.len(), works.get(other).and_then(|work| work.fault)), (2, None));
        works.settle(&mut other);
        works.trim();
        assert_eq!(works.all.capacity(), 0);
    }
}
