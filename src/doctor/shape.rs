//! How connections are divided among workers and kernel rings, and what those take.

use std::ops::RangeInclusive;

use crate::base::{PIPE_BYTES, limits};
use crate::config::{
    AcceptProxy, Admin, AtLimit, Auto, Config, Listener, PerSource, Status, UpstreamKind,
};
use crate::host::facts::Facts;

/// Most entries of a ring's table of files, whatever RLIMIT_NOFILE says.
pub(super) const TABLE_ENTRIES_MAX: u64 = limits::TABLE_ENTRIES_MAX as u64;
/// Connections that a worker can name.
pub(super) const WORKER_CONNECTIONS_MAX: u64 = limits::WORKER_CONNECTIONS_MAX as u64;
/// Connections of the control plane's servers for which there is a descriptor whatever else is.
const CONNECTIONS_RESERVED: u64 = 40;
/// Ordinary descriptors for stdio, the log, the control plane's ring and signals, its servers, some
/// connections to these, and probes. A gateway without a client has about 20 of them.
const DESCRIPTORS_RESERVED: u64 = 24 + CONNECTIONS_RESERVED;
/// Memory of the control plane's own ring that counts against RLIMIT_MEMLOCK.
const CONTROL_LOCKED_BYTES: u64 = 64 << 10;
const PAGE_BYTES: u64 = 4096;
/// Ordinary descriptors that a worker may have for a moment, to send FINs or ask for addresses.
const DESCRIPTORS_BRIEF: u64 = 128;
/// Further connections of the admin and the status server, each of which accepts one before another
/// leaves for it: where descriptors are scarce they wait.
const DESCRIPTORS_OF_SERVERS: u64 =
    (Status::CONNECTIONS + 1 + Admin::CONNECTIONS + 1) as u64 - CONNECTIONS_RESERVED;
/// A pipe has two ends, and the connection that uses it a descriptor for each of its sockets.
const DESCRIPTORS_PER_PIPE: u64 = 4;

/// The means that connections are divided among.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Means {
    /// Threads that move bytes.
    pub workers: u32,
    /// Sockets of a connection: two, or one where the gateway itself answers everything.
    pub sides: u32,
    /// Most files in one kernel ring's table.
    pub table_entries: u32,
    /// Sockets are ordinary descriptors, and there are no kernel rings.
    pub(super) epoll: bool,
    /// A listener resets clients for whom the limit leaves no room: each has a socket for a moment.
    resets: bool,
    /// Memory of a connection beside its entry: what is kept of clients that headers name, and of
    /// those that count for their sources.
    pub(super) beside_bytes: u64,
    /// Ordinary descriptors that the process may have.
    pub(super) descriptors: u64,
    /// Passive sockets of each worker.
    pub(super) passive_sockets: u64,
    /// Checks of servers at a time.
    checks: u64,
    /// Buffers of each worker.
    pub(super) buffer_count: u64,
    /// Pipes that each worker may have; none where nothing is ever spliced.
    pub(super) splice_pipes: u64,
    /// Sides of a connection that speak TLS.
    pub(super) tls_sides: u64,
    /// Handshakes with clients that a worker may have under way; none where TLS never ends here.
    pub(super) handshakes: u64,
    submission_entries: u64,
    completion_entries: u64,
}

/// How a number of connections is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shape {
    /// Threads that move bytes.
    pub workers: u32,
    /// Kernel rings of each.
    pub rings_per_worker: u32,
    /// Most files in one ring's table.
    pub table_entries: u32,
    /// Connections that each worker has slots for.
    pub slots_per_worker: u32,
    /// Pipes that each worker may have for splices.
    pub pipes_per_worker: u32,
    /// Ordinary descriptors that each worker's sockets and pipes may have.
    pub descriptors_per_worker: u32,
}

