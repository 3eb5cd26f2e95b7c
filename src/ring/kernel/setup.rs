//! The sizes of a worker's ring, and the arithmetic that divides them among kernel rings.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::layout::Layout;
use super::pool::BUFFERS_MAX;
use crate::base::limits::{COMPLETION_ENTRIES, SUBMISSION_ENTRIES, TABLE_ENTRIES_MAX};
use crate::base::{Errno, GateId, ServerId};
use crate::ring::token::Token;

/// Completion entries at which the kernel's hash of polls is as large as it gets.
const FULL_HASH_ENTRIES: u32 = 8_192;

/// A passive socket to accept from, already listening: an ordinary descriptor, from which any ring
/// of the process may accept.
pub type PassiveSocket = Arc<OwnedFd>;

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct ServerSocket {
    /// Where it listens.
    pub address: SocketAddr,
    /// The local addresses to connect from; the kernel's choice where there are none.
    pub sources: Vec<IpAddr>,
}

/// The sizes and sockets that a worker's ring is made from.
#[derive(Debug)]
pub struct RingSetup {
    /// Client slots over all kernel rings; exactly so many there will be.
    pub connections: u32,
    /// Whether each client slot has an upstream slot beside it.
    pub with_upstream: bool,
    /// The most slots, of both sides, in one kernel ring: the soft RLIMIT_NOFILE.
    pub table_entries: u32,
    /// Submission entries of the worker, divided among its kernel rings.
    pub submission_entries: u32,
    /// Completion entries of the worker, divided likewise.
    pub completion_entries: u32,
    /// Bytes of a pool buffer, without its room.
    pub buffer_bytes: u32,
    /// Buffers in the worker's pool.
    pub buffer_count: u32,
    /// Receives go on by themselves, where the kernel does that well (Linux 6.17).
    pub receive_ahead: bool,
    /// How long a turn waits for a batch of completions; then the first will do. Zero: not at all.
    pub batch_wait: Duration,
    /// The most bytes that parked chunks may take.
    pub parked_bytes_max: usize,
    /// Pipes for splices, and connections that splice, at most; 0: nothing is spliced.
    pub splice_pipes: u32,
    /// First and last source port that the kernel chooses (net.ipv4.ip_local_port_range); `None`:
    /// any may be. A connect to another port does not reach its own socket.
    pub ephemeral_ports: Option<(u16, u16)>,
    /// Ordinary descriptors of sockets and pipes that there may be at once; at least one is taken,
    /// for questions about addresses. Without one left, bulk is copied and FINs take longer.
    pub descriptors: u32,
    /// Passive sockets.
    pub gates: Vec<(GateId, PassiveSocket)>,
    /// Servers.
    pub servers: Vec<(ServerId, ServerSocket)>,
}

/// Why a ring could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingError {
    /// The step that failed, with its values.
    pub tried: String,
    /// The kernel's error, if a call was made.
    pub errno: Option<Errno>,
    /// The rule that this broke.
    pub rule: &'static str,
    /// The remedy.
    pub remedy: &'static str,
}

impl RingError {
    pub(in crate::ring) fn refused(tried: String, errno: Errno) -> RingError {
        let (rule, remedy) = match errno {
            Errno::ENOMEM => (
                "without CAP_IPC_LOCK RLIMIT_MEMLOCK bounds the rings of all of a user's processes",
                "raise `ulimit -l` (LimitMEMLOCK=), or lower completion_entries or workers",
            ),
            Errno::EMFILE => (
                "a table has at most RLIMIT_NOFILE slots, and each ring takes one descriptor",
                "raise `ulimit -n` (LimitNOFILE=), or lower max_connections",
            ),
            _ => ("the kernel must grant what the ring needs", "run `portcullis doctor`"),
        };
        RingError { tried, errno: Some(errno), rule, remedy }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tried)?;
        if let Some(errno) = self.errno {
            write!(f, ": {errno}")?;
        }
        write!(f, "; {}; {}", self.rule, self.remedy)
    }
}

impl std::error::Error for RingError {}

/// How a setup is divided among kernel rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    /// Queue sizes of each ring.
    pub(super) submission_entries: u32,
    pub(super) completion_entries: u32,
}

impl Plan {
    /// Divides `setup`.
    ///
    /// A ring's completion queue has an entry for each of its clients, up to 8,192, even where its
    /// share of the configured entries is smaller: the kernel sizes the hash of its polls by it
    /// (256 buckets at 8,192 entries, 8 at 256; io_uring.c), and every cancel walks one bucket.
    /// With 10,000 connections on a ring that is 80 polls instead of 2,500.
    pub(super) fn new(setup: &RingSetup) -> Result<Plan, RingError> {
        let sides = if setup.with_upstream { 2 } else { 1 };
        let clients_max = setup.table_entries.min(TABLE_ENTRIES_MAX) / sides;
        check_counts(setup, clients_max)?;
        let layout = Layout::new(setup.connections, clients_max, setup.with_upstream);
        let rings = layout.tables();
        check_buffers(setup, rings)?;
        let per_client = layout.clients_most().next_power_of_two().min(FULL_HASH_ENTRIES);
        let completion_entries = floor_power_of_two(setup.completion_entries / rings)
            .max(per_client)
            .clamp(*COMPLETION_ENTRIES.start(), *COMPLETION_ENTRIES.end());
        let submission_entries = floor_power_of_two(setup.submission_entries / rings)
            .min(completion_entries / 2)
            .clamp(*SUBMISSION_ENTRIES.start(), *SUBMISSION_ENTRIES.end());
        Ok(Plan { layout, submission_entries, completion_entries })
    }
}

