//! Memory of handshakes and expanded keys: what is freed stays with the process, in pieces between
//! what lives on, until the allocator is asked to give it back.

use super::state::ControlState;
use crate::ring::give_back_heap;

/// So many at once, 13 KB each at most, and it is worth the asking.
const MANY: u64 = 64;

/// Gives back what a crowd of handshakes has left, when it is over.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// The most at once since it was last given back.
    most: u64,
}

impl Heap {
    /// Called once a second.
    pub(super) fn look(&mut self, state: &ControlState) {
        let view = state.view();
        let counters = view.counters.iter();
        let counts = counters.map(|of| of.handshaking.get() + of.sessions_awake.get());
        if self.has_ebbed(counts.sum()) {
            give_back_heap();
        }
    }

    /// Whether handshakes and expanded keys, of which there are so many now, have become few.
    fn has_ebbed(&mut self, count: u64) -> bool {
        self.most = self.most.max(count);
        let has_ebbed = self.most >= MANY && count <= self.most / 8;
        if has_ebbed {
            self.most = count;
        }
        has_ebbed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_when_many_have_become_few() {
        let mut heap = Heap::default();
        let counts = [40, 0, 500, 400, 63, 62, 5, 0, 0, 64, 9, 8, 1, 0];
        let ebbs: Vec<u64> = counts.into_iter().filter(|count| heap.has_ebbed(*count)).collect();
        assert_eq!(ebbs, [62, 8]);
    }
}