/// A connection may be one of any listener.
fn beside_bytes(config: &Config) -> u64 {
    let any = |of: fn(&PerSource) -> bool| {
        let mut limits = config.listeners.iter().filter_map(|one| one.per_source.as_ref());
        usize::from(limits.any(of))
    };
    let is_named = |one: &Listener| one.preamble.accept_proxy != AcceptProxy::Off;
    let named = usize::from(config.listeners.iter().any(is_named));
    let counted = any(|limits| limits.max_connections.is_some());
    let rated = any(|limits| limits.rate.is_some());
    let bytes = named * limits::NAMED_BYTES
        + counted * (limits::COUNTED_BYTES + limits::SOURCE_BYTES)
        + rated * limits::SOURCE_BYTES;
    bytes as u64
}

impl Means {
    /// The means of this host and config.
    pub fn new(facts: &Facts, config: &Config) -> Means {
        let workers = match config.gateway.workers {
            Auto::Auto => facts.cores(),
            Auto::Fixed(workers) => u32::from(workers),
        };
        let is_server = |kind: &UpstreamKind| matches!(kind, UpstreamKind::Servers { .. });
        let paired = config.upstreams.iter().any(|upstream| is_server(&upstream.kind));
        let descriptors = facts.files_limit();
        let listeners = config.listeners.iter().filter_map(|one| one.tls.as_ref());
        let handshakes = listeners.map(|tls| tls.handshakes);
        Means {
            workers,
            sides: if paired { 2 } else { 1 },
            epoll: facts.kernel.epoll,
            resets: config.listeners.iter().any(|one| one.at_limit == AtLimit::Reset),
            beside_bytes: beside_bytes(config),
            table_entries: descriptors.min(TABLE_ENTRIES_MAX) as u32,
            descriptors,
            passive_sockets: config.listeners.iter().map(|one| one.bind.len() as u64).sum(),
            checks: if config.upstreams.iter().any(|one| one.check.is_some()) {
                limits::CHECKS_AT_ONCE as u64
            } else {
                0
            },
            buffer_count: u64::from(config.ring.buffer_count),
            splice_pipes: if paired && facts.kernel.addresses {
                u64::from(config.ring.splice_pipes)
            } else {
                0
            },
            tls_sides: tls_sides(config),
            handshakes: handshakes.max().unwrap_or(0).into(),
            submission_entries: u64::from(config.ring.submission_entries),
            completion_entries: u64::from(config.ring.completion_entries),
        }
    }

    /// The same with another RLIMIT_NOFILE.
    pub(super) fn with_descriptors(&self, descriptors: u64) -> Means {
        let table_entries = descriptors.min(TABLE_ENTRIES_MAX) as u32;
        Means { descriptors, table_entries, ..self.clone() }
    }

    /// Connections that one kernel ring holds.
    pub(super) fn per_ring(&self) -> u64 {
        u64::from(self.table_entries / self.sides)
    }

    /// Rings of each worker that the descriptors suffice for, at one each.
    pub(super) fn rings_by_descriptors(&self) -> u64 {
        let taken = self.descriptors_without(0);
        self.descriptors.saturating_sub(taken) / u64::from(self.workers)
    }

    /// Connections that the descriptors suffice for, over all workers.
    pub(super) fn held_by_descriptors(&self) -> u64 {
        if self.epoll {
            let free = self.free_over_epoll().saturating_sub(self.refused_sockets());
            return free / u64::from(self.sides);
        }
        self.held_by(self.rings_by_descriptors())
    }

    /// Over epoll, sockets of clients who are reset at the limit: at most one in each slot that no
    /// connection has when there are as many as may be.
    pub(super) fn refused_sockets(&self) -> u64 {
        if !(self.epoll && self.resets) {
            return 0;
        }
        self.slots_to_spare(self.free_over_epoll() / u64::from(self.sides))
    }

    /// Descriptors for sockets over epoll: each worker has an instance where it would have a ring.
    fn free_over_epoll(&self) -> u64 {
        self.descriptors.saturating_sub(self.descriptors_without(1))
    }

