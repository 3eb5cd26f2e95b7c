//! What the rings of two processes have in common: the sockets, and what comes to them.

use std::collections::{BTreeMap, VecDeque};

use crate::ahead::Own;
use crate::forwarding::Told;
use crate::link::Link;
use crate::ring::SimRing;
use crate::scenario::Knock;

/// The part of the simulated kernel that is no ring's own. It is in the ring of the process whose
/// turn it is, and here between turns.
#[derive(Debug, Default)]
pub struct Shared {
    pub links: Vec<Link>,
    /// Accepted links and their listener.
    pub origin: BTreeMap<usize, usize>,
    /// Client links and the upstream link that each was joined to.
    pub joined: BTreeMap<usize, usize>,
    /// What clients came to before they had servers.
    told: BTreeMap<usize, Told>,
    knocks: VecDeque<Knock>,
    keys: u64,
    /// By listener.
    queues: Vec<VecDeque<usize>>,
    /// By process and link: what its receives do while nobody asks.
    aheads: BTreeMap<(usize, usize), Own>,
}

impl Shared {
    pub fn new(listeners: usize) -> Shared {
        Shared { queues: vec![VecDeque::new(); listeners], ..Shared::default() }
    }

    /// A process turns.
    pub fn enter(&mut self, process: usize, ring: &mut SimRing) {
        self.exchange(ring);
        let own = (process, 0)..(process + 1, 0);
        for ((_, link), ahead) in self.aheads.extract_if(own, |_, _| true) {
            ring.links[link].ahead.put_back(ahead);
        }
    }

    /// Its turn is over.
    pub fn leave(&mut self, process: usize, ring: &mut SimRing) {
        for (index, link) in ring.links.iter_mut().enumerate() {
            if let Some(ahead) = link.ahead.set_aside() {
                self.aheads.insert((process, index), ahead);
            }
        }
        self.exchange(ring);
    }

    fn exchange(&mut self, ring: &mut SimRing) {
        std::mem::swap(&mut self.links, &mut ring.links);
        std::mem::swap(&mut self.origin, &mut ring.origin);
        std::mem::swap(&mut self.joined, &mut ring.joined);
        std::mem::swap(&mut self.told, &mut ring.telling.clients);
        std::mem::swap(&mut self.knocks, &mut ring.knocks);
        std::mem::swap(&mut self.keys, &mut ring.keys);
        for (queue, listener) in self.queues.iter_mut().zip(&mut ring.listeners) {
            std::mem::swap(queue, &mut listener.queue);
        }
    }

    /// A process has ended: the kernel empties its slots.
    pub fn bury(&mut self, process: usize, ring: &SimRing) {
        let filled = ring.slots.iter().flatten().flatten();
        filled.for_each(|link| self.links[*link].holds.empty());
        self.aheads.retain(|(of, _), _| *of != process);
    }

    /// A process has taken bytes of a link that nobody has asked it for.
    pub fn has_ahead(&self, process: usize, link: usize) -> bool {
        self.aheads.get(&(process, link)).is_some_and(|own| !own.pieces.is_empty())
    }
}
