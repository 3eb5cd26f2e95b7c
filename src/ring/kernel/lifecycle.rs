//! How a worker's set of rings is made, and how it ends without a request left behind.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use io_uring::IoUring;

use super::addresses::Addresses;
use super::descriptors::{self, Descriptors};
use super::gates::Gates;
use super::group::Group;
use super::locked::patient;
use super::memory::Memory;
use super::moves::Moving;
use super::queue::Queue;
use super::receives::{RECEIVE_BUFFERS, Receives};
use super::self_connect::SelfConnects;
use super::setup::{Plan, RingError, RingSetup};
use super::splices::Splices;
use super::sqe::{self, Tag};
use super::supplier::Supplies;
use super::tables::Tables;
use super::waker::Waker;
use super::{IO_WQ_WORKERS, KernelRing, probe};
use crate::base::errno_of;
use crate::metrics::RingCounters;

/// Refuses waits for batches of completions on a kernel that knows none (before Linux 6.12).
///
/// # Errors
/// Says so, and the remedy.
pub fn require_batches() -> Result<(), RingError> {
    let small = patient(|| IoUring::new(4).map_err(|error| errno_of(&error)));
    let refused = |errno| RingError::refused("a question about batches".into(), errno);
    probe::require_min_wait(&small.map_err(refused)?)
}

impl KernelRing {
    /// Makes the rings for the calling thread, which alone can use them.
    ///
    /// # Errors
    /// When the setup breaks a rule or the kernel refuses a part; the message says which and what
    /// to do.
    ///
    /// # Panics
    /// When two gates or two servers have the same id.
    pub fn new(setup: RingSetup) -> Result<KernelRing, RingError> {
        let plan = Plan::new(&setup)?;
        let waker = Waker::new()
            .map_err(|errno| RingError::refused("the worker's eventfd".into(), errno))?;
        let layout = plan.layout;
        let rings = layout.tables();
        let groups = (0..rings as usize)
            .map(|table| Group::new(setup.buffer_count, rings, layout.slots(table)));
        let mut memory = Memory::new(&setup)?;
        memory.groups = groups
            .collect::<Result<_, _>>()
            .map_err(|errno| RingError::refused(format!("{rings} buffer groups"), errno))?;
        let splices = Splices::new(setup.splice_pipes, setup.buffer_bytes);
        let receive_bytes = (setup.receive_ahead && probe::receives_go_on())
            .then_some(RECEIVE_BUFFERS * setup.buffer_bytes);
        let mut ring = KernelRing {
            tables: ManuallyDrop::new(Tables::new(layout)),
            memory: ManuallyDrop::new(memory),
            gates: Gates::new(setup.gates),
            supplies: Supplies::new(),
            descriptors: Descriptors::new(setup.descriptors, splices),
            self_connects: SelfConnects::new(&setup.servers, setup.ephemeral_ports),
            addresses: Addresses::new(),
            moving: Moving::new(),
            ready: VecDeque::new(),
            waker,
            counters: RingCounters { rings: rings.into(), ..RingCounters::default() },
        };
        for table in 0..rings as usize {
            ring.add_table(&plan, table, receive_bytes)?;
        }
        if setup.servers.iter().any(|(_, server)| !server.sources.is_empty()) {
            probe::require_bind()?;
        }
        if !setup.batch_wait.is_zero() {
            probe::require_min_wait(ring.tables[0].queue.ring())?;
            // It alone waits.
            ring.tables[0].queue.set_batch_wait(setup.batch_wait);
        }
        ring.arm_wake();
        Ok(ring)
    }

