//! The upgrade under way: there is one at a time, and it can be aborted.

use std::sync::{Arc, Mutex};

/// How far this process is with its successor.
#[derive(Debug, Default)]
pub(super) enum Underway {
    /// There is none.
    #[default]
    No,
    /// One is being handed over to.
    Yes(Arc<Abort>),
    /// It has everything, and this process ends.
    Committed,
}

/// Why an upgrade under way is to be taken back, if it is.
#[derive(Debug, Default)]
pub(super) struct Abort(Mutex<Option<String>>);

impl Abort {
    /// It is to be taken back; the first reason stays.
    pub(super) fn ask(&self, because: &str) {
        let mut asked = self.0.lock().expect("nobody panics while holding it");
        asked.get_or_insert_with(|| because.to_owned());
    }

    /// Why it is to be taken back.
    pub(super) fn because(&self) -> Option<String> {
        self.0.lock().expect("nobody panics while holding it").clone()
    }
}
