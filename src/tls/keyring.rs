//! The expanded keys of the sessions that are in use, of which there are only so many.

use super::keys::Awake;
use crate::base::limits::TLS_AWAKE_MAX as AWAKE_MAX;
use crate::base::{ConnIndex, Side};

/// Whose keys they are.
pub(super) type Whose = (ConnIndex, Side);

/// The place of a session that has none.
pub(super) const NO_KEYS: u16 = u16::MAX;

const _: () = assert!(AWAKE_MAX <= NO_KEYS as usize);

/// Keys by place. A session remembers where it last had its own, and finds there whether that is
/// still so.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    places: Vec<Place>,
    free: Vec<u16>,
    /// Where the search for a place that nobody used lately goes on.
    hand: usize,
    awake: usize,
}

#[derive(Debug)]
struct Place {
    whose: Option<Whose>,
    keys: Awake,
    /// Since the hand or a trim last came by.
    is_used: bool,
}

impl Keyring {
    /// How many sessions have theirs.
    pub(super) fn awake(&self) -> usize {
        self.awake
    }

    /// The keys of a session, which last had them at `place`.
    pub(super) fn of(&mut self, whose: Whose, place: &mut u16) -> &mut Awake {
        let known = self.places.get(*place as usize).is_some_and(|at| at.whose == Some(whose));
        if !known {
            *place = self.find();
            self.places[*place as usize].whose = Some(whose);
            self.awake += 1;
        }
        let at = &mut self.places[*place as usize];
        at.is_used = true;
        &mut at.keys
    }

    /// A session sleeps, or is over: its keys are wiped.
    pub(super) fn sleep(&mut self, whose: Whose, place: u16) {
        if self.places.get(place as usize).is_some_and(|at| at.whose == Some(whose)) {
            self.empty(place as usize);
            self.free.push(place);
        }
    }

    /// Those that nobody used since this was last called sleep.
    pub(super) fn trim(&mut self) {
        for place in 0..self.places.len() {
            let at = &mut self.places[place];
            if at.whose.is_some() && !std::mem::take(&mut at.is_used) {
                self.empty(place);
                self.free.push(place as u16);
            }
        }
        if self.awake == 0 {
            (self.places, self.free, self.hand) = (Vec::new(), Vec::new(), 0);
        }
    }

    fn find(&mut self) -> u16 {
        if let Some(place) = self.free.pop() {
            return place;
        }
        if self.places.len() < AWAKE_MAX {
            self.places.push(Place { whose: None, keys: Awake::default(), is_used: false });
            return self.places.len() as u16 - 1;
        }
        // A second round finds one in any case.
        while std::mem::take(&mut self.places[self.hand].is_used) {
            self.hand = (self.hand + 1) % self.places.len();
        }
        let place = self.hand;
        self.hand = (self.hand + 1) % self.places.len();
        self.empty(place);
        place as u16
    }

    fn empty(&mut self, place: usize) {
        let at = &mut self.places[place];
        (at.whose, at.keys) = (None, Awake::default());
        self.awake -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_to_another_when_nobody_uses_it() {
        let mut ring = Keyring::default();
        let whose = |index| (ConnIndex(index), Side::Client);
        let mut places = vec![NO_KEYS; AWAKE_MAX + 1];
        for (index, place) in places.iter_mut().enumerate() {
            ring.of(whose(index as u32), place);
        }
        assert_eq!(
            (ring.awake(), places[0]),
            (AWAKE_MAX, places[AWAKE_MAX]),
            "the oldest made way"
        );
        ring.trim();
        ring.of(whose(5), &mut places[5]);
        ring.sleep(whose(6), places[6]);
        ring.sleep(whose(0), places[0]);
        assert_eq!(ring.awake(), 2, "what the hand has come by and nobody has used is gone");
        ring.trim();
        assert_eq!(ring.awake(), 1);
        ring.trim();
        assert_eq!((ring.awake(), ring.places.len()), (0, 0));
    }
}
