//! A number that one thread changes and any may read, without a lock.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use super::kinds::Cause;

/// A number that one thread changes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the owner may: it is a load and a store, not an atomic addition.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Sets the number. Only the owner may.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of `N` causes, found by the cause's number.
#[derive(Debug)]
pub struct By<C, const N: usize> {
    counters: [Counter; N],
    cause: PhantomData<C>,
}

impl<C, const N: usize> Default for By<C, N> {
    fn default() -> By<C, N> {
        By { counters: std::array::from_fn(|_| Counter::default()), cause: PhantomData }
    }
}

impl<C, const N: usize> Deref for By<C, N> {
    type Target = [Counter];

    fn deref(&self) -> &[Counter] {
        &self.counters
    }
}

/// Numbers by the word for what is counted.
pub type Counts = BTreeMap<Cow<'static, str>, u64>;

/// A counter that each worker has for itself, and its sum in a reading.
pub trait Counted {
    /// The sum in a reading.
    type Read;

    /// The sum of what `all` have counted.
    fn sum<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self::Read
    where
        Self: 'a;

    /// Adds what another one has counted. Only the owner may.
    fn absorb(&self, other: &Self);

    /// Adds what a reading has. Only the owner may.
    fn resume(&self, read: &Self::Read);
}

impl Counted for Counter {
    type Read = u64;

    fn sum<'a>(all: impl Iterator<Item = &'a Counter> + Clone) -> u64 {
        all.map(Counter::get).sum()
    }

    fn absorb(&self, other: &Counter) {
        self.add(other.get());
    }

    fn resume(&self, read: &u64) {
        self.add(*read);
    }
}

impl<C: Cause, const N: usize> Counted for By<C, N> {
    type Read = Counts;

    fn sum<'a>(all: impl Iterator<Item = &'a By<C, N>> + Clone) -> Counts
    where
        C: 'a,
    {
        let sum = |number: usize| all.clone().map(|by| by.counters[number].get()).sum();
        C::words().enumerate().map(|(number, word)| (word.into(), sum(number))).collect()
    }

    fn absorb(&self, other: &By<C, N>) {
        self.counters.iter().zip(&other.counters).for_each(|(own, other)| own.absorb(other));
    }

    fn resume(&self, read: &Counts) {
        for (own, word) in self.counters.iter().zip(C::words()) {
            own.add(read.get(word).copied().unwrap_or(0));
        }
    }
}
