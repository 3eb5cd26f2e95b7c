//! What things are called: a number each, of a kind of its own, and tables by such numbers.
//!
//! A listener, an upstream or a server keeps its number for as long as it keeps its name, whatever
//! comes and goes beside it. `topology` gives the numbers.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Index of a connection: its client's slot, counted over all kernel rings of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnIndex(pub u32);

/// A number that names something and is small, because numbers are used again.
pub trait Id: Copy + fmt::Debug {
    /// Its place in a table.
    fn place(self) -> usize;
    /// The id of a place.
    ///
    /// # Panics
    /// When the place is beyond the kind's numbers.
    fn at(place: usize) -> Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u16);

        impl Id for $name {
            fn place(self) -> usize {
                self.0.into()
            }

            fn at(place: usize) -> $name {
                $name(u16::try_from(place).expect("there are at most 65,535 of a kind"))
            }
        })*
    };
}

ids! {
    /// A named set of addresses with one policy.
    ListenerId;
    /// A gate: a passive socket, by which clients of a listener come to one worker.
    GateId;
    /// A way for a listener's clients: the upstream that they go to, and their timeouts.
    RouteId;
    /// A named group of servers, or a builtin.
    UpstreamId;
    /// One server of one upstream.
    ServerId;
    /// A worker.
    WorkerId;
}

/// A table by id.
#[derive(Clone, PartialEq, Eq)]
pub struct IdMap<I, T> {
    places: Vec<Option<T>>,
    count: usize,
    ids: PhantomData<I>,
}

impl<I: Id, T> IdMap<I, T> {
    /// An empty table.
    pub fn new() -> IdMap<I, T> {
        IdMap { places: Vec::new(), count: 0, ids: PhantomData }
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The table has no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts one in, and says who was there before.
    pub fn insert(&mut self, id: I, what: T) -> Option<T> {
        let place = id.place();
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        let before = self.places[place].replace(what);
        self.count += usize::from(before.is_none());
        before
    }

    /// Takes one out, if it is there.
    pub fn remove(&mut self, id: I) -> Option<T> {
        let taken = self.places.get_mut(id.place())?.take();
        self.count -= usize::from(taken.is_some());
        while self.places.last().is_some_and(Option::is_none) {
            self.places.pop();
        }
        taken
    }

    /// The one of this id, if it is there.
    pub fn get(&self, id: I) -> Option<&T> {
        self.places.get(id.place())?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.places.get_mut(id.place())?.as_mut()
    }

    /// Everybody, in the order of their ids.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + Clone {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, what)| Some((I::at(place), what.as_ref()?)))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (I, &mut T)> {
        let places = self.places.iter_mut().enumerate();
        places.filter_map(|(place, what)| Some((I::at(place), what.as_mut()?)))
    }

    /// Everybody, in the order of their ids.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.places.iter().flatten()
    }

    /// The ids that are in it, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + Clone {
        self.iter().map(|(id, _)| id)
    }
}

impl<I: Id, T> Default for IdMap<I, T> {
    fn default() -> IdMap<I, T> {
        IdMap::new()
    }
}

impl<I: Id, T> Index<I> for IdMap<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        self.get(id).unwrap_or_else(|| panic!("there is no {id:?}"))
    }
}

impl<I: Id, T> IndexMut<I> for IdMap<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        self.get_mut(id).unwrap_or_else(|| panic!("there is no {id:?}"))
    }
}

impl<I: Id, T> FromIterator<(I, T)> for IdMap<I, T> {
    fn from_iter<F: IntoIterator<Item = (I, T)>>(pairs: F) -> IdMap<I, T> {
        let mut map = IdMap::new();
        for (id, what) in pairs {
            map.insert(id, what);
        }
        map
    }
}

impl<I: Id, T: fmt::Debug> fmt::Debug for IdMap<I, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_forgets_what_was_taken_out_and_keeps_the_others_in_their_places() {
        let mut map: IdMap<ServerId, &str> =
            [(ServerId(4), "e"), (ServerId(0), "a"), (ServerId(2), "c")].into_iter().collect();
        assert_eq!(map.remove(ServerId(4)), Some("e"));
        assert_eq!(map.remove(ServerId(4)), None);
        assert_eq!(map.remove(ServerId(1)), None);
        assert_eq!(map.insert(ServerId(1), "b"), None);
        assert_eq!(map.insert(ServerId(2), "C"), Some("c"));
        assert_eq!(map.len(), 3);
        assert!(map.iter().map(|(id, what)| (id.0, *what)).eq([(0, "a"), (1, "b"), (2, "C")]));
        let same: IdMap<ServerId, &str> = map.iter().map(|(id, what)| (id, *what)).rev().collect();
        assert!(same == map);
    }
}