    /// Slots of all workers beyond so many connections, where clients are reset at the limit.
    fn slots_to_spare(&self, connections: u64) -> u64 {
        let each = self.slots_over_epoll(connections) + u64::from(limits::SPARE_SLOTS_OVER_EPOLL);
        u64::from(self.workers) * each - connections
    }

    /// Ordinary descriptors of the process as a whole and of its control plane, for checks among
    /// others.
    pub(super) fn reserved(&self) -> u64 {
        DESCRIPTORS_RESERVED + self.checks
    }

    /// Lock files: one for each address.
    pub(super) fn locks(&self) -> u64 {
        self.passive_sockets
    }

    /// Passive sockets of all workers; a drain makes as many again.
    pub(super) fn listening(&self) -> u64 {
        u64::from(self.workers) * self.passive_sockets
    }

    /// Ordinary descriptors that each worker's sockets and pipes may have, where each has so many
    /// rings: out of what nothing else takes.
    fn descriptors_beside(&self, rings: u64) -> u64 {
        let taken = self.descriptors_without(rings) + DESCRIPTORS_OF_SERVERS;
        let free = self.descriptors.saturating_sub(taken);
        self.descriptors_wanted().min(free / u64::from(self.workers))
    }

    /// Ordinary descriptors of everything but workers' sockets and pipes: each worker has its rings
    /// and one to be woken by.
    fn descriptors_without(&self, rings: u64) -> u64 {
        let workers = u64::from(self.workers) * (1 + rings);
        self.reserved() + self.locks() + 2 * self.listening() + workers
    }

    fn descriptors_wanted(&self) -> u64 {
        DESCRIPTORS_PER_PIPE * self.splice_pipes + DESCRIPTORS_BRIEF
    }

    /// Ordinary descriptors with which each worker of such a shape has all the pipes it may.
    pub(super) fn descriptors_for_pipes(&self, shape: Shape) -> u64 {
        let rings = u64::from(shape.rings_per_worker).max(1);
        let slots = u64::from(shape.slots_per_worker) * u64::from(self.workers);
        let sockets = if self.epoll { slots * u64::from(self.sides) } else { 0 };
        let taken = self.descriptors_without(rings) + DESCRIPTORS_OF_SERVERS + sockets;
        taken + u64::from(self.workers) * self.descriptors_wanted()
    }

    /// Files that the pipes of all workers take.
    pub(super) fn pipe_files(&self) -> u64 {
        2 * u64::from(self.workers) * self.splice_pipes
    }

    /// Pages that they hold when all are full.
    pub(super) fn pipe_pages(&self) -> u64 {
        self.pipe_bytes() / PAGE_BYTES
    }

    /// Memory that they hold when all are full.
    pub(super) fn pipe_bytes(&self) -> u64 {
        u64::from(self.workers) * self.splice_pipes * PIPE_BYTES as u64
    }

    /// Rings of each worker that its buffers suffice for: two for each of several.
    pub(super) fn rings_by_buffers(&self) -> u64 {
        (self.buffer_count / 2).max(1)
    }

    /// Connections over all workers with so many rings each.
    pub(super) fn held_by(&self, rings: u64) -> u64 {
        u64::from(self.workers).saturating_mul(rings.saturating_mul(self.per_ring()))
    }

    /// Bytes that count against RLIMIT_MEMLOCK when so many connections are divided.
    pub(super) fn locked_bytes(&self, connections: u64) -> u64 {
        if self.epoll {
            return 0;
        }
        let shape = self.shape(connections);
        let rings = u64::from(shape.rings_per_worker).max(1);
        let clients = u64::from(shape.slots_per_worker).div_ceil(rings);
        let within = |number: u64, range: RangeInclusive<u32>| {
            number.clamp((*range.start()).into(), (*range.end()).into())
        };
        let power = |number: u64| if number == 0 { 0 } else { 1u64 << number.ilog2() };
        let per_client = clients.next_power_of_two().min(8_192);
        let completions = power(self.completion_entries / rings).max(per_client);
        let completions = within(completions, limits::COMPLETION_ENTRIES);
        let submissions = power(self.submission_entries / rings).min(completions / 2);
        let submissions = within(submissions, limits::SUBMISSION_ENTRIES);
        let most = if rings == 1 { self.buffer_count } else { self.buffer_count / 2 };
        let most = most.min(clients * u64::from(self.sides));
        // 64 bytes a submission, 16 a completion behind one header, 16 a buffer; whole pages.
        let pages = (64 * submissions).div_ceil(PAGE_BYTES)
            + (16 * completions).div_ceil(PAGE_BYTES)
            + 1
            + (16 * most.max(1).next_power_of_two()).div_ceil(PAGE_BYTES);
        CONTROL_LOCKED_BYTES + u64::from(self.workers) * rings * pages * PAGE_BYTES
    }