/// Refuses counts that no ring of the kernel or of epoll has ids for.
pub(in crate::ring) fn check(setup: &RingSetup) -> Result<(), RingError> {
    check_counts(setup, TABLE_ENTRIES_MAX)?;
    check_buffers(setup, 1)
}

fn check_counts(setup: &RingSetup, clients_max: u32) -> Result<(), RingError> {
    let broken = |tried: String, rule, remedy| Err(RingError { tried, errno: None, rule, remedy });
    if clients_max == 0 {
        return broken(
            format!("a table of {} slots", setup.table_entries),
            "a connection takes one slot for each of its sockets",
            "raise `ulimit -n` (LimitNOFILE=)",
        );
    }
    if setup.connections == 0 || setup.connections > Token::MAX_CONNECTIONS {
        return broken(
            format!("so many connections on one worker: {}", setup.connections),
            "a worker holds between 1 and 16,777,216 connections",
            "set gateway.max_connections accordingly",
        );
    }
    if setup.gates.len() > usize::from(u16::MAX) || setup.servers.len() > usize::from(u16::MAX) {
        return broken(
            format!("{} listeners and {} servers", setup.gates.len(), setup.servers.len()),
            "a worker knows at most 65,535 of each",
            "divide the config among several gateways",
        );
    }
    let mixed = |(_, server): &&(ServerId, ServerSocket)| {
        server.sources.iter().any(|source| source.is_ipv4() != server.address.is_ipv4())
    };
    if let Some((_, server)) = setup.servers.iter().find(mixed) {
        return broken(
            format!("server {} from {:?}", server.address, server.sources),
            "a source address is of its server's family",
            "correct source_addresses of the upstream",
        );
    }
    Ok(())
}

fn check_buffers(setup: &RingSetup, rings: u32) -> Result<(), RingError> {
    let least = if rings == 1 { 1 } else { 2 * rings };
    if setup.buffer_bytes > 0 && (least..=BUFFERS_MAX).contains(&setup.buffer_count) {
        return Ok(());
    }
    Err(RingError {
        tried: format!(
            "{} buffers of {} bytes for {rings} kernel rings",
            setup.buffer_count, setup.buffer_bytes
        ),
        errno: None,
        rule: "a worker has at most 32,768 buffers, and two for each of several kernel rings",
        remedy: "set ring.buffer_count and ring.buffer_size, or raise `ulimit -n` for fewer rings",
    })
}

fn floor_power_of_two(value: u32) -> u32 {
    if value == 0 { 0 } else { 1 << value.ilog2() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(connections: u32, with_upstream: bool, table_entries: u32) -> RingSetup {
        RingSetup {
            connections,
            with_upstream,
            table_entries,
            submission_entries: 4096,
            completion_entries: 16384,
            buffer_bytes: 16 << 10,
            buffer_count: 1024,
            receive_ahead: true,
            batch_wait: Duration::ZERO,
            parked_bytes_max: 0,
            splice_pipes: 0,
            ephemeral_ports: None,
            descriptors: 1,
            gates: Vec::new(),
            servers: Vec::new(),
        }
    }

    #[test]
    fn slots_add_up_to_the_connections_whatever_the_table() {
        for connections in [1, 63, 64, 65, 1_000, 9_999, 500_000] {
            for table_entries in [64, 65, 20_000, 1 << 30] {
                for with_upstream in [false, true] {
                    let mut setup = setup(connections, with_upstream, table_entries);
                    setup.buffer_count = BUFFERS_MAX;
                    let Ok(plan) = Plan::new(&setup) else {
                        assert_eq!((connections, table_entries < 66), (500_000, true));
                        continue;
                    };
                    let sides = 1 + u32::from(with_upstream);
                    let clients =
                        (0..plan.layout.tables()).map(|table| plan.layout.clients(table as usize));
                    assert!(clients.clone().all(|n| n > 0 && n * sides <= table_entries));
                    assert_eq!(clients.sum::<u32>(), connections);
                    assert!(plan.completion_entries >= 2 * plan.submission_entries);
                }
            }
        }
    }

    #[test]
    fn every_ring_has_completion_entries_for_its_clients() {
        let plan = Plan::new(&setup(500_000, true, 20_000)).expect("a plan");
        assert_eq!(
            (plan.layout.tables(), plan.completion_entries, plan.submission_entries),
            (50, 8192, 64)
        );
        let plan = Plan::new(&setup(100, true, 20_000)).expect("a plan");
        assert_eq!((plan.layout.tables(), plan.completion_entries), (1, 16384));
        let plan = Plan::new(&setup(1_000, true, 100)).expect("a plan");
        assert_eq!((plan.layout.tables(), plan.completion_entries), (20, 512));
    }

    #[test]
    fn too_few_buffers_are_refused_with_a_remedy() {
        let mut setup = setup(10_000, true, 64);
        setup.buffer_count = 100;
        let error = Plan::new(&setup).expect_err("313 rings need 626 buffers").to_string();
        assert!(error.contains("100 buffers") && error.contains("buffer_count"), "{error}");
    }
}