    fn add_table(
        &mut self,
        plan: &Plan,
        table: usize,
        receive_bytes: Option<u32>,
    ) -> Result<(), RingError> {
        let (clients, slots) = (plan.layout.clients(table), plan.layout.slots(table));
        let refused = |what: &str, errno| {
            let rings = plan.layout.tables();
            let tried = format!("{what} of kernel ring {} of {rings}, {slots} slots", table + 1);
            RingError::refused(tried, errno)
        };
        let io = |what, result: std::io::Result<()>| {
            result.map_err(|error| refused(what, errno_of(&error)))
        };
        let mut queue = Queue::new(plan.submission_entries, plan.completion_entries)
            .map_err(|errno| refused("the queues", errno))?;
        let submitter = queue.ring().submitter();
        io("the table", submitter.register_files_sparse(slots))?;
        queue.set_alloc_range(clients).map_err(|errno| refused("the accept range", errno))?;
        let mut workers = [IO_WQ_WORKERS; 2];
        io("the io-wq bound", submitter.register_iowq_max_workers(&mut workers))?;
        if table > 0 {
            // The lead ring's read on this eventfd is what wakes a thread that waits on the lead.
            io("the wake-up", submitter.register_eventfd(self.waker.fd()))?;
        }
        let (address, entries) = self.memory.groups[table].registration();
        let registered = patient(|| {
            // SAFETY: the group's mapping has exactly so many entries and lives in `self.memory`,
            // which `Drop` gives back only after it dropped the rings.
            let registered = unsafe {
                submitter.register_buf_ring_with_flags(address, entries, sqe::BUFFER_GROUP, 0)
            };
            registered.map_err(|error| errno_of(&error))
        });
        registered.map_err(|errno| refused("the buffer group", errno))?;
        queue.enable().map_err(|errno| refused("the start", errno))?;
        self.tables.add(queue, Receives::new(slots, receive_bytes));
        Ok(())
    }

    /// Ends every request. True when none is left: the kernel then names no memory of ours.
    fn quiesce(&mut self) -> bool {
        let mut quiet = true;
        for table in self.tables.iter_mut() {
            quiet &= table.queue.quiesce(|completion| {
                let tag = Tag::split(completion.user_data()).map(|(tag, _)| tag);
                if let (Some(Tag::Install | Tag::Lend), fd @ 0..) = (tag, completion.result()) {
                    // SAFETY: as in `installed` and `lend_made`: each such completion is read
                    // once, here or there.
                    drop(unsafe { descriptors::take(fd as u32) });
                }
            });
        }
        quiet
    }
}

impl Drop for KernelRing {
    /// Ends every request, then the rings, then gives back the memory that requests named. Memory
    /// that the kernel might still use is leaked rather than unmapped under it.
    fn drop(&mut self) {
        let quiet = self.quiesce();
        // SAFETY: taken once, here; nothing uses the tables afterwards.
        unsafe { ManuallyDrop::drop(&mut self.tables) };
        if quiet {
            // SAFETY: taken once, here. `quiesce` saw every request that ever was in flight retire,
            // nobody can submit another, and the rings are closed: the kernel names no byte of it.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use super::*;
    use crate::base::GateId;
    use crate::ring::contract::{AcceptMode, Accepts, Ring};

    fn ring(table_entries: u32) -> KernelRing {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        KernelRing::new(RingSetup {
            connections: 100,
            with_upstream: true,
            table_entries,
            submission_entries: 64,
            completion_entries: 256,
            buffer_bytes: 4096,
            buffer_count: 16,
            receive_ahead: true,
            batch_wait: Duration::ZERO,
            parked_bytes_max: 0,
            splice_pipes: 0,
            ephemeral_ports: None,
            descriptors: 1,
            gates: vec![(GateId(0), std::sync::Arc::new(socket.into()))],
            servers: Vec::new(),
        })
        .expect("a ring")
    }

    #[test]
    fn a_ring_with_accepts_armed_ends_with_nothing_in_flight() {
        for table_entries in [64, 1024] {
            let mut ring = ring(table_entries);
            ring.accept(GateId(0), AcceptMode::Multishot);
            ring.turn(Some(Duration::ZERO)).expect("a turn");
            assert!(ring.quiesce());
        }
    }

    #[test]
    fn a_ring_with_thousands_of_polls_ends_with_nothing_in_flight() {
        let mut ring = ring(1024);
        for _ in 0..4_000 {
            ring.watch_queue(GateId(0));
        }
        ring.turn(Some(Duration::ZERO)).expect("a turn");
        assert!(ring.quiesce());
    }
}