    /// The most connections whose rings take no more than `bytes` of RLIMIT_MEMLOCK.
    pub(super) fn held_by_locked(&self, bytes: u64) -> u64 {
        let workers = u64::from(self.workers);
        let one_ring = (0..self.per_ring().max(1).ilog2()).map(|bits| 1 << bits);
        let most = WORKER_CONNECTIONS_MAX.div_ceil(self.per_ring().max(1));
        let rings = self.rings_by_descriptors().min(self.rings_by_buffers()).min(most);
        let several = (1..=rings).map(|rings| rings * self.per_ring());
        let sizes = one_ring.chain(several).map(|each| each * workers);
        sizes.take_while(|&held| self.locked_bytes(held) <= bytes).last().unwrap_or(0)
    }

    /// How `connections` are divided. The kernel spreads clients evenly but not exactly, so a
    /// worker has slots for an eighth and a few more than its share, as far as they go. One that is
    /// full all the same has its clients served by the others.
    pub fn shape(&self, connections: u64) -> Shape {
        if self.epoll {
            return self.shape_over_epoll(connections);
        }
        let per_ring = self.per_ring().max(1);
        let rings_max = self.rings_by_descriptors().min(self.rings_by_buffers());
        let slots_max = (rings_max * per_ring).min(WORKER_CONNECTIONS_MAX);
        let share = connections.div_ceil(u64::from(self.workers));
        let wanted = (share + share / 8 + 32).min(connections);
        let slots = wanted.min(slots_max.max(share));
        let rings = slots.div_ceil(per_ring);
        self.shape_of(rings, slots, self.descriptors_beside(rings))
    }

    /// The same over epoll, where the descriptors of all workers are one stock.
    fn shape_over_epoll(&self, connections: u64) -> Shape {
        let refused = if self.resets { self.slots_to_spare(connections) } else { 0 };
        let sockets = connections * u64::from(self.sides) + refused;
        let free = self.free_over_epoll().saturating_sub(DESCRIPTORS_OF_SERVERS + sockets);
        let descriptors = self.descriptors_wanted().min(free / u64::from(self.workers));
        self.shape_of(0, self.slots_over_epoll(connections), descriptors)
    }

    fn slots_over_epoll(&self, connections: u64) -> u64 {
        let share = connections.div_ceil(u64::from(self.workers));
        let wanted = (share + share / 8 + 32).min(connections);
        wanted.min(WORKER_CONNECTIONS_MAX.max(share))
    }

    fn shape_of(&self, rings: u64, slots: u64, descriptors: u64) -> Shape {
        // One is never a pipe's.
        let pipes = self.splice_pipes.min(descriptors.saturating_sub(1) / DESCRIPTORS_PER_PIPE);
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Shape {
            workers: self.workers,
            rings_per_worker: narrow(rings),
            table_entries: self.table_entries,
            slots_per_worker: narrow(slots),
            pipes_per_worker: narrow(pipes),
            descriptors_per_worker: narrow(descriptors),
        }
    }
}

