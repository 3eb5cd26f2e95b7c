//! Numbers that belong to a thing in a topology, beside its settings.

use std::ops::Deref;
use std::sync::Arc;

/// Numbers that belong to a thing, go with it from one topology to the next, and make no difference
/// between two of them.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Of a new thing.
    pub fn new(numbers: T) -> Shared<T> {
        Shared(Arc::new(numbers))
    }

    /// The numbers, to be kept beside the topology.
    pub fn arc(&self) -> Arc<T> {
        self.0.clone()
    }
}

impl<T> From<Arc<T>> for Shared<T> {
    fn from(numbers: Arc<T>) -> Shared<T> {
        Shared(numbers)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, _: &Shared<T>) -> bool {
        true
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
