//! Limits that more than one part holds to, and how they relate.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::PIPE_BYTES;

/// Bits of a connection's index in a worker.
pub const CONN_BITS: u32 = 24;
/// Connections that a worker can name.
pub const WORKER_CONNECTIONS_MAX: u32 = 1 << CONN_BITS;
/// The most clients that a config file may ask for; memory ends long before.
pub const CONNECTIONS_MAX: u32 = 100_000_000;
/// Slots of a worker beyond those for connections, for clients that are accepted only to be reset.
pub const SPARE_SLOTS: u32 = 256;
/// The same over epoll, where the socket of each is one of the process's descriptors.
pub const SPARE_SLOTS_OVER_EPOLL: u32 = 16;
/// Worker threads.
pub const WORKERS_MAX: u16 = 1024;
/// Passive sockets of a worker, and servers over all upstreams: both are named by 16 bits.
pub const NAMED_MAX: usize = u16::MAX as usize;

/// The most entries of a ring's table of files (IORING_MAX_FIXED_FILES).
pub const TABLE_ENTRIES_MAX: u32 = 1 << 20;

/// Entries of a submission queue: fewer, and every lap would submit many times; more the kernel
/// does not grant (IORING_MAX_ENTRIES).
pub const SUBMISSION_ENTRIES: RangeInclusive<u32> = 64..=32_768;
/// Entries of a ring's completion queue; more the kernel does not grant (IORING_MAX_CQ_ENTRIES).
pub const COMPLETION_ENTRIES: RangeInclusive<u32> = 256..=65_536;
/// Completion entries that a file may ask for: they are divided among several rings.
pub const COMPLETION_ENTRIES_ASKED: RangeInclusive<u32> = 128..=131_072;

/// Bytes of room before those of a buffer: what was received is sealed where it lies. They are so
/// many that it begins on the border of a cache line.
pub const ROOM_BEFORE: u32 = 64;
/// The same behind it.
pub const ROOM_BEHIND: u32 = 128;

/// Buffers of a worker's pool: a group's indices are 15 bits (io_uring_register_buf_ring(3)), and
/// one group may come to hold the whole pool.
pub const BUFFERS: RangeInclusive<u32> = 8..=32_768;
/// Bytes of one of them, without its room.
pub const BUFFER_BYTES: RangeInclusive<u32> = 1 << 10..=1 << 20;
/// Pipes for splices.
pub const PIPES_MAX: u32 = 4096;

/// A server's largest share of new connections.
pub const WEIGHT_MAX: u32 = 100;
/// Our own memory per connection, its share of every table included.
pub const CONN_BYTES_MAX: usize = 128;
/// The same of a client that a header has named, beside that.
pub const NAMED_BYTES: usize = 32;
/// Of a client that is counted for its source, beside that.
pub const COUNTED_BYTES: usize = 4;
/// What a table of sources has for each connection, two words, as sources come.
pub const SOURCE_BYTES: usize = 16;
/// What an upgrade takes for each connection to a server until it is over, of both processes and of
/// the kernel: MemAvailable was 75 MiB lower beside `portcullis-bench upgrade --connections 100000`
/// (Linux 6.18, 2 workers), of which 24 MiB were the processes' own.
pub const UPGRADE_BYTES: usize = 800;
/// Memory of one line of the access log that waits to be written.
pub const ACCESS_LINE_BYTES: usize = 320;
/// Clients of a worker whose PROXY headers are read at one time; others wait in order. A header and
/// what comes with it take 4.3 KB and a buffer at most, mostly 100 bytes: 1.6 MB. Those that were
/// read and are held have as much beside them, and are 1 % of the worker's slots at most.
pub const PREFACE_PLACES: usize = 16_384;

/// Our own memory of a session of TLS, one for each side that speaks it, while it sleeps: of one
/// whose secrets have 48 bytes, as with AES-256-GCM. Those of 32 bytes leave it at 96.
pub const TLS_SESSION_BYTES: usize = 128;
/// Sessions of a worker whose keys are expanded at once: 5 MB of them.
pub const TLS_AWAKE_MAX: usize = 4096;
/// Memory of the expanded keys of a session: 1.3 KB.
pub const TLS_AWAKE_BYTES: usize = 1_300;
/// Bytes of records of a worker's sessions that are not whole, or that nobody takes yet: 1,000 of
/// the longest. Beyond it the one that waits longest ends its connection. A key would be no help:
/// what honest peers leave unfinished is a fraction of it at any time.
pub const TLS_GATHERED_MAX: usize = 16 << 20;
/// Memory of a handshake under way, as measured: rustls's side of it, what the client has said and
/// what it is to hear.
pub const TLS_HANDSHAKE_BYTES: usize = 13_000;

/// Checks of servers under way at a time. Each has an ordinary descriptor, for the time of its
/// timeout at most.
pub const CHECKS_AT_ONCE: usize = 64;

/// A worker that has not turned for this long stands still: it turns once a second when idle.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);

// A worker with one ring, both its sides in one table, fills less than its connections' names.
const _: () = assert!(TABLE_ENTRIES_MAX < WORKER_CONNECTIONS_MAX);
// All workers together can name what a file may ask for.
const _: () = assert!((WORKERS_MAX as u64) << CONN_BITS >= CONNECTIONS_MAX as u64);
// What every ring asks for in the end is granted.
const _: () = assert!(*COMPLETION_ENTRIES.end() == 2 * *SUBMISSION_ENTRIES.end());
const _: () = assert!(*COMPLETION_ENTRIES_ASKED.start() == 2 * *SUBMISSION_ENTRIES.start());
// A pool's buffers fit a group's indices, and a pipe takes a whole buffer.
const _: () = assert!(*BUFFERS.end() <= 1 << 15);
const _: () = assert!(*BUFFER_BYTES.end() as usize <= PIPE_BYTES);