/// Sides of a connection that speak TLS, where all of its listeners and upstreams do that one does.
fn tls_sides(config: &Config) -> u64 {
    let of_clients = config.listeners.iter().any(|listener| listener.tls.is_some());
    let of_servers = config.upstreams.iter().any(|upstream| upstream.tls.is_some());
    u64::from(of_clients) + u64::from(of_servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(descriptors: u64, sides: u32) -> Means {
        Means {
            workers: 2,
            sides,
            table_entries: descriptors.min(TABLE_ENTRIES_MAX) as u32,
            descriptors,
            epoll: false,
            resets: false,
            beside_bytes: 0,
            tls_sides: 0,
            handshakes: 0,
            passive_sockets: 1,
            checks: 0,
            buffer_count: 1024,
            splice_pipes: 64,
            submission_entries: 4096,
            completion_entries: 16_384,
        }
    }

    #[test]
    fn a_share_has_room_for_an_uneven_spread_until_the_rings_end() {
        let shape = means(20_000, 2).shape(1_000_000);
        assert_eq!((shape.slots_per_worker, shape.rings_per_worker), (562_532, 57));
        let few = means(256, 2);
        assert_eq!((few.rings_by_descriptors(), few.per_ring()), (92, 128));
        let all = few.held_by(92);
        let shape = few.shape(all);
        assert_eq!((shape.slots_per_worker, shape.rings_per_worker), (92 * 128, 92));
        assert_eq!(means(20_000, 1).shape(10).slots_per_worker, 10);
    }

    #[test]
    fn what_is_held_fits_into_the_slots_whatever_the_descriptors() {
        for descriptors in [66, 128, 256, 1_024, 20_000, 1 << 20, 1 << 30] {
            for sides in [1, 2] {
                let means = means(descriptors, sides);
                let rings = means.rings_by_descriptors().min(means.rings_by_buffers());
                let held = means.held_by(rings).min(2 * WORKER_CONNECTIONS_MAX);
                let some = [1, held / 3, held - held.min(1), held];
                for connections in some.into_iter().filter(|&connections| connections <= held) {
                    let shape = means.shape(connections);
                    assert!(2 * u64::from(shape.slots_per_worker) >= connections);
                    assert!(u64::from(shape.rings_per_worker) <= rings, "{means:?} {shape:?}");
                    assert!(u64::from(shape.slots_per_worker) <= WORKER_CONNECTIONS_MAX);
                }
            }
        }
    }

    #[test]
    fn pipes_take_what_descriptors_are_left() {
        let extra = |means: &Means, connections| {
            let shape = means.shape(connections);
            (shape.descriptors_per_worker, shape.pipes_per_worker)
        };
        assert_eq!(extra(&means(20_000, 2), 1_000_000), (4 * 64 + 128, 64));
        let few = means(256, 2);
        // 256 − 64 and 10 reserved − 1 lock − 2 × (1 to be woken by + 1 listening + 1 for a drain
        // + 1 ring); 4 for each pipe.
        assert_eq!(extra(&few, 100), (86, 21));
        assert_eq!(extra(&few, few.held_by(92)), (0, 0));
    }

    #[test]
    fn clients_that_are_reset_over_epoll_take_no_descriptor_of_anything_else() {
        for (descriptors, sides, workers) in [(256, 2, 2), (1_024, 1, 8), (20_000, 2, 1)] {
            let other = Means { workers, epoll: true, ..means(descriptors, sides) };
            let means = Means { resets: true, ..other.clone() };
            let held = means.held_by_descriptors();
            assert!(0 < held && held <= other.held_by_descriptors(), "{means:?}");
            let slots = means.shape(held).slots_per_worker + limits::SPARE_SLOTS_OVER_EPOLL;
            let clients = u64::from(workers) * u64::from(slots);
            let sockets = clients + held * u64::from(sides - 1);
            assert!(sockets + means.descriptors_without(1) <= descriptors, "{sockets}: {means:?}");
        }
    }

    #[test]
    fn little_locked_memory_holds_few_connections() {
        let means = means(20_000, 2);
        assert_eq!(means.held_by_locked(64 << 10), 0);
        let held = means.held_by_locked(8 << 20);
        assert!(held > 400_000 && means.locked_bytes(held) <= 8 << 20, "{held}");
    }
}
